"""Revisions: names of a state, or of a range of states.

HEAD  main  runs/main  tags/v1  3f9a2c41        a ref, a tag, the beginning of an oid
origin/main  remotes/origin/main                a run of a remote, as it was last seen there
main~3  main^2  main@{2}                        ancestors, parents, earlier values of the ref
main@{yesterday}  main@{2026-11-28 12:00}       the ref's value at a time
@{-1}                                           HEAD's run, or state, before the last checkout
main@200  main@ep5  main@ep5.10                 step; episode (from 1), state in it (from 0)
main@t=12.5                                     the last state at or before a simulated time
main@200:dir/a.txt                              a file of the state, where files are meant
a..b  a...b  main@100..200                      in b but not in a; in one of them only
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from simgit.errors import InvalidInput, Missing, NotFound, SimgitError, did_you_mean, plural
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry
from simgit.odb.clock import last_until
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.process import now
from simgit.refs.names import HEAD, REMOTES, RUNS, SPACES, TAGS
from simgit.refs.refs import Refs
from simgit.refs.remotes import has_tracking, tracking
from simgit.storage.base import ReadTxn, WriteTxn

MIN_PREFIX: Final = 4
"""The fewest digits of an abbreviated oid, as in git."""
MAX_CANDIDATES: Final = 10
_SUFFIX: Final = (
    r"(?:~(?P<tilde>[0-9]{0,18})|\^(?P<caret>[0-9]{0,18})|@\{(?P<log>[^{}]*)\}"
    r"|@ep(?P<episode>[0-9]{1,18})(?:\.(?P<within>[0-9]{1,18}))?|@(?P<step>[0-9]{1,18})"
    r"|@t=(?P<time>-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[-+]?[0-9]{1,3})?))$"
)
BACK: Final = r"@\{-([1-9][0-9]{0,8})\}"
"""The revision that names where HEAD was before its last checkouts."""
_CHECKOUT: Final = r"checkout: moving (?:from (?P<start>\S+) )?to (?P<to>.+)"
_FILE: Final = r"(?s)(?P<revision>(?:[^:{}]|\{[^{}]*\})*):(?P<path>.*)"
_MALFORMED: Final = r"(?i)@(?:(?:ep)?-?[\d.]*|t=[^@]*)$"
_KNOWN: Final = 1000
"""The most names that are kept."""
_HEX: Final = r"[0-9a-fA-F]+"
_TAIL: Final = r"(?P<base>.*@)(?:ep|t=-?)?\d+(?:\.\d+)?$"
_SHORT_TAIL: Final = r"(?:ep|t=-?)?\d+(?:\.\d+)?$"


class Resolved(NamedTuple):
    """A state that a revision names.

    Attributes:
        oid: the state.
        place: its location.
        run: the run that it was reached through, if any.
        tracking: the remote-tracking ref that it was reached through, such as ``origin/main``.
    """

    oid: Oid
    place: Location
    run: str | None = None
    tracking: str | None = None


class Found(NamedTuple):
    """The location of a state, and its oid if that is known."""

    place: Location
    run: str | None
    oid: Oid | None = None
    tracking: str | None = None


class Range(NamedTuple):
    """The two ends of a range; ``symmetric`` for three dots."""

    start: Resolved
    end: Resolved
    symmetric: bool = False


class Revisions:
    """The resolution of revisions in one store."""

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self.odb = odb
        self.refs = refs
        self._known: tuple[int, dict[str, Resolved]] = (-1, {})
        """What names stand for, in the snapshot of a number."""

    def resolve(self, txn: ReadTxn, text: str) -> Resolved:
        """Return the state that a revision names.

        Raises:
            NotFound: there is none.
            InvalidInput: the text is not a revision, or is ambiguous (``candidates``).
        """
        found = self.find(txn, text)
        oid = found.oid
        if oid is None:
            oid = self.odb.states.row(txn, found.place)[0]
        return Resolved(oid, found.place, found.run, found.tracking)

    def find(self, txn: ReadTxn, text: str) -> Found:
        """Return the location of a revision's state, and its oid if that costs nothing.

        Raises:
            IntegrityError: the state at the location in a run's ref is not the one that it names.
        """
        base, suffixes = split_revision(text)
        state = self._base(txn, text, base, suffixes)
        found = Found(state.place, state.run, state.oid, state.tracking)
        if (state.run is not None or state.tracking is not None) and not suffixes:
            self.odb.states.check_tip(txn, state.place, state.oid)
        for suffix in suffixes:
            try:
                place = self._place(txn, found.place, suffix)
            except (NotFound, Missing) as error:
                kind = Missing if isinstance(error, Missing) else NotFound
                known = {name: each for name, each in vars(error).items() if name != "message"}
                known["revision"] = text
                raise kind(f"revision '{text}': {error}", **known) from None
            found = found if place == found.place else found._replace(place=place, oid=None)
        return found

    def resolve_range(self, txn: ReadTxn, text: str) -> Range | None:
        """Return the ends of ``a..b`` or ``a...b``, None if ``text`` is not a range."""
        left, dots, right = text.partition("...") if "..." in text else text.partition("..")
        if not dots:
            return None
        if re.match(_SHORT_TAIL, right) and (match := re.match(_TAIL, left)):
            right = match["base"] + right  # main@100..200
        start, end = self.resolve(txn, left or HEAD), self.resolve(txn, right or HEAD)
        return Range(start, end, dots == "...")

    # --- the base ---

    def _base(self, txn: ReadTxn, text: str, base: str, suffixes: list[re.Match[str]]) -> Resolved:
        if suffixes and suffixes[0]["log"] is not None:
            which = suffixes.pop(0)["log"]
            if not base and (back := re.fullmatch(BACK, f"@{{{which}}}")):
                name = self.earlier_head(txn, int(back[1]))
                try:
                    return self._base(txn, text, name, suffixes)
                except NotFound:
                    raise NotFound(
                        f"revision '{text}' not found: HEAD was at '{name}', which is deleted",
                        revision=text,
                    ) from None
            return self._from_log(txn, text, base, which)
        number, known = self._known  # read once: another thread may replace it
        if number != txn.txn_id or isinstance(txn, WriteTxn):
            found = self._named(txn, text, base)
            if not isinstance(txn, WriteTxn):
                self._known = txn.txn_id, {base: found}
            return found
        kept = known.get(base)
        if kept is None:
            kept = self._named(txn, text, base)
            if len(known) >= _KNOWN:
                known.clear()
            known[base] = kept
        return kept

    def _named(self, txn: ReadTxn, text: str, base: str) -> Resolved:
        if base in (HEAD, "@", ""):
            return self._head(txn)
        refs = self._refs_named(txn, base)
        if len(refs) > 1:
            raise InvalidInput(
                f"revision '{text}' is ambiguous: {' or '.join(refs)}", candidates=refs
            )
        if refs:
            return self._ref(txn, refs[0])
        return self._oid(txn, text, base)

    def _refs_named(self, txn: ReadTxn, name: str) -> list[str]:
        """Return the full names of the refs that a name can stand for."""
        if name.startswith(RUNS) and self.refs.has_run(txn, name[len(RUNS) :]):
            return [name]
        if name.startswith(TAGS) and self.refs.has_tag(txn, name[len(TAGS) :]):
            return [name]
        if name.startswith(REMOTES) and has_tracking(txn, name[len(REMOTES) :]):
            return [name]
        found = [RUNS + name] if self.refs.has_run(txn, name) else []
        found += [TAGS + name] if self.refs.has_tag(txn, name) else []
        return found + ([REMOTES + name] if "/" in name and has_tracking(txn, name) else [])

    def _ref(self, txn: ReadTxn, ref: str) -> Resolved:
        if ref.startswith(TAGS):
            oid = self.refs.tag(txn, ref[len(TAGS) :]).oid
            return Resolved(oid, self.odb.locate(txn, oid))
        if ref.startswith(REMOTES):
            name, is_tracking = ref[len(REMOTES) :], True
            run = tracking(txn, name)
        else:
            name, is_tracking = ref[len(RUNS) :], False
            run = self.refs.run(txn, name)
        if run.oid is None:
            raise NotFound(f"run '{name}' has no states yet", name=name)
        if is_tracking:
            return Resolved(run.oid, run.place, None, name)
        return Resolved(run.oid, run.place, name)

    def _head(self, txn: ReadTxn) -> Resolved:
        head = self.refs.head(txn)
        if isinstance(head, Oid):
            return Resolved(head, self.odb.locate(txn, head))
        if not self.refs.has_run(txn, head):
            raise NotFound(f"HEAD points at run '{head}', which has no states yet", name=head)
        return self._ref(txn, RUNS + head)

    def earlier_head(self, txn: ReadTxn, number: int) -> str:
        """Return the run, or the oid of the state, that HEAD was at before its last checkouts.

        Args:
            txn: the transaction.
            number: how many checkouts ago, from 1 on.

        Raises:
            NotFound: there were fewer, as far as the reflog goes back.
        """
        count = 0
        for entry in self.refs.log(txn, HEAD):
            if (moved := re.fullmatch(_CHECKOUT, entry.message)) is None:
                continue
            if count >= number:  # a message of old: the checkout before says where it came from
                name = moved["to"].removeprefix(RUNS)
                return name if self.refs.has_run(txn, name) or not entry.new else entry.new.hex()
            count += 1
            if count == number and moved["start"]:
                return str(moved["start"])
        why = (
            f"the reflog of HEAD has only {plural(count, 'checkout')}"
            if count
            else ("there was no earlier checkout to return to")
        )
        raise NotFound(f"revision '@{{-{number}}}' not found: {why}")

    def _from_log(self, txn: ReadTxn, text: str, base: str, which: str) -> Resolved:
        ref, time = HEAD, None
        if not which.isdecimal():
            from simgit.refs.times import parse_time

            time = parse_time(which, now())
        if base not in (HEAD, "@", ""):
            # a deleted ref's log is kept, so that its former states can be named
            names = self._refs_named(txn, base) or self._logs_named(txn, base)
            if not names:
                raise NotFound(
                    f"revision '{text}' not found: '{base}' has no reflog", revision=text
                )
            if len(names) > 1:
                raise InvalidInput(
                    f"revision '{text}' is ambiguous: {' or '.join(names)}", candidates=names
                )
            ref = names[0]
        if time is None:
            oid = self._nth(txn, text, ref, int(which))
        else:
            oid = self._at(txn, text, ref, time)
        place, (space, _, name) = self.odb.locate(txn, oid), ref.partition("/")
        if space + "/" == RUNS and self.refs.has_run(txn, name):
            return Resolved(oid, place, name)
        if space + "/" == REMOTES and has_tracking(txn, name):
            return Resolved(oid, place, None, name)
        return Resolved(oid, place)

    def _nth(self, txn: ReadTxn, text: str, ref: str, number: int) -> Oid:
        oid, entries = None, 0
        for entry in self.refs.log(txn, ref):
            oid = entry.new if entries == number else entry.old
            entries += 1
            if entries > number:
                break
        if oid is None or entries < number:
            raise NotFound(f"revision '{text}' not found: the reflog of '{ref}' is shorter")
        return oid

    def _at(self, txn: ReadTxn, text: str, ref: str, time: int) -> Oid:
        """Return what a ref pointed at, at a time."""
        for entry in self.refs.log(txn, ref):
            if entry.time <= time:
                if entry.new is None:
                    raise NotFound(f"revision '{text}' not found: '{ref}' had no state then")
                return entry.new
        raise NotFound(f"revision '{text}' not found: the reflog of '{ref}' begins later")

    def _logs_named(self, txn: ReadTxn, name: str) -> list[str]:
        """Return the full names of the refs, deleted ones included, that a name can stand for."""
        candidates = (name, *(space + name for space in SPACES))
        return [ref for ref in candidates if next(self.refs.log(txn, ref), None) is not None]

    def _oid(self, txn: ReadTxn, text: str, digits: str) -> Resolved:
        if not re.fullmatch(_HEX, digits) or not MIN_PREFIX <= len(digits) <= 2 * OID_SIZE:
            raise self._not_found(txn, text, digits)
        found = [oid for kind, oid in self.odb.with_prefix(txn, digits.lower()) if kind == "state"]
        if not found:
            raise self._not_found(txn, text, digits)
        if len(found) > 1:
            shown = ", ".join(oid.short(12) for oid in found[:MAX_CANDIDATES])
            more = ", …" if len(found) > MAX_CANDIDATES else ""
            raise InvalidInput(
                f"revision '{text}' is ambiguous: it can be {shown}{more}", candidates=found
            )
        return Resolved(found[0], self.odb.locate(txn, found[0]))

    def _not_found(self, txn: ReadTxn, text: str, name: str) -> SimgitError:
        if malformed := re.search(_MALFORMED, name):
            run = name[: malformed.start()] or HEAD
            return InvalidInput(
                f"revision '{text}' is malformed; write '{run}@5' for a step, '{run}@ep5' for an "
                f"episode, '{run}@ep5.10' for a state in it, '{run}@t=12.5' for a simulated time",
                revision=text,
            )
        if re.fullmatch(_SHORT_TAIL, name):
            why = f"; did you mean '{HEAD}@{name}'?"
            return NotFound(f"revision '{text}' not found{why}", revision=text)
        kinds = [each for each in SPACES if name.startswith(each)] or [*SPACES]
        bare = name.removeprefix(kinds[0]) if len(kinds) == 1 else name
        near = did_you_mean(name, [HEAD]) or self.refs.near(txn, bare, *kinds)
        return NotFound(f"revision '{text}' not found{near}", revision=text)

    # --- the suffixes ---

    def _place(self, txn: ReadTxn, place: Location, suffix: re.Match[str]) -> Location:
        if suffix["step"] is not None:
            return ancestry.ancestor(txn, place, int(suffix["step"]))
        if suffix["episode"] is not None:
            return self._episode(txn, place, int(suffix["episode"]), int(suffix["within"] or 0))
        if (time := suffix["time"]) is not None:
            number = int(time) if time.lstrip("-").isdecimal() else float(time)
            return last_until(self.odb, txn, place, number)
        if suffix["tilde"] is not None:
            return ancestry.ancestor(txn, place, place.step - int(suffix["tilde"] or 1))
        if suffix["caret"] is not None:
            return self._parent(txn, place, int(suffix["caret"] or 1))
        raise NotFound("'@{n}' must follow the name of a ref, as in 'main@{1}'")

    def _parent(self, txn: ReadTxn, place: Location, number: int) -> Location:
        if number == 0:
            return place
        parents = ancestry.parents_at(self.odb, txn, place)
        if number > len(parents):
            raise NotFound(f"the state at step {place.step} has {plural(len(parents), 'parent')}")
        return parents[number - 1]

    def _episode(self, txn: ReadTxn, tip: Location, number: int, within: int) -> Location:
        start = ancestry.episode_start(self.odb, txn, tip, number)
        end = ancestry.episode_end(self.odb, txn, tip, number)
        if within > end - start:
            raise NotFound(f"episode {number} has states 0 to {end - start}")
        return ancestry.ancestor(txn, tip, start + within)


def _suffix(text: str) -> re.Match[str] | None:
    """Return the last suffix of a revision; most are names without any."""
    return re.search(_SUFFIX, text) if "@" in text or "~" in text or "^" in text else None


def split_revision(text: str) -> tuple[str, list[re.Match[str]]]:
    """Return the base of a revision and its suffixes, first to last.

    Raises:
        InvalidInput: the text cannot be a revision.
    """
    suffixes: list[re.Match[str]] = []
    base = text
    while (match := _suffix(base)) is not None:
        suffixes.append(match)
        base = base[: match.start()]
    is_plain = base.isalnum() or not re.search(r"[~^:?*\[\\\s\x00-\x1f]|@\{", base)
    if not is_plain or (not base and not suffixes):
        raise InvalidInput(
            f"'{text}' is not a revision; write 'main', 'main~3', 'main@200' or an oid",
            revision=text,
        )
    suffixes.reverse()
    return base, suffixes


class EpisodeOf(NamedTuple):
    """An episode that a revision names: the base revision, and the episode's number."""

    base: str
    number: int


def whole_episode(text: str) -> EpisodeOf | None:
    """Return the episode that ``base@ep5`` names, None if ``text`` ends otherwise."""
    match = _suffix(text)
    if match is None or match["episode"] is None or match["within"] is not None:
        return None
    return EpisodeOf(text[: match.start()] or HEAD, int(match["episode"]))


class FileOf(NamedTuple):
    """A file or directory of a state: the revision, and its path from the root; '' for all."""

    revision: str
    path: str


def file_of(text: str) -> FileOf | None:
    """Return the file that ``main@200:dir/a.txt`` names, None if ``text`` has no path.

    No name and no suffix of a revision has a colon, but for a time in braces.
    """
    match = re.fullmatch(_FILE, text) if ":" in text else None
    return FileOf(match["revision"] or HEAD, match["path"].strip("/")) if match else None
