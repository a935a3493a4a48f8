"""Snapshot drivers: they capture the state of a live environment, and put it back exactly.

A snapshot is nested plain data with at least ``driver`` (a name) and ``version``; it is attached to
the state at which it was taken. ``select`` chooses the driver for an environment.
"""

from simgit.gym.drivers.base import Driver, Engine, needs_trust
from simgit.gym.drivers.choose import check, register, select, serving
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot
from simgit.gym.drivers.stored_form import pack, unpack
from simgit.gym.drivers.wrappers import layers

__all__ = [
    "CannotRestore",
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
