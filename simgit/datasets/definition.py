"""The definition of a dataset: sources, conditions, fields, splits, transforms; no states.

A definition is a canonical value (docs/datasets.md), so equal definitions have equal oids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from simgit.datasets.transforms import Transform
from simgit.errors import IntegrityError, InvalidInput, SimgitError
from simgit.objects.kinds import ValueObject
from simgit.objects.oid import Oid

VERSION: Final = 1


class Pinned(NamedTuple):
    """A source that does not move: some steps of the history of a state.

    Attributes:
        tip: the oid of the last state.
        start: the first step.
        run: the name of the run, for display and conditions.
    """

    tip: Oid
    start: int
    run: str


@dataclass(frozen=True)
class Split:
    """One part of several, into which episodes fall by a hash of their first state's oid."""

    parts: tuple[tuple[str, float], ...]
    seed: int
    part: str

    def bounds(self) -> tuple[float, float]:
        """Return from where to where in 0 to 1 the hashes of the part lie."""
        low = 0.0
        for number, (name, share) in enumerate(self.parts):
            last = number == len(self.parts) - 1
            if name == self.part:
                return low, 1.0 if last else low + share
            low += share
        raise InvalidInput(f"a split has no part '{self.part}'")


@dataclass(frozen=True)
class Definition:
    """The definition of a dataset.

    Attributes:
        sources: revisions as text, or pinned.
        where: the condition that a state fulfils, or None.
        episode_where: the condition that an episode fulfils, or None.
        fields: the fields of batches and tables, or None for the usual ones.
        splits: of which part of which splits it is, one split after the other.
        transforms: of fields, in their order.
    """

    sources: tuple[str | Pinned, ...]
    where: str | None = None
    episode_where: str | None = None
    fields: tuple[str, ...] | None = None
    splits: tuple[Split, ...] = ()
    transforms: tuple[Transform, ...] = ()

    def value(self) -> dict[str, Any]:
        """Return the definition as a plain value."""
        return {
            "dataset": VERSION,
            "sources": [
                each
                if isinstance(each, str)
                else {"tip": bytes(each.tip), "start": each.start, "run": each.run}
                for each in self.sources
            ],
            "where": self.where,
            "episode_where": self.episode_where,
            "fields": None if self.fields is None else list(self.fields),
            "splits": [
                {"parts": [list(part) for part in each.parts], "seed": each.seed, "part": each.part}
                for each in self.splits
            ],
            "transforms": [each.value() for each in self.transforms],
        }

    @property
    def oid(self) -> Oid:
        """The hash of the definition."""
        return ValueObject(self.value()).oid

    @property
    def is_pinned(self) -> bool:
        """True if no source moves."""
        return all(isinstance(each, Pinned) for each in self.sources)

    @classmethod
    def from_value(cls, value: Any) -> Definition:
        """Return the definition of a plain value.

        Raises:
            IntegrityError: it is malformed.
            InvalidInput: it is of a newer version.
        """
        if (
            isinstance(value, Mapping)
            and type(value.get("dataset")) is int
            and value["dataset"] > VERSION
        ):
            raise InvalidInput(f"a dataset of version {value['dataset']} needs a newer simgit")
        try:
            made = cls(
                tuple(_source(each) for each in value["sources"]),
                _text(value["where"]),
                _text(value["episode_where"]),
                None if value["fields"] is None else tuple(map(_string, value["fields"])),
                tuple(_split(each) for each in value["splits"]),
                tuple(Transform.from_value(each) for each in value["transforms"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, SimgitError):
            raise IntegrityError("malformed definition of a dataset") from None
        if not made.sources or value["dataset"] != VERSION:
            raise IntegrityError("malformed definition of a dataset: it has no sources or version")
        return made

    def with_split(self, split: Split) -> Definition:
        """Return the definition of a part."""
        return replace(self, splits=(*self.splits, split))

    def sibling(self, part: str) -> Definition:
        """Return the definition of another part of the last split.

        Raises:
            InvalidInput: it is not a part of a split that has such a part.
        """
        if not self.splits or part not in dict(self.splits[-1].parts):
            raise InvalidInput(f"the dataset is not of a split with a part '{part}'")
        return replace(self, splits=(*self.splits[:-1], replace(self.splits[-1], part=part)))


def make_parts(shares: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return the parts of a split.

    Raises:
        InvalidInput: they are not numbers from 0 to 1 that sum to 1.
    """
    if not shares:
        raise InvalidInput("a split needs parts, such as train=0.8, test=0.2")
    parts = tuple((name, float(share)) for name, share in shares.items())
    if not all(0 <= share <= 1 for _, share in parts) or abs(sum(s for _, s in parts) - 1) > 1e-9:
        raise InvalidInput("the parts of a split must be from 0 to 1 and sum to 1")
    return parts


def _source(value: Any) -> str | Pinned:
    if isinstance(value, str):
        return value
    start = value["start"]
    if type(start) is not int or start < 0:
        raise TypeError
    return Pinned(Oid(value["tip"]), start, _string(value["run"]))


def _split(value: Any) -> Split:
    parts = tuple((_string(name), float(share)) for name, share in value["parts"])
    if type(value["seed"]) is not int:
        raise TypeError
    split = Split(make_parts(dict(parts)), value["seed"], _string(value["part"]))
    split.bounds()
    return split


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text(value: Any) -> str | None:
    return None if value is None else _string(value)


def sources_of(given: str | Sequence[Any]) -> tuple[str | Pinned, ...]:
    """Return sources as a definition has them, each once.

    Raises:
        InvalidInput: there are none.
    """
    listed = [given] if isinstance(given, (str, Oid)) else list(given)
    if not listed:
        raise InvalidInput("a dataset needs one or more runs or revisions")
    texts = [each.hex() if isinstance(each, Oid) else each for each in listed]
    return tuple(dict.fromkeys(texts))
