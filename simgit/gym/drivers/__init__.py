"""Snapshot drivers: how the state of a live environment is taken out, and put back exactly.

A snapshot is nested plain data with at least ``driver`` (a name) and ``version``; it is attached to
the state at which it was taken. ``select`` chooses a driver by what the environment is.
"""

from simgit.gym.drivers.base import CannotSnapshot, Driver, Engine, needs_trust
from simgit.gym.drivers.ladder import check, register, select, serving
from simgit.gym.drivers.layers import layers
from simgit.gym.drivers.packing import pack, unpack

__all__ = [
    "CannotSnapshot",
    "Driver",
    "Engine",
    "check",
    "needs_trust",
    "layers",
    "pack",
    "register",
    "select",
    "serving",
    "unpack",
]
