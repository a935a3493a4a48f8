"""The seam of all formats: what a format offers, and what passes through it.

A format is a module of this package that has an object ``FORMAT`` (or several, ``FORMATS``); no
other file names it. Reading
yields *source runs*, each with blocks of states: columns of values, whose oids are made here, or
packed states that say which oids they must have. Writing is given an ``Export``.

Everything that is read is untrusted: a reader checks sizes before it allocates, follows no link out
of its source, imports nothing and loads no pickle.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

from simgit.datasets.formats.selection import check_options
from simgit.errors import IntegrityError, InvalidInput, NotFound, near_or_known
from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT, Columns
from simgit.objects.rows import Rows
from simgit.recording.states import coerce_fields
from simgit.refs.oplog.journal import without_password

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from simgit.datasets.formats.selection import Export

Attachment = tuple[int, str, Any]
"""A step of the run's history, a name, and data to attach there (bytes, arrays, nested values)."""
_NO_FORMATS: Final = ("base", "arrow_bounds", "arrow_rows", "arrow_tables", "lerobot_frames")
"""Modules that are not looked into for formats: they import what need not be installed."""
BLOCK: Final = 4096
"""The states of a block that is made of single states, if they are small."""
_BLOCK_BYTES: Final = 64 << 20


def is_own_file(path: Path, given: Path) -> bool:
    """Return True for a file, no link, in the given folder or in one in it that is no link."""
    is_own = path.parent == given or not path.parent.is_symlink()
    return is_own and path.is_file() and not path.is_symlink()


class StoredRun(NamedTuple):
    """The newest state of a run in the repository, and the data of an attachment of it, if any."""

    oid: bytes
    step: int
    data: Any


@dataclass(frozen=True)
class Source:
    """A file, a directory or a URL to import, and the options that were given.

    Attributes:
        text: as it was given.
        path: the same as a path; of a URL it leads to nothing.
        options: by name, from ``--option NAME=VALUE``; ``"true"`` where no value was given.
        as_new: True if states get new oids, so that an edited file may be read.
        stored: returns, of the run here that a run of the source is imported as, the newest state
            and its attachment of a name; None if that run has no states.
        closing: closes what readers have opened; entered by who calls them.
    """

    text: str
    path: Path
    options: Mapping[str, str] = field(default_factory=dict)
    as_new: bool = False
    stored: Callable[[str, str], StoredRun | None] = field(
        default=lambda run, name: None, repr=False, compare=False
    )
    closing: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def open(self, path: Path | None = None) -> BinaryIO:
        """Open a regular file for reading, the source itself or one in it; see ``closing``.

        Raises:
            NotFound: there is no such file.
            IntegrityError: it is a link out of its directory, or not a regular file.
        """
        path = self.path if path is None else self.inside(path)
        if not path.exists():
            raise NotFound(f"'{path}' not found", path=path)
        if not path.is_file():
            raise IntegrityError(f"'{path.name}' must be a regular file", path=path)
        return self.closing.enter_context(path.open("rb"))

    def inside(self, path: Path) -> Path:
        """Return a path within the source, no part of which is a link.

        Raises:
            IntegrityError: a link leads there.
        """
        if path.resolve() != self.path.resolve() / path.relative_to(self.path):
            raise IntegrityError(f"a link leads to '{path.name}'", path=path)
        return path

    @property
    def shown(self) -> str:
        """The text without a password, as it may be stored and shown."""
        return without_password(self.text)

    def check_options(self, *known: str) -> None:
        """Check that only options of the format were given.

        Raises:
            InvalidInput: there is another one.
        """
        check_options(self.options, known)

    def head(self, size: int = 64) -> bytes:
        """Return the first bytes of a regular file, none of anything else."""
        if not self.path.is_file():
            return b""
        with self.path.open("rb") as opened:
            return opened.read(size)


@dataclass(frozen=True)
class PackedStates:
    """Consecutive states of one schema as packed rows, with what their oids depend on.

    Attributes:
        rows: their rows, with the array of each row that has one.
        parents: the oids of the parents of the first state; none of a root. None if the first
            state continues the block before.
        origin: the oid of the spec of a root.
        last: the oid that the last state must have; None if a later block of the run says it.
        places: what the file says of each state beside its fields: ``step``, ``episode``,
            ``episode_step``, ``oid`` (None if unknown), as far as it has them.
    """

    rows: Rows
    parents: tuple[bytes, ...] | None
    origin: bytes = b""
    last: bytes | None = None
    places: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass
class SourceRun:
    """A run that a source has, and its states in order.

    Attributes:
        name: of the run, before any prefix; one that a run can have (``refs.names.usable_name``).
        blocks: its states, read once and in order: columns of coerced values (``state_columns``
            makes them of dicts), or packed states, whose oids are verified.
        parent: the name of a run that came before, and the step of its history after which this
            run begins; None for a run with a root of its own.
        spec: the spec of its root; it may name code, and is never trusted.
        config, seed, metadata: of its record.
        status: one of ``refs.records.STATUSES``.
        created, ended: in nanoseconds since 1970 (UTC); None if not known.
        attachments: what is attached to its states; read after them, so that a reader may collect
            it while it yields the states.
        tags: steps of its history by the names of tags.
        records: payloads of ``run`` objects, ancestors first, the last its own; then ``config``,
            ``seed`` and ``metadata`` are not used.
        specs: payloads of the specs that packed states name as their origins.
        tip: the oid that its newest state must have, where packed states have oids; None if any.
        branched_off: the name of the run that it was branched off, if that is not ``parent``'s.
        is_merged: True if it is there for a later run only, and gets no ref.
        after: the oid of a state in the repository that the states continue; None if none.
        restart: with ``after``: points of its series at this step or later are discarded.
        of_oids: attachments that are made of the oids of its own states, an array of n × 32 bytes,
            once these are stored; None if there are none.
    """

    name: str
    blocks: Iterable[Columns | PackedStates] = ()
    parent: tuple[str, int] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "completed"
    created: int | None = None
    ended: int | None = None
    attachments: Iterable[Attachment] = ()
    tags: Mapping[str, int] = field(default_factory=dict)
    records: Sequence[bytes] = ()
    specs: Sequence[bytes] = ()
    tip: bytes | None = None
    branched_off: str | None = None
    is_merged: bool = False
    after: bytes | None = None
    restart: int | None = None
    of_oids: Callable[[npt.NDArray[np.uint8]], Iterable[Attachment]] | None = None


@dataclass
class Contents:
    """The contents of a source, while they are read.

    Attributes:
        runs: its runs, parents first; each is read to its end before the next one.
        total: the number of states, if that is known before they are read.
        lossy: why these are not the runs that were exported, if they are not; None for files that
            no simgit wrote, whose states get their oids here.
        notes: what was guessed, left out or not imported, a line each; a reader may add some
            while its states are read.
        expected: oids of states that the repository must have, because the file continues them.
        later: what the source has later, again and again until Ctrl-C, if it is followed.
    """

    runs: Iterable[SourceRun]
    total: int | None = None
    lossy: str | None = None
    notes: list[str] = field(default_factory=list)
    expected: Sequence[bytes] = ()
    later: Generator[Contents, None, None] | None = None


class Format(Protocol):
    """One format: a module of this package offers one under the name ``FORMAT``.

    One that reads what others may read better says ``is_general = True``: it is probed after them.
    It may have ``in_place`` and ``lossy``, see ``write_export``.
    """

    name: str
    """The name after ``simgit export``, in lower case."""
    summary: str
    """A line for the help."""

    def probe(self, source: Source) -> bool:
        """Return True if a source is in this format; look at names and first bytes only."""

    def read(self, source: Source) -> Contents:
        """Return the contents of a source; most of it is read while they are iterated."""

    def write(self, export: Export, target: Path) -> None:
        """Write an export to a new file or directory; it is moved to its place afterwards."""


class ImportOnly:
    """The writing of formats that are only read."""

    name: str

    def write(self, export: Export, target: Path) -> None:
        """Refuse to write.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(f"format '{self.name}' can be imported only; export parquet or jsonl")


@cache
def formats() -> Mapping[str, Format]:
    """Return all formats by name; their heavy packages are imported when they are used."""
    package = __name__.rpartition(".")[0]
    modules = [
        import_module(f"{package}.{each.name}")
        for each in pkgutil.iter_modules(import_module(package).__path__)
        if each.name not in _NO_FORMATS
    ]
    found = [
        each
        for module in modules
        for each in getattr(module, "FORMATS", (getattr(module, "FORMAT", None),))
        if each is not None
    ]
    return {each.name: each for each in sorted(found, key=lambda each: str(each.name))}


def find_format(name: str, *, to_write: bool = False) -> Format:
    """Return a format by its name.

    Raises:
        NotFound: there is no such format; those named are of those that can be written, if asked.
    """
    known = formats()
    if name not in known:
        named = [
            key for key, each in known.items() if not (to_write and isinstance(each, ImportOnly))
        ]
        raise NotFound(f"unknown format '{name}'{near_or_known(name, named)}", name=name)
    return known[name]


def probe(source: Source) -> Format:
    """Return the format of a source.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is in none of the formats.
    """
    if "://" not in source.text and not _exists(source.path):
        raise NotFound(f"'{source.text}' not found", path=source.text)
    for each in sorted(formats().values(), key=_is_general):
        if each.probe(source):
            return each
    raise InvalidInput(
        f"'{source.shown}' is not a bundle, nor in another format that simgit reads "
        f"({', '.join(formats())}); its format can be named with '--format'",
        path=source.text,
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or one that is no text
        return False


def _is_general(each: Format) -> bool:
    return getattr(each, "is_general", False)


def state_columns(states: Iterable[Mapping[str, Any]], size: int = BLOCK) -> Iterator[Columns]:
    """Yield blocks of columns of states that are given as dicts of their top-level fields.

    Args:
        states: each with some of ``observation``, ``action``, ``reward``, ``terminated``,
            ``truncated``, ``info``, ``reset`` (True, or a dict of ``seed`` and ``options``) and
            ``message``; values may be of any kind that can be recorded. A state holds the action
            that led to it: a reset has none.
        size: the most states of a block; fewer if they are large.

    Raises:
        InvalidInput: a value cannot be recorded; the message names the state, counted from 0.
    """
    part: list[dict[str, Any]] = []
    held = 0
    for state in _numbered(states):
        part.append(state)
        held += _bytes_of(state)
        if len(part) == size or held > _BLOCK_BYTES:
            yield columns_of(part)
            part, held = [], 0
    if part:
        yield columns_of(part)


def columns_of(states: Sequence[Mapping[str, Any]]) -> Columns:
    """Return states, dicts of their fields, as columns."""
    names = dict.fromkeys(name for state in states for name in state)
    return {name: [state.get(name, ABSENT) for state in states] for name in names}


def _bytes_of(value: Any) -> int:
    """Return about how many bytes a value takes."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return getattr(value, "nbytes", 32)
    return sum(map(_bytes_of, value), 32)


def _numbered(states: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, state in enumerate(states):
        try:
            yield _coerced(state)
        except InvalidInput as error:
            raise InvalidInput(f"state {number}: {error}", state=number) from None


def _coerced(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the coerced fields of a state, those included that only simgit writes."""
    own = {name: coerce(state[name], name) for name in ("rewards", "forms") if name in state}
    rest = {name: value for name, value in state.items() if name not in own}
    return coerce_fields(**rest) | own if rest or not own else own
