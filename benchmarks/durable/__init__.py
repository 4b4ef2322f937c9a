"""Durable execution beside its peers: `python -m benchmarks.durable`, each leg in a process of its own."""
