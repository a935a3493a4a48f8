"""LeRobot's data sets, version 3.0: frames in Parquet, pictures as PNG in it, and no video.

A frame is a transition: its action was chosen from its observation, ``next.reward`` and
``next.done`` are what the action led to. The last observation of an episode is in no frame; it is
in ``simgit.jsonl``, with what else has no place in the format. lerobot itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    own_arrays,
)
from simgit.datasets.formats.manifest import exact_contents
from simgit.datasets.formats.selection import Export, check_options
from simgit.datasets.packages import needed
from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.arrays import AnyArray
from simgit.objects.json_form import value_to_json
from simgit.refs.names import usable_name

_VERSION: Final = "v3.0"
_INFO: Final = "meta/info.json"
_MAX_INFO: Final = 16 << 20
_FILES: Final = 1000
"""Files in a chunk."""
_MB: Final = 100
"""The most megabytes of a file."""
_DEFAULT: Final = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_EDITED: Final = ": it was edited; --as-new imports it as a new run"
_NEXT: Final = {
    "reward": "next.reward", "terminated": "next.terminated", "truncated": "next.truncated",
}  # fmt: skip
FRAMES: Final = (
    "a frame's action was chosen from its observation; next.reward, next.done, next.terminated and "
    "next.truncated are what the action led to"
)


class LeRobot:
    """The format ``lerobot``."""

    name = "lerobot"
    summary = "LeRobot's data sets 3.0: frames in Parquet, pictures as PNG, exact"

    def probe(self, source: Source) -> bool:
        """Return True for a directory with LeRobot's description."""
        path = source.path / _INFO
        if not path.is_file() or path.is_symlink() or path.stat().st_size > _MAX_INFO:
            return False
        return b'"codebase_version"' in path.read_bytes()

    def write(self, export: Export, target: Path) -> None:
        """Write a data set."""
        check_options(
            export.options,
            (
                "fps",
                "task",
                "robot",
            ),
        )
        frames = needed("simgit.datasets.formats.lerobot_frames", "LeRobot")
        fps = _fps(export)
        task = export.options.get("task", ", ".join(run.name for run in export.runs)[:1000])
        target.mkdir()
        rest = RestWriter(target, export)
        writer = frames.FrameWriter(target, fps, _MB << 20, _FILES)
        structure: dict[str, Any] = {}
        try:
            for episode in episodes_of(export):
                arrays = _arrays(episode, structure)
                writer.add(arrays)
                final = at_row(episode.observation, len(episode.reward))
                rest.add(episode, {"final": value_to_json(final)})
        finally:
            rest.close()
            writer.close()
        if not writer.frames:
            raise InvalidInput("LeRobot needs at least one action; these states have none")
        writer.describe(task)
        info = {
            "codebase_version": _VERSION, "robot_type": export.options.get("robot"),
            "total_episodes": writer.episodes, "total_frames": writer.frames, "total_tasks": 1,
            "chunks_size": _FILES, "data_files_size_in_mb": _MB, "video_files_size_in_mb": 200,
            "fps": fps, "splits": {"train": f"0:{writer.episodes}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None, "features": writer.features(), "alignment": FRAMES,
            "simgit": structure,
        }  # fmt: skip
        (target / _INFO).write_text(json.dumps(info, indent=4))
        if "fps" not in export.options:
            export.notes.append(
                f"timestamps are for {fps} frames a second; -o fps=N says otherwise"
            )

    def read(self, source: Source) -> Contents:
        """Return the runs of a data set."""
        source.check_options()
        info = _info(source)
        frames = needed("simgit.datasets.formats.lerobot_frames", "LeRobot")
        rest = source.path / REST
        if rest.exists() and not source.as_new:
            opened = RestReader(source.open(rest))
            if opened.manifest.lossy is None:
                reader = frames.FrameReader(source, info["features"])
                structure = info.get("simgit")
                if not isinstance(structure, dict):
                    raise IntegrityError("malformed description of LeRobot: it lacks 'simgit'")
                rows = EpisodeRows(_exact(opened.episodes(), reader, structure))
                return exact_contents(opened.manifest, rows.read, rows.finish)
        run = SourceRun(usable_name(source.path.name), metadata={"lerobot": str(info.get("fps"))})
        contents = Contents([run], notes=["the last observation of an episode is in no frame"])
        videos = [name for name, each in info["features"].items() if each.get("dtype") == "video"]
        if videos:
            contents.notes.append(f"videos left out, which are not read: {', '.join(videos)}")
        run.blocks = state_columns(_states(frames.FrameReader(source, info["features"])))
        return contents


def _fps(export: Export) -> int:
    text = export.options.get("fps", "30")
    if not text.isdigit() or not 0 < int(text) <= 10_000:
        raise InvalidInput(f"fps must be an integer from 1 to 10000, got '{text}'")
    return int(text)


def _info(source: Source) -> dict[str, Any]:
    try:
        with source.open(source.path / _INFO) as opened:
            found = json.loads(opened.read(_MAX_INFO))
        if not str(found["codebase_version"]).startswith("v3"):
            raise InvalidInput(
                f"LeRobot's version '{found['codebase_version']}' cannot be read: it must be v3.0"
            )
        features = found["features"]
        for each in features.values():
            shape = each["shape"]
            if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
                raise ValueError("a feature has no shape")
    except InvalidInput:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"malformed description of LeRobot: {error}") from None
    return dict(found)


# --- out -----------------------------------------------------------------------------------------


def _arrays(episode: EpisodeArrays, structure: dict[str, Any]) -> dict[str, AnyArray]:
    """Return the frames of an episode by the names of features, and note their structure."""
    found: dict[str, AnyArray] = {}
    count = len(episode.reward)
    for name, data in (("observation", episode.observation), ("action", episode.action)):
        if data is None:
            if count:
                raise InvalidInput(f"LeRobot needs an {name} in every step")
            continue
        tree = _spread(found, name, data, count, name)
        if structure.setdefault(name, tree) != tree and count:
            raise InvalidInput(f"the {name}s of several episodes differ in their entries")
    found |= {theirs: np.asarray(getattr(episode, name)) for name, theirs in _NEXT.items()}
    found["next.done"] = episode.terminated | episode.truncated
    return found


def _spread(found: dict[str, AnyArray], path: str, data: Any, count: int, top: str) -> Any:
    """Put the arrays of a field under names of features; return its structure."""
    if isinstance(data, dict):
        return {k: _spread(found, f"{path}.{k}", each, count, top) for k, each in data.items()}
    if isinstance(data, tuple):
        return [_spread(found, f"{path}.{i}", each, count, top) for i, each in enumerate(data)]
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "biuf" or "/" in path:
        raise InvalidInput(f"'{path}' is not of numbers; parquet and jsonl take all values")
    if 0 in data.shape[1:]:
        raise InvalidInput(f"'{path}' has no elements; parquet and jsonl take all values")
    if path == "observation":
        path = "observation.image" if is_picture(data) else "observation.state"
    found[path] = data[:count]
    return path


def is_picture(data: AnyArray) -> bool:
    """Return True for arrays that are stored as pictures."""
    return (
        data.dtype == np.uint8 and data.ndim == 4 and data.shape[3] in (1, 3) and data[:1].size > 64
    )


# --- in ------------------------------------------------------------------------------------------


def _exact(
    rest: Iterator[OwnStates], reader: Any, structure: Mapping[str, Any]
) -> Iterator[tuple[OwnStates, Mapping[str, Any]]]:
    index = episode = 0
    known = {*_NEXT.values(), "next.done", *_DEFAULT, *_leaves(structure)}
    for own in rest:
        count = own.states if own.borrowed else own.states - 1
        frames = reader.take(count)
        numbers = {
            "frame_index": range(count), "index": range(index, index + count),
            "episode_index": [episode] * count, "task_index": [0] * count,
        }  # fmt: skip
        if count and not frames.keys() <= known:
            raise IntegrityError(f"column '{min(frames.keys() - known)}' was added{_EDITED}")
        for name, wanted in numbers.items():
            if count and not np.array_equal(frames.get(name, ()), wanted):
                raise IntegrityError(f"'{name}' of episode {episode} has another number{_EDITED}")
        index, episode = index + count, episode + (count > 0)
        observation = _joined(_built(structure.get("observation"), frames, count), own.final)
        action = _built(structure.get("action"), frames, count) if count else None
        more = {name: frames.get(theirs) for name, theirs in _NEXT.items()} if count else {}
        done = frames.get("next.done")
        flags = [np.asarray(more.get(name), bool) for name in ("terminated", "truncated")]
        if count and not np.array_equal(done, flags[0] | flags[1]):
            raise IntegrityError(f"'next.done' differs from the other flags{_EDITED}")
        yield own, own_arrays(own, observation, action, more)
    reader.finish()


def _leaves(tree: Any) -> Iterator[str]:
    """Yield the names of features that a structure has."""
    if isinstance(tree, (dict, list)):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(each)
    elif tree is not None:
        yield str(tree)


def _built(tree: Any, frames: Mapping[str, Any], count: int) -> Any:
    """Return the arrays of a field, nested as its structure says."""
    if isinstance(tree, dict):
        return {str(name): _built(each, frames, count) for name, each in tree.items()}
    if isinstance(tree, list):
        return tuple(_built(each, frames, count) for each in tree)
    if tree is None or not count:
        return None
    if not isinstance(tree, str) or tree not in frames:
        raise IntegrityError(f"the frames lack '{tree}', which their description names")
    return frames[tree]


def _joined(data: Any, final: Any) -> Any:
    """Return observations with the last one behind them."""
    if isinstance(data, dict):
        if not isinstance(final, dict):
            raise IntegrityError("the last observation of an episode is missing")
        return {name: _joined(each, final.get(name)) for name, each in data.items()}
    if isinstance(data, tuple):
        if not isinstance(final, tuple) or len(final) != len(data):
            raise IntegrityError("the last observation of an episode is missing")
        return tuple(_joined(*pair) for pair in zip(data, final, strict=True))
    if final is None:
        return data
    last = np.asarray(final)
    if data is None:
        return last[None]
    if data.shape[1:] == () and last.shape == (1,):  # LeRobot has one shape for both
        data = data.reshape(-1, 1)
    if data.shape[1:] != last.shape:
        raise IntegrityError("the last observation of an episode has another shape")
    return np.concatenate([data, last[None].astype(data.dtype)])


def _states(reader: Any) -> Iterator[dict[str, Any]]:
    """Yield states of frames: each action belongs to the state after it."""
    episode: Any = None
    held: dict[str, Any] | None = None
    for frame in reader.rows():
        observation = _part(frame, "observation")
        here = {"observation": observation} if observation is not None else {}
        rest = {name: each for name, each in frame.items() if not _is_known(name)}
        if rest:
            here["info"] = rest
        begins = frame.get("episode_index") != episode
        if held is not None:
            yield held if begins else held | here
        if begins:
            yield here | {"reset": True}
        episode = frame.get("episode_index")
        done = bool(frame.get("next.done", False))
        held = {
            "action": _part(frame, "action"), "reward": float(frame.get("next.reward", 0.0)),
            "terminated": bool(frame.get("next.terminated", done)),
            "truncated": bool(frame.get("next.truncated", False)),
        }  # fmt: skip
        held = {name: value for name, value in held.items() if value is not None}
    if held is not None:
        yield held


def _is_known(name: str) -> bool:
    return name in (*_DEFAULT, *_NEXT.values(), "next.done") or _top(name) in (
        "observation",
        "action",
    )


def _top(name: str) -> str:
    return name.partition(".")[0]


def _part(frame: Mapping[str, Any], top: str) -> Any:
    """Return the observation or action of a frame; a dict if it has several features."""
    found = {name[len(top) + 1 :]: each for name, each in frame.items() if _top(name) == top}
    if set(found) in ({""}, {"state"}, {"image"}):
        return next(iter(found.values()))
    return found or None


FORMAT: Final = LeRobot()
