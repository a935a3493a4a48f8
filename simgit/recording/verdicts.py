"""Verdicts: whether a recorded run was found to be restored exactly, and how that is judged.

A verdict is noted in the run's metadata, as other facts about restoring it are, by key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from simgit.errors import Divergence, SimgitError, plural
from simgit.refs.runs import FORGETS, RunInfo, is_declaration

T = TypeVar("T")
EXACT: Final = "exact"
BY_REPLAY: Final = "exact by replay"
BY_PROCESS: Final = "depends on the process"
DIVERGES: Final = "not deterministic"
UNKNOWN: Final = "unknown"
NOT_CHECKED: Final = "not checked"
LIVE: Final = "live"
"""Recorded on a live cluster, which need not repeat: nothing is re-executed."""
REEXECUTE: Final = "reexecute"
"""The key of a run's metadata that is False if its environment must not be re-executed unasked."""
LEFT_OUT: Final = "wrappers_left_out"
"""The key of the classes of wrappers that the spec lacks although making them may change much."""
VERDICT: Final = "verdict"
RESETS, UNSEEDED = "resets", "unseeded_resets"
"""The keys of a verdict's details for what was found from seeded resets, and from the others."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check of a run's restores, noted with the run as ``verdict``.

    Attributes:
        result: "exact" (from snapshots), "exact by replay", "depends on the process",
            "not deterministic", "unknown", "not checked", "live".
        driver: the driver of the snapshots, None if no snapshot was tried.
        details: ``format`` of the snapshots, ``upto`` which step the run was recorded,
            ``snapshots`` (how many were ``checked``, ``of`` how many, up to which ``step``), the
            step and the field that differed first, the snapshot ``from`` which they did, or the
            ``reason`` why something was not possible; ``resets`` and ``unseeded_resets``:
            what re-execution from seeded and other resets, in new environments, gave.
    """

    result: str
    driver: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as it is noted with the run."""
        return {"result": self.result, "driver": self.driver, **self.details}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Return a noted verdict."""
        rest = {key: value for key, value in data.items() if key not in ("result", "driver")}
        driver = data.get("driver")
        return cls(str(data.get("result")), driver if isinstance(driver, str) else None, rest)


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        start: the first step that was compared.
        stop: the step after the last that agreed.
        seconds: the duration.
        divergence: the difference at ``stop``, None if all states agree.
        verdict: the verdict on a whole run and its snapshots; None where only a part was
            re-executed, or snapshots were not asked for.
        is_live: True if the states were recorded on a live cluster: nothing was re-executed.
    """

    start: int
    stop: int
    seconds: float
    divergence: Divergence | None
    verdict: Verdict | None = None
    is_live: bool = False

    @property
    def is_exact(self) -> bool:
        """True if all states agree, and all snapshots that were tried continue as recorded."""
        if self.is_live:
            return False
        wrong = self.verdict is not None and "from" in self.verdict.details
        return self.divergence is None and not wrong

    def to_json(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        found: dict[str, Any] = {
            "start": self.start, "stop": self.stop, "seconds": self.seconds,
            "exact": None if self.is_live else self.is_exact,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
        }  # fmt: skip
        if self.is_live:
            found["live"] = True
        if self.divergence is not None:
            names = ("step", "field", "recorded", "found")
            found |= {name: getattr(self.divergence, name) for name in names}
        return found


def verdict_of(runs: Iterable[RunInfo]) -> Verdict | None:
    """Return the verdict of the first run that has one, None without one.

    One that came from elsewhere says only what its writer wants: it is as if not checked.
    """
    return next(_verdicts(runs), None)


def _verdicts(runs: Iterable[RunInfo]) -> Iterator[Verdict]:
    for run in runs:
        found = run.metadata.get(VERDICT)
        if isinstance(found, Mapping) and found:
            yield Verdict(NOT_CHECKED) if run.is_foreign else Verdict.from_json(found)


def noted(runs: Iterable[RunInfo], key: str, *kinds: type) -> Any:
    """Return the value of a metadata key in the first run that has one of some kinds, or None.

    Metadata are whatever someone wrote: what is of another kind does not count.
    """
    found = (run.metadata.get(key) for run in runs)
    return next((each for each in found if each is not None and is_of(each, *kinds)), None)


def is_of(value: Any, *kinds: type) -> bool:
    """Return True if a value of metadata is of one of some kinds; True and False are no numbers."""
    is_number = not isinstance(value, bool) or bool in kinds
    return not kinds or (isinstance(value, kinds) and is_number)


_REPLAYED: Final = (BY_REPLAY, BY_PROCESS, DIVERGES)
IGNORE, VOLATILE = "ignore", "volatile"
"""Metadata keys: the paths of fields that are not compared, and not even part of the states."""


def ignored(runs: Iterable[RunInfo]) -> list[str]:
    """Return the paths of fields that are not compared, as noted with some runs."""
    noted_paths = [run.metadata.get(key) for run in runs for key in (IGNORE, VOLATILE)]
    return sorted(
        {path for each in noted_paths if isinstance(each, (list, tuple)) for path in map(str, each)}
    )


def snapshots_fail(runs: Iterable[RunInfo], driver: str | None = None) -> bool:
    """Return True if one of the runs is known to have snapshots that fail.

    The verdict has details of a snapshot that failed; without details "exact by replay" only says
    that there was no snapshot to try.

    Args:
        runs: the runs.
        driver: the driver in question; None for any.
    """
    return any(
        (
            "from" in each.details
            or (each.result in _REPLAYED and not each.details.keys().isdisjoint(("step", "reason")))
        )
        and driver in (None, each.driver)
        for each in _verdicts(runs)
    )


def vouches(runs: Iterable[RunInfo], driver: str | None, form: Any, step: int) -> bool:
    """Return True if a verdict says that a snapshot continues exactly.

    (Earlier versions looked at one snapshot, in the process that recorded: theirs do not.)

    Args:
        runs: the runs; the first one with a verdict counts.
        driver: the snapshot's driver.
        form: its format.
        step: its step; what was recorded after a check has no verdict.
    """
    found = verdict_of(runs)
    upto = None if found is None else found.details.get("upto")
    return (
        found is not None
        and found.result == EXACT
        and "snapshots" in found.details
        and (found.driver, found.details.get("format")) == (driver, form)
        and is_of(upto, int)
        and step <= upto  # type: ignore[operator]
    )


def replay_differs(runs: Iterable[RunInfo]) -> bool:
    """Return True if a run is exact from snapshots, and not from its beginning."""
    found = verdict_of(runs)
    return found is not None and found.result == EXACT and "replay" in found.details


def declares(runs: Iterable[RunInfo], kind: str = RESETS) -> bool | None:
    """Return whether a run's environment was declared to forget at resets, None if not.

    What came from elsewhere does not count.

    Args:
        runs: the runs; the first one that says something counts.
        kind: which resets: ``RESETS`` (those with a seed), or ``UNSEEDED``.
    """
    found = (said_of(run.metadata.get(FORGETS), kind) for run in runs if not run.is_foreign)
    return next((each for each in found if each is not None), None)


def said_of(declaration: object, kind: str) -> bool | None:
    """Return what a declaration says of resets of a kind, None if nothing.

    True is of those with a seed; "np_random" of all, as far as they draw from that generator only.
    """
    if declaration is False:
        return False
    is_said = is_declaration(declaration) and (kind == RESETS or declaration is not True)
    return True if is_said else None


def resets_fail(runs: Iterable[RunInfo], kind: str = RESETS) -> bool:
    """Return True if re-execution from a reset of a kind was otherwise in one of the runs."""
    return any(_resets(each, kind).get("forget") is False for each in _verdicts(runs))


def resets_tried(runs: Iterable[RunInfo], kind: str = RESETS) -> str | None:
    """Return in words how often re-execution from resets was as recorded, None if never."""
    known = verdict_of(runs)
    found = {} if known is None else _resets(known, kind)
    episodes, steps = found.get("episodes"), found.get("steps")
    if found.get("forget") is not True or type(episodes) is not int or type(steps) is not int:
        return None
    return f"{plural(episodes, 'episode')} of {plural(steps, 'step')}"


def _resets(verdict: Verdict, kind: str) -> Mapping[str, Any]:
    found = verdict.details.get(kind)
    return found if isinstance(found, Mapping) else {}


# --- judging ---

_REASON: Final = 1000
"""The greatest length of a reason that is noted."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check.

    Attributes:
        start: the step of the snapshot, or of the first state.
        compared: the number of states that agreed.
        differs: the step and the field that differ, or the reason why it could not continue.
        unmade: the reason why the environment, or its driver, could not be made.
        ended: why there is no result: the time was over, or the process ended.
        digest: a digest of everything that was returned, for another re-execution.
    """

    start: int
    compared: int = 0
    differs: dict[str, Any] = field(default_factory=dict)
    unmade: str | None = None
    ended: str | None = None
    driver: str | None = None
    form: Any = None
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        return asdict(self)


def judged(
    outcomes: Sequence[Outcome],
    replay: Outcome,
    again: Outcome | None,
    total: int,
    upto: int,
    process: str = "another",
) -> Verdict:
    """Return the verdict that follows from the results of checks.

    Args:
        outcomes: those from snapshots.
        replay: that of re-execution from the beginning.
        again: that of another re-execution, if there was one.
        total: the number of snapshots in all.
        upto: the step of the last state that was in question.
        process: where the checks were made: "another" process, or "the same".
    """
    bad = next((each for each in outcomes if each.differs), None)
    good = [each for each in outcomes if each.compared and not each.differs]
    driver = next((each.driver for each in outcomes if each.driver), None)
    counted = {
        "checked": len(good),
        "of": total,
        "step": max((each.start for each in outcomes), default=0),
    }
    seen: dict[str, Any] = {"process": process, "upto": upto}
    seen |= {"snapshots": counted} if outcomes else {}
    form = {"format": good[0].form} if good else {}
    if good and bad is None:
        also = {"replay": replay.differs} if replay.differs else {}
        return Verdict(EXACT, driver, {**form, **seen, **also})
    why = _why(outcomes, replay)
    wrong = {} if bad is None else {**bad.differs, "from": bad.start}
    if not replay.differs and replay.compared:
        return Verdict(BY_REPLAY, driver, {**wrong, **seen, **({"why": why} if why else {})})
    if replay.unmade or replay.ended or not replay.differs:
        if bad is not None:  # the snapshots are known to fail, and nothing else is known
            return Verdict(UNKNOWN, driver, {**wrong, **seen, "replay": {"reason": why}})
        result = UNKNOWN if replay.unmade else NOT_CHECKED
        return Verdict(result, driver, {"reason": why or "it has too few states"})
    if not is_difference(replay.differs):
        return Verdict(UNKNOWN, driver, {"reason": replay.differs["reason"], **seen})
    same = again is not None and again.digest == replay.digest
    return Verdict(BY_PROCESS if same else DIVERGES, driver, {**replay.differs, **seen})


def of_resets(
    kind: str, outcomes: Sequence[Outcome], lengths: Sequence[int], total: int
) -> dict[str, Any]:
    """Return what re-execution from resets says, as details of a verdict.

    An exception says nothing of what a reset forgets: then ``forget`` is None, with the reason.

    Args:
        kind: which resets, see ``declares``.
        outcomes: those from resets, each in a new environment.
        lengths: the number of states from each reset to the next such one.
        total: the number of such resets in all, but the first.
    """
    bad = next((each for each in outcomes if is_difference(each.differs)), None)
    if bad is not None:
        return {kind: {"forget": False, "from": bad.start, **bad.differs}}
    odd = next((each for each in outcomes if each.differs or each.unmade), None)
    if odd is not None:
        why = odd.unmade or odd.differs["reason"]
        return {kind: {"forget": None, "from": odd.start, "reason": why}}
    whole = [each for each, n in zip(outcomes, lengths, strict=True) if each.compared == n]
    if not whole:
        return {}
    counted = {"episodes": len(whole), "steps": sum(each.compared for each in whole)}
    newest = max(each.start for each in whole)
    return {kind: {"forget": True, **counted, "of": total, "step": newest}}


def _why(outcomes: Iterable[Outcome], replay: Outcome) -> str | None:
    """Return the first reason why something could not be checked."""
    return next((r for o in (replay, *outcomes) for r in (o.unmade, o.ended) if r), None)


def spread(steps: Sequence[T], count: int) -> list[T]:
    """Return at most ``count`` of some steps, evenly spread, the first and the last among them."""
    if len(steps) <= count:
        return list(steps)
    if count == 1:
        return [steps[0]]
    return [steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)]


def details(error: BaseException) -> dict[str, Any]:
    """Return what is noted of an error: the step and the field that differ, or the reason."""
    if isinstance(error, Divergence):
        found: dict[str, Any] = {"step": error.step, "field": error.field}  # type: ignore[attr-defined]
        return found if is_difference(found) else found | {"reason": str(error)[:_REASON]}
    return {"reason": named(error)}


def is_difference(found: Mapping[str, Any]) -> bool:
    """Return True if details of an error name a field that differs, as no exception does."""
    return found.get("field") not in (None, "exception")


def named(error: BaseException) -> str:
    """Return an error as text, with its type if it is not simgit's."""
    text = str(error) if isinstance(error, SimgitError) else f"{type(error).__name__}: {error}"
    return text[:_REASON]
