"""The choice of the driver for an environment."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from simgit.errors import InvalidInput
from simgit.gym.drivers.ale import Ale
from simgit.gym.drivers.base import Driver, Engine
from simgit.gym.drivers.engines import Functional, Generic, Methods, Retro
from simgit.gym.drivers.limits import CannotSnapshot
from simgit.gym.drivers.mujoco import Mujoco
from simgit.gym.drivers.snapshots import CreationReplay, EpisodeReplay, NoDriver, SnapshotDriver
from simgit.gym.drivers.wrappers import class_name, is_core, layers

GROUP: Final = "simgit.drivers"
"""The group of entry points for engine classes, which are tried before those of simgit."""
_LADDER: Final[tuple[Engine, ...]] = (Ale(), Mujoco(), Functional(), Retro(), Methods(), Generic())
_REBUILT: Final = frozenset({"gymnasium.envs.box2d.lunar_lander.LunarLander"})
"""Environments with parts that cannot be stored, but are made anew at every reset."""
_UNSTEADY: Final = ("highway_env", "crafter")
"""Packages whose environments are not deterministic."""
_registered: Final[list[Engine]] = []


def register(engine: Engine) -> None:
    """Register an engine for environments of your own; the last one registered is tried first."""
    _registered.insert(0, engine)


def importable() -> list[str]:
    """Return the classes of registered engines that another process can import."""
    kinds = [type(engine) for engine in reversed(_registered)]
    return [
        f"{kind.__module__}:{kind.__qualname__}" for kind in kinds if kind.__module__ != "__main__"
    ]


def select(env: Any) -> Driver:
    """Return the driver for an environment with its wrappers.

    A snapshot is tried once: where that fails, replay serves the environment.
    """
    cores = [(i, layer) for i, layer in enumerate(layers(env)) if is_core(layer)]
    if any(_is_unsteady(core) for _, core in cores):
        return NoDriver()
    try:
        return SnapshotDriver(env, {i: _engine(core) for i, core in cores})
    except CannotSnapshot:
        if all(class_name(core) in _REBUILT for _, core in cores):
            return EpisodeReplay()
        return CreationReplay()


def serving(env: Any, name: str) -> Driver:
    """Return the driver that restores snapshots of a driver's name, also in a new environment.

    Raises:
        InvalidInput: the driver is unknown, or does not serve this environment.
    """
    if name in _REPLAYS:
        return _REPLAYS[name]()
    cores = [(i, layer) for i, layer in enumerate(layers(env)) if is_core(layer)]
    driver = SnapshotDriver(env, {i: _engine(core) for i, core in cores}, look=False)
    if driver.name != name:
        raise InvalidInput(
            f"the snapshot was taken by driver '{name}',  this environment uses '{driver.name}'"
        )
    return driver


_REPLAYS: Final[dict[str, type[Driver]]] = {
    each.name: each for each in (EpisodeReplay, CreationReplay, NoDriver)
}


def check(env: Any) -> str | None:
    """Return the reason why an environment has no snapshots, None if it has."""
    cores = [(i, layer) for i, layer in enumerate(layers(env)) if is_core(layer)]
    try:
        SnapshotDriver(env, {i: _engine(core) for i, core in cores})
    except CannotSnapshot as error:
        return str(error)
    return None


def _engine(core: Any) -> Engine:
    return next(engine for engine in _engines() if engine.accepts(core))


def _engines() -> Iterator[Engine]:
    yield from _registered
    yield from _installed()
    yield from _LADDER


@cache
def _installed() -> tuple[Engine, ...]:
    """Return the engines of installed packages.

    Raises:
        InvalidInput: an entry point is not an engine.
    """
    found = []
    for point in entry_points(group=GROUP):
        engine = point.load()()
        if not isinstance(engine, Engine):
            raise InvalidInput(
                f"entry point '{point.value}' is not a subclass of simgit.gym.drivers.Engine"
            )
        found.append(engine)
    return tuple(found)


def _is_unsteady(core: Any) -> bool:
    spec = getattr(core, "spec", None)
    declared = spec is not None and getattr(spec, "nondeterministic", False)
    return declared or type(core).__module__.partition(".")[0] in _UNSTEADY
