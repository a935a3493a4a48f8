"""Simulators of any kind: recorded, put back into a recorded state, and verified, by hooks.

- ``hooks``: the user's functions that make, move, look at, save and load a simulator.
- ``history``: the recorded states of a simulator, and where it can be put back from.
- ``replay``: a simulator moved along recorded states, each compared with what it gives.
- ``recorder``: a recorder that knows its simulator.
- ``checks``: verification of runs.
"""
