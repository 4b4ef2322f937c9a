"""The plant's edge: everything that touches a wire.

`base` holds the types that leave this folder, `errors` the error tree that all folders share.

    modbus          a source: `modbus_link` is its configuration, `modbus_unit` a device with its plan and breaker,
                    `modbus_client` the line (TCP, TLS, RTU), `modbus_plan` and `modbus_decode` are pure;
                    `templates` reads the register maps in templates/
    opcua           a source: `opcua_config`, `opcua_client` the connection, `opcua_trust` whom it trusts,
                    `opcua_history` what it fills gaps with, `opcua_values` is pure
    mqtt            a sink
    judge           doubts about values that came in good; `by_exception` what of them is worth storing

A new protocol is one configuration and one source that pass `tests/drivers/test_contract.py`.  Nothing here imports
another folder of ours, and nothing here can write to the plant.

Plain Modbus TCP has no check over its payload: a byte that is changed on the way is a changed value.  Where the way
is not trusted, use Modbus TLS; RTU frames carry a check of their own.
"""
