"""What the measurements mean: standard methods, learned models, the reasoning core's client, engineering knowledge.

Everything but `core` (a child process behind a socket) and `anomaly` (a session of onnxruntime) is pure functions.
"""
