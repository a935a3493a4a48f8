"""A training loop of one's own that can be killed at any time and resumed exactly.

``TrainingLoop`` records the environments, saves what it was given at points of the user's choice,
and in a new process restores all of it at the same point. See docs/torch.md.
"""

from __future__ import annotations

import gc
import itertools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv, VectorWrapper

from simgit.errors import Divergence, IntegrityError, InvalidInput, NotFound
from simgit.gym.drivers import layers
from simgit.gym.drivers.randomness import (
    all_spaces,
    apply_globals,
    apply_spaces,
    capture_globals,
    capture_spaces,
)
from simgit.gym.recording.recorder import Recorder
from simgit.gym.recording.session import open_repository
from simgit.gym.recording.vector import VectorRecorder
from simgit.integrations.objects import CODE, Objects, alike, say_settings, torch_settings
from simgit.integrations.values import KIND, encode, is_random, put_random
from simgit.objects.arguments import checked
from simgit.objects.oid import Oid
from simgit.odb.trees import STATES
from simgit.repository import Repository

FORM: Final = 1
_NOT_COMPARED: Final = (
    "pieces", "columns", "bytes", "histories", "spaces", STATES,
    "gradients",  # more are kept in the first steps of a process; the next step compares them
)  # fmt: skip


_ITERATORS: Final = (enumerate, zip, map, filter, types.GeneratorType, itertools.islice,
                     itertools.chain, itertools.cycle)  # fmt: skip
_DEEPEST, _FEW = 6, 64  # how far generators are looked for in items, and in how long lists


class TrainingLoop:
    """A loop whose environments are recorded and whose objects are saved at its points.

    Attributes:
        repo: the repository.
        envs: the recorded environments, to be used in place of those given; None without any.
        is_resumed: True until the first point restores what was saved.
    """

    @checked
    def __init__(
        self,
        repo: Repository | str | Path,
        run: str = "main",
        envs: Any = None,
        *,
        every: int = 1,
        at: str | int | Oid | None = None,
        recorder: Mapping[str, Any] | None = None,
        **objects: Any,
    ) -> None:
        """Begin a run, or resume it from its newest checkpoint.

        Args:
            repo: a repository, or a path, at which one is created if it does not exist.
            run: the run; of a vector environment the prefix of its lanes' runs.
            envs: an environment or a vector environment, made as it was when the run began.
            every: the number of points from one checkpoint to the next.
            at: the state up to which the newest checkpoint is looked for; a step, revision or oid
                of the run, or of its first lane.
            recorder: further arguments of ``Recorder`` or ``VectorRecorder``.
            objects: modules, optimizers, schedulers, scalers, generators, tensors, arrays, replay
                buffers, and whatever has ``state_dict`` and ``load_state_dict`` or plain
                attributes. They are restored in place.

        Raises:
            InvalidInput: an object cannot be saved; or the run is of another environment, or
                completed.
            NotFound: ``at`` is given, and there is no checkpoint up to it.
            Conflict: another process records the run.
        """
        if every < 1:
            raise InvalidInput(f"every must be 1 or more, got {every}", path="every")
        self.repo = open_repository(repo)
        self._owns = self.repo is not repo
        self._every = every
        self._points = 0
        self._stack: list[_Place] = []
        self._objects = Objects(objects)
        self._is_vector = isinstance(envs, VectorEnv)
        self._first = f"{run}/0" if self._is_vector else run
        self._found = self._newest(at)
        self._given = envs
        try:
            self.envs: Any = self._recorder(run, envs, dict(recorder or {}))
        except BaseException:
            if self._owns:
                self.repo.close()
            raise
        self.is_resumed = self._found is not None
        if self.is_resumed and envs is not None:
            self._hold()

    def _newest(self, at: str | int | Oid | None) -> dict[str, Any] | None:
        """Return the newest checkpoint of the run, None if there is none."""
        if self._first not in self.repo.runs or self.repo.runs[self._first].oid is None:
            if at is not None:
                raise NotFound(f"run '{self._first}' has no states", name=self._first)
            return None
        revision = (
            self._first if at is None else f"{self._first}@{at}" if isinstance(at, int) else at
        )
        last: int | None = None
        for info in self.repo.lineage(self._first):  # the run itself, its parent, …
            name = checkpoint_name(info.name)
            history = self.repo.history_attachments(revision, name)
            for each in history:
                if last is None or each.step <= last:
                    data = self.repo.attachment(each.state, name)
                    if not isinstance(data, dict) or data.get("form") != FORM:
                        raise IntegrityError(f"'{name}' at step {each.step} is no checkpoint")
                    return data
            if info.branch_point is None:
                break
            left = self.repo.state(info.branch_point).step
            last = left if last is None else min(left, last)
        if at is not None:
            raise NotFound(f"no checkpoint up to '{revision}'", name=self._first)
        return None

    def _recorder(self, run: str, envs: Any, options: dict[str, Any]) -> Any:
        found, is_new = self._found, self._first not in self.repo.runs
        is_new = is_new or self.repo.runs[self._first].oid is None
        if envs is None:
            self._states = self.repo.recorder(run, **options)
            if found is not None and self.repo.resolve(run) != found[STATES][0]:
                raise InvalidInput(
                    f"run '{run}' has newer states than this checkpoint: branch a run "
                    "off its state, and resume the branch",
                    name=run,
                )
            return None
        if self._is_vector:
            if is_new:
                return VectorRecorder(envs, self.repo, run, **options)
            at = [-1] * envs.num_envs if found is None else list(found["steps"])
            return VectorRecorder.resume(self.repo, run, env=envs, at=at, **options)
        if not isinstance(envs, gymnasium.Env):
            raise InvalidInput("envs must be an environment or vector environment of Gymnasium")
        if is_new:
            return Recorder(envs, self.repo, run, **options)
        step = -1 if found is None else int(found["steps"][0])
        return Recorder.resume(self.repo, run, at=step, env=envs, **options)

    def _hold(self) -> None:
        """Answer resets before the first point with what is restored, and refuse steps."""
        recorder = self.envs

        def reset(**_: Any) -> tuple[Any, dict[str, Any]]:
            seen = recorder.observations if self._is_vector else recorder.observation
            return seen, {}

        def step(*_: Any) -> Any:
            raise InvalidInput("the environment was restored: call point() before its first step")

        recorder.reset, recorder.step = reset, step

    # --- the loop ---

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield items, from the position of the checkpoint on if the loop is resumed.

        Loops may be nested. Of what is no sequence, such as a DataLoader, the items before the
        position are drawn again, with the random numbers of then.
        """
        depth = len(self._stack)
        place = _Place()
        start = 0
        is_sequence = hasattr(items, "__getitem__") and hasattr(items, "__len__")
        if self._found is not None and depth < len(self._found["places"]):
            stored = self._found["places"][depth]
            start = int(stored["index"])
            if not is_sequence:
                place.random = stored["random"]
                self._put_random(items, place.random)
        elif not is_sequence:
            place.random = self._random(items)
        if self._found is not None and self._found["done"]:
            self._restore()  # the loop had come to its end
            return
        self._stack.append(place)
        try:
            for place.index, item in _from(items, start, is_sequence):
                yield item
        finally:
            del self._stack[depth:]
        if not depth and self._found is None:
            self._save((), done=True)

    def point(self, *values: Any) -> Any:
        """Save or restore everything here; return the values that hold from here on.

        The values are what the loop itself carries from one iteration to the next: tensors,
        arrays, numbers, and dicts, lists and tuples of them.

        Returns:
            None, the one value, or a tuple of all.

        Raises:
            InvalidInput: something cannot be saved; the message names it.
            Divergence: a resumed loop came to a recorded checkpoint with other content.
        """
        if self._found is not None:
            values = self._restore(values)
        else:
            self._points += 1
            if (self._points - 1) % self._every == 0:
                self._save(values)
        return values[0] if len(values) == 1 else values or None

    def save(self, *values: Any) -> None:
        """Save everything now, whatever ``every`` says."""
        self._save(values)

    def close(self) -> None:
        """Store everything, release the runs, and close the environments."""
        if self.envs is not None:
            self.envs.close()
        else:
            self._states.close()
        if self._owns:
            self.repo.close()

    def __enter__(self) -> Self:
        """Return the loop."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the loop."""
        self.close()

    # --- saving ---

    def _save(self, values: tuple[Any, ...], done: bool = False) -> None:
        if self.envs is None:
            self._states.append(self._points)
            self._states.flush()
            names, steps = [self._states.run], [self.repo.runs[self._states.run].step or 0]
        else:
            self.envs.flush()
            names = self.envs.runs if self._is_vector else [self.envs.run]
            steps = self.envs.step_counts if self._is_vector else [self.envs.step_count]
        if min(steps) < 0:
            raise InvalidInput("reset the environment before the first point")
        tips = [
            self.repo.resolve(f"{name}@{step}") for name, step in zip(names, steps, strict=True)
        ]
        data = {
            "form": FORM,
            STATES: [bytes(tip) for tip in tips],
            "steps": steps,
            "points": self._points,
            "done": done,
            "places": [{"index": p.index, "random": p.random} for p in self._stack],
            "random": capture_globals(),
            "spaces": capture_spaces(all_spaces(self._layers())),
            "wrappers": self._wrappers(),
            "objects": self._objects.save(self.repo, tips),
            "values": [self._objects.saved(each, f"value {i}") for i, each in enumerate(values)],
            "torch": torch_settings(),
        }  # fmt: skip
        name = checkpoint_name(names[0])
        if name in self.repo.attachments(tips[0]):
            _compare(self.repo.attachment(tips[0], name), data, f"{names[0]}@{steps[0]}")
        else:
            self.repo.attach(tips[0], name, data)

    def _restore(self, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        data = self._found
        assert data is not None
        say_settings(data["torch"], torch_settings())
        stored = data["values"]
        if not data["done"] and len(values) != len(stored):
            raise InvalidInput(f"point() was saved with {len(stored)} values, got {len(values)}")
        self._objects.load(self.repo, data["objects"])
        given = values or (None,) * len(stored)
        pairs = enumerate(zip(given, stored, strict=True))
        found = tuple(self._objects.loaded(*pair, f"value {i}") for i, pair in pairs)
        if self.envs is not None:
            vars(self.envs).pop("reset", None)
            vars(self.envs).pop("step", None)
            for layer, each in zip(_vector_layers(self._given), data["wrappers"], strict=True):
                for name, body in each.items():
                    vars(layer)[name] = self._objects.loaded(vars(layer).get(name), body, name)
            apply_spaces(self._layers(), data["spaces"])
        apply_globals(data["random"])
        self._points = int(data["points"])
        self._found, self.is_resumed = None, False
        return found

    def _layers(self) -> list[Any]:
        """Return the environments whose spaces the loop may draw from, the outermost first."""
        if self._given is None:
            return []
        if self._is_vector:
            return [*_vector_layers(self._given), self._given.unwrapped]
        return list(layers(self._given))

    def _wrappers(self) -> list[dict[str, Any]]:
        """Return the attributes of the vector's wrappers, which no lane restores."""
        found = []
        for layer in _vector_layers(self._given):
            part = {}
            for name, value in vars(layer).items():
                if name == "env" or isinstance(value, gymnasium.Space) or callable(value):
                    continue
                part[name] = self._objects.saved(value, f"{type(layer).__name__}.{name}")
            found.append(part)
        return found

    def _random(self, items: Any) -> dict[str, Any]:
        own = [encode(each, "a generator of the items") for each in _own(items)]
        return {"globals": capture_globals(), "own": own}

    def _put_random(self, items: Any, data: Mapping[str, Any]) -> None:
        apply_globals(data["globals"])
        held = _own(items)
        if len(held) != len(data["own"]):
            raise InvalidInput("the items of the loop have other random generators than before")
        for generator, state in zip(held, data["own"], strict=True):
            if isinstance(state, np.ndarray):  # of an earlier version: torch's only
                state = {KIND: "torch_generator", "data": state}
            put_random(generator, state, "a generator of the items")


def checkpoint_name(run: str) -> str:
    """Return the name of the attachment of a run's checkpoints.

    It has the run's name in it: runs with equal states, such as those of one seed, share these
    states and what is attached to them, but not their agents.
    """
    return f"torch-{run.replace('/', '.')}"


class _Place:
    """The place of a loop: the number of its item, and the random numbers that it began with."""

    def __init__(self) -> None:
        self.index = 0
        self.random: dict[str, Any] | None = None


def _from(items: Any, start: int, is_sequence: bool) -> Iterator[tuple[int, Any]]:
    if is_sequence:
        for index in range(start, len(items)):
            yield index, items[index]
        return
    for index, item in enumerate(items):
        if index >= start:
            yield index, item


def _own(items: Any) -> list[Any]:
    """Return the random generators within items: a DataLoader's, its sampler's, its data set's.

    Raises:
        InvalidInput: a DataLoader keeps its workers, whose random numbers nobody knows.
    """
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(items, 0)]
    while waiting:
        value, depth = waiting.pop(0)
        if id(value) in seen or depth > _DEEPEST or isinstance(value, (*CODE, torch.nn.Module)):
            continue
        seen.add(id(value))
        if is_random(value):
            found.append(value)
            continue
        if getattr(value, "persistent_workers", False):
            raise InvalidInput(
                "a loop cannot be resumed with a DataLoader whose workers persist, since their "
                "random numbers are not known: make it with persistent_workers=False"
            )
        inner: Sequence[Any] = ()
        if isinstance(value, _ITERATORS):
            inner = gc.get_referents(value)
        elif isinstance(value, (list, tuple)) and len(value) <= _FEW:
            inner = value
        elif isinstance(value, dict) and len(value) <= _FEW:
            inner = list(value.values())
        elif hasattr(value, "__dict__") and not isinstance(value, torch.Tensor):
            inner = list(vars(value).values())
        waiting += [(each, depth + 1) for each in inner]
    return found


def _vector_layers(env: Any) -> list[Any]:
    found = []
    while isinstance(env, VectorWrapper):
        found.append(env)
        env = env.env
    return found


def _compare(recorded: Any, found: Any, where: str, path: str = "") -> None:
    """Compare a checkpoint with the one recorded at the same state.

    Raises:
        Divergence: they differ.
    """
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        for key in recorded.keys() | found.keys():
            if key not in _NOT_COMPARED:
                _compare(recorded.get(key), found.get(key), where, f"{path}.{key}".strip("."))
    elif isinstance(recorded, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(recorded) == len(found):
            for i, pair in enumerate(zip(recorded, found, strict=True)):
                _compare(*pair, where, f"{path}[{i}]")
        else:
            raise Divergence(f"the checkpoint at '{where}' was recorded with another '{path}'")
    elif not alike(recorded, found):
        raise Divergence(f"the checkpoint at '{where}' was recorded with another '{path}'")
