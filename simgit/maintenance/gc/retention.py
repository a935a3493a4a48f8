"""Retention rules: which attachments of a name are kept when they are thinned out.

``agent: last 5, every 100, best 3 by return; video: last 1`` keeps, of each run's attachments
``agent``, the newest five, the first in every hundred steps, and the three in the episodes of the
highest return. An attachment is kept if one clause of a rule keeps it, for one of the runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from simgit.errors import InvalidInput
from simgit.maintenance.gc.mark import Marker
from simgit.objects import rows as rowlib
from simgit.objects.codec import decode_name
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import graft_of
from simgit.refs.names import check_name
from simgit.refs.own_names import base_name
from simgit.refs.refs import Refs
from simgit.storage.base import ReadTxn

SNAPSHOT: Final = "snapshot"
"""The attachment from which states are restored; rules keep those that other snapshots need."""
_CLAUSE: Final = re.compile(r"(last|every|best) (\d+)( by return)?")


@dataclass(frozen=True)
class Rule:
    """A retention rule for the attachments of a name; see the module.

    Attributes:
        name: the name of the attachments.
        last: the number of newest ones to keep of each run.
        every: the number of steps of each of which the first one is kept; 0 for none.
        best: the number to keep, in the episodes of the highest return.
    """

    name: str
    last: int = 0
    every: int = 0
    best: int = 0

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule that is written ``NAME: last N, every N, best N by return``.

        Raises:
            InvalidInput: the text is malformed.
        """
        name, colon, rest = (part.strip() for part in text.partition(":"))
        numbers: dict[str, int] = {}
        for clause in rest.split(","):
            match = _CLAUSE.fullmatch(" ".join(clause.split()))
            if not colon or match is None or (match[1] == "best") != bool(match[3]):
                raise InvalidInput(
                    f"malformed retention rule '{text.strip()}': write it as "
                    "'agent: last 5, every 100, best 3 by return'"
                )
            if match[1] in numbers:
                raise InvalidInput(f"retention rule '{text.strip()}' has '{match[1]}' twice")
            numbers[match[1]] = int(match[2])
        return cls(check_name(name, "an attachment"), **numbers)


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Return the rules of a text, with ``;`` or line breaks between them.

    Raises:
        InvalidInput: one is malformed, or two are for the same name.
    """
    rules = tuple(Rule.parse(part) for part in re.split(r"[;\n]", text) if part.strip())
    if len({rule.name for rule in rules}) != len(rules):
        raise InvalidInput("retention rules must be for different names; join their clauses")
    return rules


class RetentionCandidate(NamedTuple):
    """An attachment of a rule's name."""

    key: bytes
    state: Oid
    place: Location


def thinned(
    odb: ObjectDatabase, refs: Refs, txn: ReadTxn, marker: Marker, rules: Sequence[Rule]
) -> list[bytes]:
    """Return the keys of the attachments that no rule keeps, in order.

    Attachments of tagged states, and of states that are in no run's history, are kept.
    """
    tagged = {tag.oid for _, tag in refs.tags(txn)}
    tips = [ref.place for _, ref in refs.runs(txn) if ref.oid is not None]
    found: list[bytes] = []
    for rule in rules:
        there = [
            RetentionCandidate(key, Oid(key[:OID_SIZE]), marker.place(txn, key[:OID_SIZE]))
            for key, _ in txn.scan("attachments")
            if base_name(decode_name(key[OID_SIZE:])) == rule.name
        ]
        seen: set[bytes] = set()
        kept: set[bytes] = {each.key for each in there if each.state in tagged}
        for tip in tips:
            mine = sorted(_in_history(txn, there, tip), key=lambda each: each.place.step)
            seen |= {each.key for each in mine}
            kept |= {each.key for each in _kept(odb, txn, rule, mine, tip)}
        found += seen - kept
    return sorted(found)


def _in_history(
    txn: ReadTxn, there: list[RetentionCandidate], tip: Location
) -> list[RetentionCandidate]:
    parts = {part.line: part for part in ancestry.line_ranges(txn, tip, shallow=True)}
    return [
        each for each in there
        if (part := parts.get(each.place.line)) and part.start <= each.place.step < part.stop
    ]  # fmt: skip


def _kept(
    odb: ObjectDatabase, txn: ReadTxn, rule: Rule, mine: list[RetentionCandidate], tip: Location
) -> list[RetentionCandidate]:
    """Return the attachments of a run that a rule keeps; they are given in order of steps."""
    kept = mine[len(mine) - min(rule.last, len(mine)) :]
    if rule.every:
        firsts: dict[int, RetentionCandidate] = {}
        for each in mine:
            firsts.setdefault(each.place.step // rule.every, each)
        kept = [*kept, *firsts.values()]
    if rule.best and graft_of(txn, tip.line) is not None:
        return mine  # the returns of a shallow history are not known: all may be the best
    if rule.best:
        by_return = sorted(mine, key=lambda each: (_return(odb, txn, each.place, tip), each.place))
        kept = [*kept, *by_return[-rule.best :]]
    if rule.name == SNAPSHOT:
        kept = [*kept, *mine[:1], *(each for each in mine if _is_reset(odb, txn, each.place))]
    return kept


def _return(odb: ObjectDatabase, txn: ReadTxn, place: Location, tip: Location) -> float:
    """Return the sum of rewards of a state's episode, as far as a run has it."""
    number, _ = ancestry.episode_of(odb, txn, place)
    start = ancestry.episode_start(odb, txn, tip, number)
    end = ancestry.episode_end(odb, txn, tip, number)
    total = _returned(odb, txn, tip, end) - _returned(odb, txn, tip, start)
    return total if total == total else float("-inf")  # NaN ranks last


def _returned(odb: ObjectDatabase, txn: ReadTxn, tip: Location, step: int) -> float:
    place = ancestry.ancestor(txn, tip, step)
    return odb.states.standing(txn, odb.states.header(txn, place), place.step)[2]


def _is_reset(odb: ObjectDatabase, txn: ReadTxn, place: Location) -> bool:
    """Return True for the state of a reset, which may be impossible to repeat exactly."""
    rows = odb.states.row(txn, place)[2]
    index = rows.schema.index.get(("reset",))
    return place.step == 0 or (index is not None and bool(rowlib.presence(rows, index)[0]))
