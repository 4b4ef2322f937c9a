"""Debian's libmodbus as a Modbus TCP server, through ctypes: a gas monitor as any unit.  Says READY; one client."""

import ctypes
import struct
import sys

GASES = (44.0, 5.0, 22.0, 11.0, 110.0, 1500.0, 225.0, 33.0, 9.5, 41.3)  # from address 20; 225 is the total
FIRST, COUNT, FRAME_BYTES = 20, 20, 260


class Mapping(ctypes.Structure):
    _fields_ = (
        *((f"{name}_{what}", ctypes.c_int) for name in ("bits", "input_bits", "inputs", "holding") for what in "ns"),
        ("bits", ctypes.c_void_p),
        ("input_bits", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("holding", ctypes.POINTER(ctypes.c_uint16)),
    )


def main() -> None:
    library = ctypes.CDLL("libmodbus.so.5")
    library.modbus_new_tcp.restype = ctypes.c_void_p
    library.modbus_mapping_new_start_address.restype = ctypes.POINTER(Mapping)
    context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", int(sys.argv[1])))
    mapping = library.modbus_mapping_new_start_address(0, 0, 0, 0, FIRST, COUNT, 0, 0)
    for index, value in enumerate(GASES):
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        mapping.contents.holding[2 * index], mapping.contents.holding[2 * index + 1] = low, high
    listener = ctypes.c_int(library.modbus_tcp_listen(context, 1))
    assert listener.value >= 0, "cannot listen"
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    while library.modbus_tcp_accept(context, ctypes.byref(listener)) >= 0:
        frame = (ctypes.c_uint8 * FRAME_BYTES)()
        while (length := library.modbus_receive(context, frame)) >= 0:
            library.modbus_reply(context, frame, length, mapping)


if __name__ == "__main__":
    main()
