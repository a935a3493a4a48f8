"""Differences between an environment and a recorded one, as far as both are known.

Not compared is what does not change the states: modules and versions of classes, rendering,
checkers, and arguments that were guessed from attributes, which may have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from simgit.objects.codec import encode_value

_ASIDE: Final = ("render_mode",)
_OPAQUE: Final = "a value without an encoding"
Data = Mapping[str, Any]


class SpecDifference(NamedTuple):
    """The name of what differs, its recorded and its present value; None where it is absent."""

    what: str
    recorded: Any
    found: Any


def spec_difference(recorded: Data, found: Data) -> SpecDifference | None:
    """Return the first difference between descriptions of environments of one title, or None."""
    return next(_differences(recorded, found), None)


def title(environment: Data) -> str:
    """Return the id of an environment, or its entry point if it has none."""
    return str(environment.get("id") or environment["entry_point"])


def _differences(recorded: Data, found: Data) -> Iterator[SpecDifference]:
    was, now = recorded["environment"], found["environment"]
    yield from _in_arguments(was, now)
    for name in ("max_episode_steps", "lanes"):
        if was.get(name) != now.get(name):
            yield SpecDifference(f"'{name}'", was.get(name), now.get(name))
    for layers in ("wrappers", "vector_wrappers"):
        yield from _in_layers(recorded.get(layers, ()), found.get(layers, ()))


def _in_layers(recorded: Any, found: Any) -> Iterator[SpecDifference]:
    """Compare wrappers, the innermost first; those of vectors are known by their classes only."""
    for was, now in zip_longest(recorded, found):
        names = _layer_name(was), _layer_name(now)
        if names[0] != names[1]:
            yield SpecDifference("the wrapper", *names)
        elif isinstance(was, Mapping):
            yield from _in_arguments(was, now)


def _layer_name(layer: Any) -> str | None:
    if isinstance(layer, Mapping):
        return str(layer["name"])
    return None if layer is None else str(layer).partition(":")[2]


def _in_arguments(was: Data, now: Data) -> Iterator[SpecDifference]:
    """Compare all arguments of what is made by its id; of others, those known on both sides.

    (Gymnasium's wrappers state all their arguments; another version may have more.)
    """
    if any(each.get("kwargs") is None or "inferred" in each for each in (was, now)):
        return
    given = _arguments(was), _arguments(now)
    names = (
        given[0].keys() | given[1].keys() if was.get("id") else given[0].keys() & given[1].keys()
    )
    for name in sorted(names - {*_ASIDE}):
        values = given[0].get(name), given[1].get(name)
        if not _are_same(*values):
            owner = was.get("name") or title(was)
            yield SpecDifference(f"'{name}' of '{owner}'", *values)


def _arguments(described: Data) -> dict[str, Any]:
    """Return the known arguments; one marker stands for every one without an encoding."""
    return {**described["kwargs"], **dict.fromkeys(described.get("opaque", ()), _OPAQUE)}


def _are_same(was: Any, now: Any) -> bool:
    if isinstance(was, (int, float)) and isinstance(now, (int, float)):
        return was == now or (was != was and now != now)
    return encode_value(was) == encode_value(now)
