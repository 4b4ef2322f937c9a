"""The plant's edge: everything that touches a wire.

Each protocol is one file (`modbus`, `opcua`, `mqtt`); `base` holds the types that leave this folder and
`errors` the error tree that all folders share.  Nothing here imports another folder of ours, and nothing
here can write to the plant.
"""
