"""The snapshot driver: engines, attributes, random generators; and drivers that replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simgit.errors import InvalidInput
from simgit.gym.drivers import attributes, randomness
from simgit.gym.drivers.base import (
    READABLE,
    VERSION,
    Driver,
    Engine,
    Snapshot,
    Where,
)
from simgit.gym.drivers.limits import CannotSnapshot, NotPlain
from simgit.gym.drivers.stored_form import unpack
from simgit.gym.drivers.wrappers import class_name, is_core, layers

Engines = Mapping[int, Engine]
"""The engines of the unwrapped environments, by their position among the layers."""


class SnapshotDriver(Driver):
    """Captures engine by engine, then the attributes of every layer, then random generators."""

    where: Where = "any"

    def __init__(self, env: Any, engines: Engines, *, look: bool = True) -> None:
        """Keep the engines, and try one snapshot, unless ``look`` is False.

        Raises:
            CannotSnapshot: some part of it cannot be stored.
        """
        stack = layers(env)
        self._engines = engines
        self._attributes = attributes.Attributes()
        names = [engine.name for engine in engines.values()]
        # the most specific one: a vector's own part is generic
        self.name = next((name for name in names if name != "generic"), "generic")
        self.lead = max((engine.lead(stack[i]) for i, engine in engines.items()), default=0)
        self.needs_trust = (
            look and self._attributes.capture(stack, self._owned(stack))["form"] == "pickle"
        )

    def snapshot(self, env: Any) -> Snapshot:
        """Return the state of an environment; see ``Driver``."""
        stack = layers(env)
        spaces = list(randomness.all_spaces(stack))
        try:
            numbers = randomness.capture(stack, spaces)
        except NotPlain as error:
            raise CannotSnapshot(str(error)) from None
        engines = {
            str(i): data
            for i, engine in self._engines.items()
            if (data := engine.capture(stack[i])) is not None
        }
        return {
            "driver": self.name,
            "version": VERSION,
            "classes": "\n".join(map(class_name, stack)),
            **({"lead": self.lead} if self.lead else {}),
            **self._attributes.capture(stack, self._owned(stack), spaces),
            **({"engines": engines} if engines else {}),
            "random": numbers,
            "globals": randomness.capture_globals(),
        }

    def _owned(self, stack: Sequence[Any]) -> list[frozenset[str] | None]:
        """Return for each layer the attributes to leave out."""
        found: list[frozenset[str] | None] = []
        for i, _ in enumerate(stack):
            engine = self._engines.get(i)
            found.append(
                frozenset() if engine is None else (engine.owned if engine.has_attributes else None)
            )
        return found

    def restore(self, env: Any, data: Mapping[str, Any]) -> None:
        """Put an environment into the state of a snapshot; see ``Driver``."""
        stack, data = layers(env), unpack(data)
        expect(data, self.name, stack)
        found = attributes.Restoration(stack, self._owned(stack), data)
        for i, engine in self._engines.items():
            if str(i) in data.get("engines", {}):
                engine.apply(stack[i], data["engines"][str(i)])
        randomness.apply(stack, data["random"])  # first, since attributes may refer to generators
        found.apply()
        randomness.apply_globals(data["globals"])

    def reseed(self, env: Any, seed: int | None = None) -> None:
        """Reseed the environment's random generators, those of its engines too."""
        super().reseed(env, seed)
        stack = layers(env)
        for i, engine in self._engines.items():
            engine.reseed(stack[i], randomness.derived(seed, i))


def expect(data: Mapping[str, Any], name: str, stack: Sequence[Any]) -> None:
    """Refuse a snapshot of another driver, version, or stack of classes.

    Raises:
        InvalidInput: the snapshot does not fit.
    """
    if data.get("driver") != name:
        raise InvalidInput(
            f"the snapshot was taken by driver '{data.get('driver')}', "
            f"this environment uses '{name}'"
        )
    if data.get("version") not in READABLE:
        raise InvalidInput(f"cannot read a snapshot of version {data.get('version')}")
    recorded = str(data.get("classes", "")).split("\n")
    present = list(map(class_name, stack))
    for old, new in zip(recorded, present, strict=False):
        if old != new:
            raise InvalidInput(f"the snapshot is of a '{old}', the environment has a '{new}'")
    if len(recorded) != len(present):
        raise InvalidInput(
            f"the snapshot is of {len(recorded)} layers, the environment has {len(present)}"
        )


class EpisodeReplay(Driver):
    """The driver of environments that rebuild themselves at every reset."""

    name = "replay-episode"
    where: Where = "end"

    def __init__(self) -> None:
        self._attributes = attributes.Attributes()

    def snapshot(self, env: Any) -> Snapshot | None:
        """Return the wrappers' attributes and all random generators."""
        stack = layers(env)
        taken = self._attributes.capture(stack, _wrappers_only(stack))
        return {
            "driver": self.name,
            "version": VERSION,
            "classes": "\n".join(map(class_name, stack)),
            **taken,
            "random": randomness.capture(stack),
            "globals": randomness.capture_globals(),
        }

    def restore(self, env: Any, data: Mapping[str, Any]) -> None:
        """Put the environment where it was before a reset; the caller then resets it."""
        stack, data = layers(env), unpack(data)
        expect(data, self.name, stack)
        found = attributes.Restoration(stack, _wrappers_only(stack), data)
        randomness.apply(stack, data["random"])
        found.apply()
        randomness.apply_globals(data["globals"])


def _wrappers_only(stack: Sequence[Any]) -> list[frozenset[str] | None]:
    return [None if is_core(layer) else frozenset() for layer in stack]


class CreationReplay(Driver):
    """The driver of environments with hidden state: all steps since creation are re-executed.

    A root's snapshot holds the seed that Gymnasium drew, if no seed was given.
    """

    name = "replay-creation"
    where: Where = "root"

    def snapshot(self, env: Any) -> Snapshot:
        """Return the seeds and the random generators after the first reset."""
        stack = layers(env)
        return {
            "driver": self.name,
            "version": VERSION,
            "seeds": [vars(layer).get("_np_random_seed") for layer in stack if is_core(layer)],
            "globals": randomness.capture_globals(),
        }


class NoDriver(Driver):
    """The driver of environments that are not deterministic: no snapshots."""
