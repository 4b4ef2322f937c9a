"""A pymodbus client that can only read, over each of the four lines, and its errors in our terms.

Every frame of the client passes `_ReadOnlyTransactions.send` on its way to the line, which lets through nothing but
one read request with function code 1 to 4; every byte that comes back passes `callback_data`, which lets through
nothing but what the request that is out can have for an answer.  Called by `drivers.modbus`.
"""

import asyncio
import ssl
import struct
import termios
from collections.abc import Sequence
from functools import partial
from typing import Any

from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket, FramerType
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager
from pymodbus.transport import CommParams, CommType

from drivers.errors import Misconfigured, Refused, Transient
from drivers.modbus_link import ModbusLinkConfig, ModbusTls
from drivers.templates import BIT_CODES

__all__ = ("DeviceError", "ReadOnlyClient")

NEVER = 1_000_000_000  # time-outs until pymodbus hangs up by itself: whether the link is lost is decided elsewhere
MBAP_FRAME_BYTES = 12  # header (7), function code (1), address (2), count (2): no read request is longer
RTU_FRAME_BYTES = 8  # unit (1), function code (1), address (2), count (2), check (2)
RTU_EXCEPTION_BYTES = 5
MBAP_HEADER_BYTES = 6  # transaction (2), protocol (2), length (2)
LENGTHS = range(3, 255)  # what the length field of a reply may say: unit, function code and at most 252 bytes
READ_CODES = frozenset({1, 2, 3, 4})
EXCEPTION_FLAG = 0x80
EXCEPTIONS = {1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 6: "busy"} | {
    10: "no path to the device",
    11: "the device behind the gateway does not answer",
}


class DeviceError(Exception):
    """A device gave no usable reply.  Never leaves the Modbus driver.

    `answered` tells a wrong reply from none, `exception` is the device's own code (0: it gave none).
    """

    def __init__(self, why: str, *, answered: bool, exception: int = 0) -> None:
        super().__init__(why)
        self.answered = answered
        self.exception = exception


class ReadOnlyClient(ModbusBaseClient):
    """One connection: never reconnects by itself, is used once and thrown away.

    `desynchronised` turns true on an RTU line when a reply is missing or does not fit: from then on nothing that
    this client hears can be trusted, and the caller must throw it away.
    """

    def __init__(self, config: ModbusLinkConfig) -> None:
        """Must be called in a running loop.  Raises Misconfigured for files of the TLS table that are not right."""
        framer: FramerBase = (FramerRTU if config.rtu else FramerSocket)(DecodePDU(False))
        self.comm_params = _parameters(config)
        super().__init__(FramerType.RTU if config.rtu else FramerType.SOCKET, 0, self.comm_params, None, None, None)
        self._transactions = _ReadOnlyTransactions(self.comm_params, framer, rtu=config.rtu)
        self.ctx = self._transactions
        if config.tls is not None and config.tls.server_name:
            create: Any = self.ctx.call_create
            self.ctx.call_create = partial(create, server_hostname=config.tls.server_name)
        self._config = config
        self.desynchronised = False
        self.set_max_no_responses(NEVER)

    @property
    def quiet_s(self) -> float:
        """For how long nothing has been heard on the line."""
        return self.ctx.loop.time() - self._transactions.heard_s

    async def dial(self) -> None:
        """Connect.  Raises Transient where nobody is there, Refused where the peer's certificate is wrong."""
        config = self._config
        self.ctx.is_closing = False
        try:
            async with asyncio.timeout(config.timeout_s):
                self.ctx.transport, _ = await self.ctx.call_create()
            await asyncio.sleep(0)  # a serial transport sets itself up in the loop's next round
        except ssl.SSLCertVerificationError as err:
            raise Refused(f"{config.name}: {config.line}: {err}") from err
        except termios.error as err:
            raise Misconfigured(f"{config.name}: {config.line} does not take these serial settings: {err}") from err
        except (OSError, TimeoutError) as err:
            raise Transient(f"{config.name}: no connection to {config.line}: {err or 'time-out'}") from err
        except RuntimeError as err:  # pymodbus where pyserial is not installed
            raise Misconfigured(f"{config.name}: {err}") from err

    async def ask(self, unit_id: int, function_code: int, address: int, count: int, timeout_s: float) -> Sequence[int]:
        """One request and its checked reply: registers, or bits as 0 and 1.

        Raises DeviceError for this device, Transient for the link.  A time-out or a cancellation on RTU leaves the
        client `desynchronised`.
        """
        reads = {1: self.read_coils, 2: self.read_discrete_inputs}
        reads |= {3: self.read_holding_registers, 4: self.read_input_registers}
        settled = False
        try:
            self.ctx.comm_params.timeout_connect = timeout_s
            reply = await reads[function_code](address, count=count, device_id=unit_id)
            settled = True
        except ConnectionException as err:
            raise Transient(f"{self._config.name}: the connection is gone") from err
        except ModbusException as err:
            if not self.connected:
                raise Transient(f"{self._config.name}: the connection is gone") from err
            raise DeviceError(
                self._transactions.oddity or f"no usable reply in {timeout_s:g} s",
                answered=bool(self._transactions.oddity),
            ) from err
        finally:
            self._transactions.pending = None
            if self._config.rtu and not settled:
                self._distrust()
        if reply.isError():
            code = reply.exception_code
            words = EXCEPTIONS.get(code, "unknown")
            raise DeviceError(f"exception code {code}, {words}", answered=True, exception=code)
        return self._values(reply, function_code, count)

    def _distrust(self) -> None:
        self.desynchronised = True
        self._transactions.heard_s = self.ctx.loop.time()  # silence counts from here on

    def _values(self, reply: ModbusPDU, function_code: int, count: int) -> Sequence[int]:
        fits = reply.function_code == function_code and reply.transaction_id == self.ctx.next_tid
        if function_code in BIT_CODES:
            values: Sequence[int] = [int(bit) for bit in reply.bits[:count]]  # padded to whole bytes
            fits = fits and len(reply.bits) - count in range(8)
        else:
            values = reply.registers
        if not fits or len(values) != count:
            if self._config.rtu:
                self._distrust()
            raise DeviceError("a reply that does not fit the request", answered=True)
        return values


class _ReadOnlyTransactions(TransactionManager):
    """pymodbus's way to and from the line, narrowed to read requests and their answers."""

    def __init__(self, params: CommParams, framer: FramerBase, *, rtu: bool) -> None:
        super().__init__(params, framer, 0, False, None, None, None)
        self._rtu = rtu
        self.pending: bytes | None = None  # unit, function code, address and count of the request that is out
        self.oddity = ""  # what was wrong with what came back
        self.heard_s = self.loop.time()

    def send(self, data: bytes, addr: tuple[str, int] | None = None) -> None:
        """Every frame passes here.  Raises Refused, before a byte leaves, for anything but one read request."""
        pdu = data[:-2] if self._rtu else data[6:]
        if len(data) != (RTU_FRAME_BYTES if self._rtu else MBAP_FRAME_BYTES) or pdu[1] not in READ_CODES:
            raise Refused("Blackstart only reads: a Modbus frame that is no read request was stopped")
        self.pending, self.oddity = pdu, ""
        super().send(data, addr)

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        """Every byte that was received and not yet used passes here; the number of bytes used comes back."""
        self.heard_s = self.loop.time()
        if self._rtu and self.pending is None:
            return len(data)  # nobody has asked; whoever asks next waits for silence first
        if oddity := self._oddity_rtu(data) if self._rtu else _oddity_mbap(data):
            return self._give_up(oddity, len(data))
        try:
            used: int = super().callback_data(data, addr)
        except (ModbusException, ValueError, LookupError, TypeError, struct.error) as err:
            return self._give_up(f"a reply that means nothing: {err}", len(data))
        return used

    def _give_up(self, oddity: str, size: int) -> int:
        """The line is not at the beginning of a reply: nothing after this can be told apart."""
        self.oddity = oddity
        if not self.response_future.done():
            self.response_future.set_exception(ModbusIOException(oddity))
        if not self._rtu and isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        return size

    def _oddity_rtu(self, data: bytes) -> str:
        assert self.pending is not None
        unit_id, function_code = self.pending[0], self.pending[1]
        count = int.from_bytes(self.pending[4:6])
        size = (count + 7) // 8 if function_code in BIT_CODES else 2 * count
        if data[0] != unit_id:
            return "a reply of another unit"
        if len(data) > 1 and data[1] & ~EXCEPTION_FLAG != function_code:
            return "a reply to another function code"
        exception = len(data) > 1 and bool(data[1] & EXCEPTION_FLAG)
        if len(data) > 2 and not exception and data[2] != size:  # noqa: PLR2004 - the byte behind the function code
            return "a reply of another length"
        if len(data) > (RTU_EXCEPTION_BYTES if exception else RTU_EXCEPTION_BYTES + size):
            return "more bytes than a reply has"
        return ""


def _oddity_mbap(data: bytes) -> str:
    if len(data) < MBAP_HEADER_BYTES:
        return ""
    protocol, length = struct.unpack(">HH", data[2:6])
    return "" if protocol == 0 and length in LENGTHS else "a header that is not Modbus"


def _parameters(config: ModbusLinkConfig) -> CommParams:
    if config.serial is not None:
        return CommParams(
            comm_type=CommType.SERIAL,
            comm_name=config.name,
            host=str(config.serial.port),
            baudrate=config.serial.baudrate,
            bytesize=8,
            parity=config.serial.parity,
            stopbits=config.serial.stopbits,
            timeout_connect=config.timeout_s,
        )
    return CommParams(
        comm_type=CommType.TLS if config.tls is not None else CommType.TCP,
        comm_name=config.name,
        host=config.host,
        port=config.port,
        sslctx=_context(config.tls, config.name) if config.tls is not None else None,
        timeout_connect=config.timeout_s,
    )


def _context(tls: ModbusTls, name: str) -> ssl.SSLContext:
    """Trusts nobody but who is signed by the given authority, and shows its own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=tls.ca_file)
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as err:
        raise Misconfigured(f"{name}: TLS files: {err}") from err
    return context
