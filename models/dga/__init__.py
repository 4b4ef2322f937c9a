"""Dissolved-gas analysis of transformer oil: from seven concentrations in µL/L to a fault code with its reasons.

`duval` and `ratios` are the methods, `limits` the gate before them, `learned` a second opinion, `fusion` the pool of
all opinions, `uncertainty` what a monitor's accuracy leaves open, `consensus` the one door for callers.
"""
