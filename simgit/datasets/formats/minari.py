"""Minari's data sets (0.5), in HDF5 or Arrow: episodes of T + 1 observations and T actions.

HDF5 is written by h5py; for Arrow, which has a directory for each episode, Minari writes itself.
Images are never made JPEG. A file ``simgit.jsonl`` beside the data has what has no place in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import Contents, Source, SourceRun, state_columns
from simgit.datasets.formats.episodes import (
    REST,
    EpisodeArrays,
    EpisodeRows,
    OwnStates,
    RestReader,
    RestWriter,
    at_row,
    episodes_of,
    of_length,
    own_arrays,
)
from simgit.datasets.formats.hdf5 import Hdf5Reader, write_nested, write_number
from simgit.datasets.formats.manifest import exact_contents
from simgit.datasets.formats.selection import ALIGNMENT, Export, check_options
from simgit.datasets.formats.spaces import minari_space, space_text
from simgit.datasets.packages import needed
from simgit.errors import IntegrityError, InvalidInput
from simgit.refs.names import usable_name

_VERSION: Final = "0.5.0"
_MAIN: Final = "main_data.hdf5"
_METADATA: Final = "metadata.json"
_MANY: Final = 10_000
"""Episodes beyond which a directory for each is slow."""
_MAX_METADATA: Final = 64 << 20
_KEYS: Final = {
    "reward": "rewards", "terminated": "terminations", "truncated": "truncations",
}  # fmt: skip
_COUNTS: Final = ("seed", "total_steps")
Arrays = dict[str, Any]


class Minari:
    """The format ``minari``."""

    name = "minari"
    summary = "Minari's data sets, HDF5 or Arrow, exact"

    def probe(self, source: Source) -> bool:
        """Return True for a directory with Minari's metadata."""
        return _data_of(source.path) is not None

    def write(self, export: Export, target: Path) -> None:
        """Write a data set: ``target/data`` has the files."""
        check_options(export.options, ("format", "id"))
        kind = export.options.get("format", "hdf5")
        if kind not in ("hdf5", "arrow"):
            raise InvalidInput(f"format of Minari must be 'hdf5' or 'arrow', got '{kind}'")
        folder = target / "data"
        folder.mkdir(parents=True)
        rest = RestWriter(folder, export)
        writer = _Hdf5(folder, export) if kind == "hdf5" else _Arrow(folder, export)
        try:
            for episode in episodes_of(export):
                writer.add(episode)
                rest.add(episode)
        finally:
            rest.close()
            writer.close()
        name = export.options.get("id", f"{usable_name(target.name)}-v0")
        writer.describe({
            "dataset_id": name, "minari_version": _VERSION, "author": ["simgit"],
            "algorithm_name": ", ".join(run.name for run in export.runs)[:1000],
            "description": f"Exported by simgit. In Minari's form: {EPISODES}. {ALIGNMENT}",
        })  # fmt: skip
        if kind == "arrow" and writer.episodes > _MANY:
            export.notes.append(
                f"{writer.episodes} episodes are as many directories; hdf5 has one file"
            )

    def read(self, source: Source) -> Contents:
        """Return the runs of a data set."""
        source.check_options()
        folder = _data_of(source.path)
        if folder is None:
            raise IntegrityError(f"'{source.text}' has no metadata of Minari")
        metadata = _metadata(folder)
        reader = _reader(source, folder, metadata)
        rest = folder / REST
        if rest.exists() and not source.as_new:
            opened = RestReader(source.open(rest))
            if opened.manifest.lossy is None:
                rows = EpisodeRows(_with_arrays(opened.episodes(), reader.episodes()))
                return exact_contents(opened.manifest, rows.read, rows.finish)
        name = str(metadata.get("dataset_id") or source.path.name)
        contents = Contents((), notes=reader.notes)
        run = SourceRun(usable_name(name), metadata={"minari": _plain_metadata(metadata)})
        run.blocks = state_columns(_states(reader.episodes(), contents.notes))
        contents.runs = [run]
        return contents


EPISODES: Final = "actions[t] was chosen from observations[t] and led to observations[t + 1]"


def _data_of(path: Path) -> Path | None:
    for folder in (path, path / "data"):
        found = folder / _METADATA
        if found.is_file() and not found.is_symlink() and found.stat().st_size <= _MAX_METADATA:
            with found.open("rb") as opened:
                text = opened.read()
            if b'"data_format"' in text or b'"minari_version"' in text:
                return folder
    return None


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _METADATA).read_bytes())
        if not isinstance(found, dict) or type(found.get("total_episodes")) is not int:
            raise ValueError("it has no number of episodes")
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"malformed metadata of Minari: {error}") from None
    return found


def _plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a data set, without its spaces."""
    return {
        key: value for key, value in metadata.items()
        if isinstance(value, (str, int, float, list)) and not key.endswith("_space")
    }  # fmt: skip


# --- out -----------------------------------------------------------------------------------------


class _Writer:
    """A writer of one kind of data set."""

    def __init__(self, folder: Path, export: Export) -> None:
        self.folder = folder
        self.spec = export.spec(export.runs[0])
        self.spaces: dict[str, Any] = {}
        self.forms: dict[str, Any] = {}
        self.episodes = 0
        self.steps = 0

    def add(self, episode: EpisodeArrays) -> None:
        """Write an episode.

        Raises:
            InvalidInput: its observations or actions are of another shape than those before.
        """
        for name in ("observation", "action"):
            data = _filled(getattr(episode, name))
            is_known = name in self.forms
            if name == "observation" or len(episode.reward):  # else there is no action
                form = _form(data)
                if self.forms.setdefault(name, form) != form:
                    raise InvalidInput(
                        f"'{name}' has arrays of several dtypes or shapes, for which Minari has no "
                        "space; parquet and jsonl take all values"
                    )
            if not is_known:
                self.spaces[name] = minari_space(self.spec.get(f"{name}_space"), data)
            self.spaces[name] = _with_texts(self.spaces[name], data)
        self.put(episode)
        self.episodes += 1
        self.steps += len(episode.reward)

    def put(self, episode: EpisodeArrays) -> None:
        """Write the arrays of an episode."""
        raise NotImplementedError

    def close(self) -> None:
        """End the files."""

    def describe(self, metadata: dict[str, Any]) -> None:
        """Write the metadata of the data set."""
        size = sum(each.stat().st_size for each in self.folder.rglob("*") if each.is_file())
        found = {
            "total_episodes": self.episodes, "total_steps": self.steps, "jpeg_encoding": False,
            "data_format": self.kind, "dataset_size": round(size / 1e6, 1),
            "observation_space": space_text(self.spaces["observation"]),
            "action_space": space_text(self.spaces["action"]),
        }  # fmt: skip
        (self.folder / _METADATA).write_text(json.dumps(found | metadata))

    kind = ""


def _filled(data: Any) -> Any:
    return np.zeros((0,), np.float32) if data is None else data


def _form(data: Any) -> Any:
    """Return the dtypes and shapes of a step's values, nested as they are."""
    if isinstance(data, dict):
        return {name: _form(each) for name, each in data.items()}
    if isinstance(data, tuple):
        return tuple(map(_form, data))
    return str if isinstance(data, list) else (data.dtype, data.shape[1:])


def _with_texts(space: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return a space whose texts may be those of further episodes, too."""
    below = space.get("subspaces")
    if isinstance(data, dict) and isinstance(below, dict):
        found = {n: _with_texts(below[n], each) for n, each in data.items() if n in below}
        return space | {"subspaces": found}
    if isinstance(data, tuple) and isinstance(below, list):
        return space | {"subspaces": [*map(_with_texts, below, data)]}
    if space["type"] != "Text" or not isinstance(data, list):
        return space
    letters = sorted(set(space["charset"]).union(*data))
    lengths = [space["min_length"], space["max_length"], *map(len, data)]
    return space | {
        "min_length": min(lengths), "max_length": max(lengths), "charset": "".join(letters),
    }  # fmt: skip


class _Hdf5(_Writer):
    kind = "hdf5"

    def __init__(self, folder: Path, export: Export) -> None:
        super().__init__(folder, export)
        self.file = needed("h5py", "Minari").File(folder / _MAIN, "w", track_order=True)

    def put(self, episode: EpisodeArrays) -> None:
        group = self.file.create_group(f"episode_{self.episodes}")
        write_number(group, "id", self.episodes)
        write_number(group, "total_steps", len(episode.reward))
        if episode.seed is not None and -(1 << 63) <= episode.seed < 1 << 63:
            write_number(group, "seed", episode.seed)
        for name, data in _named(episode).items():
            write_nested(group, name, data)

    def close(self) -> None:
        self.file.close()


class _Arrow(_Writer):
    kind = "arrow"
    _storage: Any = None

    def put(self, episode: EpisodeArrays) -> None:
        if self._storage is None:
            spaces = needed("minari.serialization", "Minari in Arrow")
            storage = needed("minari.dataset.minari_storage", "Minari in Arrow").MinariStorage
            self._buffer = needed("minari.data_collector", "Minari in Arrow").EpisodeBuffer
            self._storage = storage.new(
                self.folder,
                *(spaces.deserialize_space(space_text(s)) for s in self.spaces.values()),
                data_format="arrow", jpeg_encoding=False,
            )  # fmt: skip
        found = _named(episode)
        buffer = self._buffer(id=None, seed=episode.seed, infos=None, **found)
        self._storage.update_episodes([buffer])


def _named(episode: EpisodeArrays) -> Arrays:
    """Return the arrays of an episode by Minari's names."""
    if episode.observation is None:
        raise InvalidInput("Minari needs observations; parquet and jsonl take all states")
    count = len(episode.reward)
    action = np.zeros(count) if episode.action is None else episode.action
    return {
        "observations": episode.observation, "actions": action, "rewards": episode.reward,
        "terminations": episode.terminated, "truncations": episode.truncated,
    }  # fmt: skip


# --- in ------------------------------------------------------------------------------------------


class _Reader:
    """A reader of the episodes of a data set."""

    def __init__(self, source: Source, folder: Path, metadata: Mapping[str, Any]) -> None:
        self.source = source
        self.folder = source.inside(folder)
        self.count = metadata["total_episodes"]
        self.spaces: dict[str, Any] = {}
        self.notes: list[str] = []
        for name in ("observation", "action"):
            try:
                self.spaces[name] = json.loads(metadata.get(f"{name}_space") or "{}")
            except (ValueError, TypeError, RecursionError):
                raise IntegrityError("malformed metadata of Minari: a space") from None

    def episodes(self) -> Iterator[Arrays]:
        """Yield the arrays of each episode by Minari's names, and its ``seed`` if it has one."""
        raise NotImplementedError


class _Hdf5Episodes(_Reader):
    def __init__(self, source: Source, folder: Path, metadata: Mapping[str, Any]) -> None:
        super().__init__(source, folder, metadata)
        self.jpeg = bool(metadata.get("jpeg_encoding", True))

    def episodes(self) -> Iterator[Arrays]:
        with Hdf5Reader(self.folder / _MAIN) as file:
            there = sum(name.startswith("episode_") for name in file.names())
            if there != self.count:
                raise IntegrityError(
                    f"Minari's metadata say {self.count} episodes, the file has {there}"
                )
            for number in range(self.count):
                group = file.group(f"episode_{number}")
                found = {name: file.read(group, name) for name in file.names(group)}
                found |= {name: file.number(group, name) for name in _COUNTS}
                if any(name.startswith("options") for name in file.names(group.attrs)):
                    found["options"] = None
                for name in ("observation", "action"):
                    found[f"{name}s"] = self._images(found.get(f"{name}s"), self.spaces[name])
                yield found

    def _images(self, data: Any, space: Any) -> Any:
        """Return data with pictures that were stored as JPEG decoded."""
        if isinstance(data, dict):
            below = space.get("subspaces", {}) if isinstance(space, dict) else {}
            named = (
                below
                if isinstance(below, dict)
                else {f"_index_{i}": s for i, s in enumerate(below)}
            )
            found = {name: self._images(each, named.get(name, {})) for name, each in data.items()}
            indices = [f"_index_{i}" for i in range(len(found))]
            is_tuple = bool(found) and set(found) == set(indices)
            return tuple(found[i] for i in indices) if is_tuple else found
        if not self.jpeg or not isinstance(space, dict) or space.get("dtype") != "uint8":
            return data
        shape = space.get("shape")
        if not (isinstance(data, list) or getattr(data, "ndim", 0) == 2):
            return data
        if not isinstance(shape, list) or len(shape) < 2:
            return data
        image = needed("PIL.Image", "JPEG in Minari")
        import io

        note = "pictures are decoded from JPEG: they differ from what the environment returned"
        if note not in self.notes:
            self.notes.append(note)
        try:
            pictures = (
                image.open(io.BytesIO(bytes(each)), formats=["JPEG"]) for each in data
            )  # no other: some start programs
            return np.stack([_pixels(each, shape) for each in pictures])
        except (OSError, ValueError, TypeError, SyntaxError, image.DecompressionBombError) as error:
            raise IntegrityError(f"malformed picture in Minari's data: {error}") from None


def _pixels(picture: Any, shape: Sequence[int]) -> Any:
    """Return the pixels of a picture, whose size is compared before it is decoded."""
    if [picture.height, picture.width] != [*shape[:2]]:
        raise ValueError(
            f"it has {picture.width} × {picture.height} pixels, not those of the space"
        )
    return np.asarray(picture)


class _ArrowEpisodes(_Reader):
    def episodes(self) -> Iterator[Arrays]:
        tables = needed("simgit.datasets.formats.arrow_tables", "Minari in Arrow")
        for number in range(self.count):
            folder = self.folder / str(number)
            files = sorted(
                self.source.inside(each) for each in folder.glob("*.arrow") if each.is_file()
            )
            if len(files) != 1:
                raise IntegrityError(f"malformed data of Minari: no file of episode {number}")
            columns = tables.whole_table(self.source, files[0])
            found: Arrays = {}
            for name in columns.keys() & {"observations", "actions", *_KEYS.values()}:
                space = self.spaces.get(name.removesuffix("s"), {"type": "Discrete"})
                data = tables.of_space(columns[name], space)
                found[name] = data if name == "observations" else _shorter(data)
            if "infos" in columns:
                found["infos"] = _infos(tables, columns["infos"])
            metadata = _metadata_of(folder)
            for name in _COUNTS:
                found[name] = metadata[name] if type(metadata.get(name)) is int else None
            found |= {name: None for name in ("options",) if name in metadata}
            yield found


def _infos(tables: Any, column: Any) -> Any:
    """Return the infos of an episode, in which arrays have their shape as metadata of a field."""
    if not hasattr(column, "field"):
        raise IntegrityError("malformed data of Minari: infos must be structs")
    found: dict[str, Any] = {}
    for field in column.type:
        inner, shape = column.field(field.name), (field.metadata or {}).get(b"shape")
        if isinstance(field.type, type(column.type)):
            found[field.name] = _infos(tables, inner)
        elif shape is None:
            found[field.name] = inner.to_pylist()
        else:
            sizes = [int(size) for size in shape.decode().split(",") if size.isdecimal()]
            found[field.name] = tables.of_space(inner, {"type": "Box", "shape": sizes})
    return found


def _metadata_of(folder: Path) -> dict[str, Any]:
    path = folder / _METADATA
    if not path.is_file() or path.is_symlink() or path.stat().st_size > _MAX_METADATA:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shorter(data: Any) -> Any:
    """Return all but the last entry, which only fills the row of the last observation."""
    if isinstance(data, dict):
        return {name: _shorter(each) for name, each in data.items()}
    if isinstance(data, tuple):
        return tuple(_shorter(each) for each in data)
    return data[:-1]


def _reader(source: Source, folder: Path, metadata: Mapping[str, Any]) -> _Reader:
    kind = metadata.get("data_format", "hdf5")
    if kind == "hdf5":
        return _Hdf5Episodes(source, folder, metadata)
    if kind == "arrow":
        return _ArrowEpisodes(source, folder, metadata)
    raise InvalidInput(f"unknown data format '{kind}' of Minari")


def _with_arrays(
    rest: Iterator[OwnStates], episodes: Iterator[Arrays]
) -> Iterator[tuple[OwnStates, Mapping[str, Any]]]:
    for own in rest:
        found = next(episodes, None)
        if found is None:
            raise IntegrityError("the data have fewer episodes than they should: they were edited")
        more = {name: found.get(theirs) for name, theirs in _KEYS.items()}
        yield own, own_arrays(own, found.get("observations"), found.get("actions"), more)
    if next(episodes, None) is not None:
        raise IntegrityError("the data have more episodes than they should: they were edited")


def _states(episodes: Iterator[Arrays], notes: list[str]) -> Iterator[dict[str, Any]]:
    for number, found in enumerate(episodes):
        try:
            numbers = {name: _numbers(found.get(theirs)) for name, theirs in _KEYS.items()}
            count = len(numbers["reward"]) if found["total_steps"] is None else found["total_steps"]
            infos = found.get("infos")
            each = {"observation": of_length(found.get("observations"), count + 1)}
            each["info"] = of_length(infos, count + 1) if isinstance(infos, dict) else None
            moved = {"action": of_length(found.get("actions"), count)}
            moved |= {name: of_length(data, count) for name, data in numbers.items()}
        except IntegrityError as error:
            raise IntegrityError(f"episode {number} of Minari's data: {error}") from None
        known = {"observations", "actions", "infos", *_KEYS.values(), *_COUNTS}
        known -= set() if isinstance(infos, dict) or infos is None else {"infos"}
        for name in sorted(found.keys() - known):
            if (note := f"'{name}' of Minari's episodes is left out") not in notes:
                notes.append(note)
        seed = found["seed"]
        for t in range(count + 1):
            state = {name: at_row(data, t) for name, data in each.items()}
            if t == 0:
                state["reset"] = True if seed is None else {"seed": seed}
            else:
                state |= {name: at_row(data, t - 1) for name, data in moved.items()}
            yield {name: value for name, value in state.items() if value is not None}


def _numbers(data: Any) -> list[Any]:
    """Return rewards or flags as numbers of Python."""
    if not isinstance(data, np.ndarray) or data.ndim != 1 or data.dtype.kind not in "biuf":
        raise IntegrityError("rewards and flags must be arrays of numbers with one axis")
    found: list[Any] = data.tolist()
    return found


FORMAT: Final = Minari()
