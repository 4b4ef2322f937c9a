"""Dissolved-gas analysis of transformer oil: from seven concentrations in µL/L to a fault code with its reasons.

`duval` and `ratios` are the methods, `limits` the gate before them, `consensus` the one door for callers.
"""
