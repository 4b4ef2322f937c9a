"""The plant on loopback: physics, simulated devices on real sockets, scripted faults and real data replayed.

Run as `python -m hil_sim`; never imported by the daemon's folders.
"""
