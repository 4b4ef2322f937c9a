"""Fits models from commissioning data and writes them as ONNX; run by `blackstart train`, never by the daemon."""
