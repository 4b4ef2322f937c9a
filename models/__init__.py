"""What the measurements mean: standard methods, learned models, the reasoning core's client, engineering knowledge.

Everything but `core` (a child process behind a socket), `anomaly` (a session of onnxruntime), `drift` and
`change_point` (what each has seen of one asset) is pure functions.
"""
