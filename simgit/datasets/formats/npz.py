"""NumPy's ``.npz``: an array a field with a row a state, or d4rl's dict of transitions.

Layout ``states`` (default): ``observation`` (n, …), ``info/lives``, and beside a field that some
states do not have a mask, ``reward.present``. Layout ``d4rl``: row t of ``observations``,
``actions``, ``rewards``, ``terminals``, ``timeouts`` and ``next_observations`` is a transition.
A file is read without pickle, a piece of each array at a time.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import Contents, Source
from simgit.datasets.formats.episodes import episodes_of
from simgit.datasets.formats.foreign import OWN, given_names, source_runs
from simgit.datasets.formats.selection import ALIGNMENT, Export, check_options
from simgit.errors import IntegrityError, InvalidInput
from simgit.history.column_reader import make_plan
from simgit.history.leaf_column import LeafColumn
from simgit.history.planned_columns import array_forms, planned_columns
from simgit.objects.arrays import AnyArray
from simgit.objects.schema import Path as FieldPath
from simgit.objects.schema import Schema

_ROWS: Final = 16384
_MOST: Final = 16 << 30
_RATIO: Final = 1000
"""How many times its compressed bytes an array that is read may be, if it is large."""
_FREE: Final = 64 << 20
_MAX_HEADER: Final = 10_000
_MAX_EMPTY: Final = 1 << 20
"""The most rows of an array whose rows have no bytes."""
_PRESENT: Final = ".present"
_OBSERVATION: Final = re.compile(r"(observations?|obs|state)(/|$)")
_MAX_ARRAYS: Final = 4096
_BUDGET: Final = 16 << 20
TRANSITIONS: Final = (
    "row t is a transition: actions[t] was chosen from observations[t] and led to "
    "next_observations[t]; timeouts is also set where an episode breaks off"
)


class Npz:
    """The format ``numpy``."""

    name = "numpy"
    summary = "NumPy's .npz, or d4rl's dict of transitions (-o layout=d4rl)"
    is_general = True
    lossy = "NumPy's arrays have no types of Python"

    def probe(self, source: Source) -> bool:
        """Return True for a zip file whose name ends with ``.npz``."""
        return source.path.suffix == ".npz" and source.head(4) == b"PK\x03\x04"

    def write(self, export: Export, target: Path) -> None:
        """Write the arrays beside each other, then into one file."""
        check_options(
            export.options,
            ("layout", "compress"),
        )
        layout = export.options.get("layout", "states")
        if layout not in ("states", "d4rl"):
            raise InvalidInput(f"layout of NumPy must be 'states' or 'd4rl', got '{layout}'")
        with TemporaryDirectory(dir=target.parent) as folder:
            arrays = _Arrays(Path(folder))
            if layout == "d4rl":
                _put_transitions(export, arrays)
            else:
                _put_states(export, arrays)
            text = TRANSITIONS if layout == "d4rl" else ALIGNMENT
            arrays.put("alignment", np.array(text))
            kind = zipfile.ZIP_STORED if export.options.get("compress") == "false" else None
            with zipfile.ZipFile(
                target, "w", zipfile.ZIP_DEFLATED if kind is None else kind
            ) as out:
                arrays.pack(out)

    def read(self, source: Source) -> Contents:
        """Return the runs of a file; pickled arrays are refused."""
        source.check_options("names", "alignment")
        with _damage(f"'{source.text}' is not a zip file"):
            archive = zipfile.ZipFile(source.open())
        source.closing.callback(archive.close)
        contents = Contents(())
        members = _members(archive, source.text, contents.notes)
        names = given_names(source)
        if any(name.endswith(_PRESENT) for name in members):
            names = OWN
        elif len({member.shape[0] for member in members.values()}) > 1 and not names.alignment:
            names = replace(names, alignment="taken")
            contents.notes.append(
                "one observation more than actions: each action was taken in the observation of "
                "its row"
            )
        contents.runs = source_runs(_rows(members), source, names, contents.notes)
        return contents


# --- out -----------------------------------------------------------------------------------------


class _Arrays:
    """Arrays that grow row by row, each in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
        self.files: dict[str, Path] = {}  # opened for each write: there may be thousands

    def extend(self, name: str, data: AnyArray) -> None:
        """Add rows to an array.

        Raises:
            InvalidInput: they are of another dtype or shape than those before.
        """
        kind, shape, count = self.kinds.get(name, (data.dtype, data.shape[1:], 0))
        if (kind, shape) != (data.dtype, data.shape[1:]):
            raise InvalidInput(
                f"'{name}' has arrays of several dtypes or shapes, which NumPy cannot stack; "
                "parquet and jsonl take all values"
            )
        self.kinds[name] = kind, shape, count + len(data)
        self._append(name, data)

    def put(self, name: str, data: AnyArray) -> None:
        """Add a whole array."""
        self.kinds[name] = data.dtype, data.shape, -1
        self._append(name, data)

    def _append(self, name: str, data: AnyArray) -> None:
        path = self.files.setdefault(name, self.folder / str(len(self.files)))
        with path.open("ab") as file:
            file.write(data.tobytes())

    def pack(self, out: zipfile.ZipFile) -> None:
        """Write all arrays into a zip file.

        Raises:
            InvalidInput: an array has fewer rows than another.
        """
        counts = {name: kind[2] for name, kind in self.kinds.items() if kind[2] >= 0}
        if len(set(counts.values())) > 1:
            raise InvalidInput(
                f"'{min(counts, key=lambda name: counts[name])}' is not in every episode; parquet "
                "and jsonl take all values"
            )
        for name, path in self.files.items():
            dtype, shape, count = self.kinds[name]
            whole = shape if count < 0 else (count, *shape)
            with path.open("rb") as file, out.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False,
                          "shape": whole}  # fmt: skip
                np.lib.format.write_array_header_1_0(member, header)
                while piece := file.read(1 << 20):
                    member.write(piece)


def _put_states(export: Export, arrays: _Arrays) -> None:
    plans = _plans(export, export.schemas)
    names = [run.name for run in export.runs]
    width = f"<U{max(map(len, names))}"
    for states in export.ranges():
        size = export.at_once(_ROWS)
        for at in range(0, len(states), size):
            part = states[at : at + size]
            mask = None if export.predicate is None else export.predicate(part)
            chosen = slice(None) if mask is None else np.flatnonzero(mask)
            arrays.extend("run", np.full(len(part), part.name, width)[chosen])
            arrays.extend("step", part.steps[chosen])
            arrays.extend("episode", part.episode_ids[chosen])
            for path, plan in plans.items():
                leaf = planned_columns(part, {path: plan})[path]
                _put_column(arrays, "/".join(path), leaf, chosen, plan)
            export.tell(len(part), len(part) if mask is None else int(mask.sum()))


def _plans(export: Export, schemas: list[Schema]) -> Mapping[FieldPath, Any]:
    """Return the plans of the leaves that are numbers or arrays; the others are left out."""
    found: dict[FieldPath, Any] = {}
    left = []
    for name in sorted({path[0] for schema in schemas for path, _ in schema.fields}):
        for leaf in make_plan(schemas, (name,)).leaves():
            path = tuple(map(str, leaf.path))
            forms: set[Any] = set()
            if leaf.kind == "array":
                for states in export.ranges():
                    forms |= array_forms(states, path)
                if len(forms) == 1:
                    ((leaf.dtype, leaf.shape),) = forms
            if leaf.kind == "dense" or len(forms) == 1:
                found[path] = leaf
            elif leaf.variable or forms:
                left.append(".".join(path))
    if left:
        export.notes.append(f"left out, as NumPy has no array for them: {', '.join(left)}")
    return found


def _put_column(arrays: _Arrays, name: str, leaf: LeafColumn, chosen: Any, plan: Any) -> None:
    values, present = leaf.values, leaf.present
    if not isinstance(values, np.ndarray):
        values, present = np.zeros((len(leaf), *plan.shape), plan.dtype), np.zeros(len(leaf), bool)
    arrays.extend(name, values.astype(plan.dtype, copy=False)[chosen])
    arrays.extend(f"{name}.present", present[chosen])


def _put_transitions(export: Export, arrays: _Arrays) -> None:
    rest: set[str] = set()
    for episode in episodes_of(export):
        rest.update(name for state in episode.rest for name, value in state.items() if value)
        if not len(episode.reward):
            continue
        _extend_nested(arrays, "observations", episode.observation, slice(None, -1))
        _extend_nested(arrays, "actions", episode.action, slice(None))
        arrays.extend("rewards", episode.reward)
        arrays.extend("terminals", episode.terminated)
        timeouts = episode.truncated.copy()
        timeouts[-1] |= not episode.terminated[-1]
        arrays.extend("timeouts", timeouts)
        _extend_nested(arrays, "next_observations", episode.observation, slice(1, None))
    if rest:
        export.notes.append(f"left out, as d4rl has no place for them: {', '.join(sorted(rest))}")


def _extend_nested(arrays: _Arrays, name: str, data: Any, cut: slice) -> None:
    if isinstance(data, (dict, tuple)):
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for key, each in pairs:
            _extend_nested(arrays, f"{name}/{key}", each, cut)
    elif isinstance(data, np.ndarray):
        arrays.extend(name, data[cut])
    else:
        raise InvalidInput(f"'{name}' are not numbers; parquet and jsonl take all values")


# --- in ------------------------------------------------------------------------------------------


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Raise the errors of zip files and of NumPy's headers as simgit's."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError,
        NotImplementedError, RecursionError, MemoryError, SyntaxError,
    ) as error:  # fmt: skip
        raise IntegrityError(f"{what}: {error or type(error).__name__}") from None


class _Member:
    """An array in a zip file, read row by row."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
        self.name = name
        if info.flag_bits & 1 or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise IntegrityError(f"array '{name}' is encrypted or compressed in an unknown way")
        if info.file_size > max(_FREE, _RATIO * info.compress_size) or info.file_size > _MOST:
            raise IntegrityError(f"array '{name}' is too large for its bytes")
        with _damage(f"array '{name}' is malformed"):
            self.file = archive.open(info)
            version = np.lib.format.read_magic(self.file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            self.shape, fortran, self.dtype = read(self.file, max_header_size=_MAX_HEADER)
        if self.dtype.hasobject or self.dtype.names:
            raise IntegrityError(f"array '{name}' holds pickled objects or records: refused")
        self.row = int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize
        self.left = self.shape[0] if self.shape else 0
        if fortran and len(self.shape) > 1:
            raise IntegrityError(f"array '{name}' is in Fortran order, which cannot be streamed")
        most = info.file_size // self.row if self.row else _MAX_EMPTY
        if min(self.shape, default=0) < 0 or (self.shape and self.shape[0] > most):
            raise IntegrityError(f"array '{name}' claims more rows than it has bytes")

    def take(self, count: int) -> AnyArray:
        """Return the next rows, fewer at the end."""
        count = min(count, self.left)
        self.left -= count
        with _damage(f"array '{self.name}' is damaged"):
            data = self.file.read(count * self.row)
            if len(data) == count * self.row:
                return np.ndarray((count, *self.shape[1:]), self.dtype, data)
        raise IntegrityError(f"array '{self.name}' was truncated")


def _members(archive: zipfile.ZipFile, name: str, notes: list[str]) -> dict[str, _Member]:
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(infos) > _MAX_ARRAYS or len({info.filename for info in infos}) < len(infos):
        raise IntegrityError(f"'{name}' has too many arrays, or two of one name")
    found, rest = {}, []
    for info in infos:
        member = _Member(archive, info, info.filename.removesuffix(".npy"))
        if member.shape:
            found[member.name] = member
        elif member.name != "alignment":
            rest.append(member.name)
    lengths = [member.shape[0] for member in found.values()]
    if not found:
        raise IntegrityError(f"'{name}' has no arrays")
    for each, member in found.items():
        own = found.get(each.removesuffix(_PRESENT))
        if each.endswith(_PRESENT) and (
            own is None or member.dtype != bool or member.shape != own.shape[:1]
        ):
            raise IntegrityError(f"array '{each}' is malformed: it must be a mask of another one")
    # what has another length than most belongs to no row; an episode has an observation more
    usual = max(sorted(set(lengths)), key=lengths.count)
    rest += [
        each for each, member in found.items()
        if member.shape[0] != usual
        and not (member.shape[0] == usual + 1 and _OBSERVATION.match(each))
    ]  # fmt: skip
    if rest:
        notes.append(f"left out, as most arrays have {usual} rows: {', '.join(sorted(rest))}")
    return {each: member for each, member in found.items() if each not in rest}


def _rows(members: Mapping[str, _Member]) -> Iterator[dict[str, Any]]:
    count = max(member.shape[0] for member in members.values())
    width = sum(member.row for member in members.values())
    size = max(1, min(_ROWS, _BUDGET // max(1, width)))
    for at in range(0, count, size):
        here = {each: member.take(size) for each, member in members.items()}
        masks = {n.removesuffix(_PRESENT): here.pop(n) for n in list(here) if n.endswith(_PRESENT)}
        for i in range(min(size, count - at)):
            row = {n.replace("/", "."): values[i] for n, values in here.items()
                   if i < len(values) and (n not in masks or masks[n][i])}  # fmt: skip
            yield {n: str(v) if isinstance(v, np.str_) else v for n, v in row.items()}


FORMAT: Final = Npz()
