"""A file of golden runs: compared with what a simulator does now, or recorded anew."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from simgit.errors import Divergence, IntegrityError, InvalidInput, NotFound, shown
from simgit.integrations.golden.differences import (
    Place,
    calling_module,
    changed_versions,
    first_change,
    golden_divergence,
    versions_of,
)
from simgit.integrations.golden.playing import (
    Policy,
    fixed_generators,
    play_environment,
    play_simulator,
    repeat_environment,
    repeat_simulator,
)
from simgit.objects.codec import encode_value
from simgit.objects.coerce import check_number
from simgit.repository import Repository

PREFIX: Final = "golden/"
NOTE: Final = "golden"
"""The attachment that says how the runs were made; it is bound to the first run's newest state."""
NOW: Final = "now/"
MAX_OBJECT: Final = 64 << 20
_LFS: Final = b"version https://git-lfs"


class Golden:
    """A file of golden runs.

    Attributes:
        path: the file.
        title: what messages call it.
        update: record anew instead of comparing.
        done: what became of the file with ``update``: "recorded" or "unchanged"; else None.
    """

    def __init__(self, path: Path, *, title: str | None = None, update: bool = False) -> None:
        self.path = path
        self.title = str(path) if title is None else title
        self.update = update
        self.done: str | None = None

    def environment(
        self,
        make: Any,
        *,
        seeds: Sequence[int] = (0,),
        steps: int = 200,
        policy: Policy | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        """Re-execute the recorded actions in an environment, and compare each state.

        With ``update`` it is recorded: for each seed a seeded reset and a number of steps, with
        resets in between. A function that makes environments is called twice then, and the second
        one has to repeat the first.

        Args:
            make: an environment's id, a function that makes one, or an environment; it is closed.
            seeds: the seeds of the resets.
            steps: the actions after each of them.
            policy: returns the action for an observation; random actions if None.
            ignore: paths of fields that are not compared, such as ``info.seconds``.

        Raises:
            Divergence: a state differs; ``report`` has the lines that show it.
            NotFound: there is no such file.
            IntegrityError: it is damaged.
            InvalidInput: it is another file, or was recorded with other arguments.
        """
        asked = _asked("environment", seeds, steps)
        can_repeat = isinstance(make, (type, str)) or not hasattr(make, "step")
        used: list[Any] = [None]

        def play(repo: Repository) -> None:
            used[0] = play_environment(repo, make, seeds, steps, policy)

        def repeat(repo: Repository, revision: str) -> None:
            repeat_environment(repo, revision, make, ignore, partial(used.__setitem__, 0))

        self._check(asked, play, repeat if can_repeat or not self.update else None, used, ignore)

    def simulator(
        self,
        *,
        rebuild: Callable[..., Any],
        advance: Callable[..., Any],
        observe: Callable[..., Any] | None = None,
        seeds: Sequence[int] = (0,),
        steps: int = 200,
        policy: Policy | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        """Re-execute the recorded actions in a simulator, and compare each state.

        With ``update`` it is recorded, and has to repeat itself at once.

        Args:
            rebuild: the simulator's hooks, see ``Repository.recorder``.
            advance: see ``rebuild``.
            observe: see ``rebuild``.
            seeds: the seeds of its resets.
            steps: the steps after each of them; fewer if it says that it has ended.
            policy: returns the action for an observation; without it there are no actions.
            ignore: paths of fields that are not compared.

        Raises:
            See ``environment``.
        """
        asked = _asked("simulator", seeds, steps)
        hooks = {"rebuild": rebuild, "advance": advance, "observe": observe}
        used = [sys.modules.get(getattr(rebuild, "__module__", ""))]

        def play(repo: Repository) -> None:
            play_simulator(repo, hooks, seeds, steps, policy)

        def repeat(repo: Repository, revision: str) -> None:
            repeat_simulator(repo, revision, hooks, ignore)

        self._check(asked, play, repeat, used, ignore)

    def compare(self, repo: Repository, *runs: str, ignore: Sequence[str] = ()) -> None:
        """Compare runs of a repository, all their states, with the recorded ones.

        Args:
            repo: the repository; it is not changed.
            runs: the names of the runs.
            ignore: paths of fields that are not compared.

        Raises:
            See ``environment``.
        """
        for run in runs:
            if run not in repo.runs or repo.runs[run].step is None:
                raise InvalidInput(f"run '{run}' has no states to compare")
        asked = {"kind": "states"}
        with closing(self._start()) as kept:
            if self.update:
                _copy(repo, runs, kept)
                versions = {"versions": versions_of(calling_module())}
                self._update(kept, runs, asked | versions, ignore)
            else:
                self._check_note(_note(kept), asked)
                self._check_states(kept, repo, runs, ignore)

    # --- comparing ---

    def _check(
        self,
        asked: Mapping[str, Any],
        play: Callable[[Repository], None],
        repeat: Callable[[Repository, str], None] | None,
        used: Sequence[Any],
        ignore: Sequence[str],
    ) -> None:
        """Compare the file with a simulator, or record it anew.

        Args:
            asked: how the run is to be made.
            play: records it to the run "run".
            repeat: re-executes a revision, or None where there is nothing to re-execute it in.
            used: the module of the simulator, known at the latest when it was played or repeated.
            ignore: paths of fields that are not compared.
        """
        with fixed_generators(), closing(self._start()) as repo:
            what = "differs"
            if self.update:
                play(repo)
                self._tag(repo, ["run"], asked)
                what = "does not repeat itself, nothing is recorded"
            else:
                self._check_note(_note(repo), asked)
            if repeat is not None:
                try:
                    with fixed_generators():
                        repeat(repo, f"{PREFIX}run")
                except Divergence as error:
                    states, versions = repo.trajectory(f"{PREFIX}run"), versions_of(used[0])
                    changed = changed_versions(_note(repo).get("versions"), versions)
                    place = Place.of(error)
                    raise golden_divergence(self.title, what, states, place, changed) from None
                except InvalidInput as error:
                    raise InvalidInput(f"golden run '{self.title}' {what}: {error}") from error
            if self.update:
                self._update(repo, ["run"], {**asked, "versions": versions_of(used[0])}, ignore)

    def _start(self) -> Repository:
        return Repository.init(":memory:") if self.update else self._load()

    def _check_states(
        self, kept: Repository, repo: Repository, runs: Sequence[str], ignore: Sequence[str]
    ) -> None:
        """Compare the golden runs in a repository with runs of another one."""
        tags = {tag.removeprefix(PREFIX) for tag in kept.tags()}
        if tags != {*runs}:
            raise InvalidInput(
                f"'{self.title}' has the runs {shown(sorted(tags))}, the test has "
                f"{shown(sorted(runs))}"
            )
        _copy(repo, runs, kept, NOW)
        for run in runs:
            found = first_change(kept, PREFIX + run, NOW + run, ignore)
            if found is not None:
                what = "differs" if len(runs) == 1 else f"differs in run '{run}'"
                versions = changed_versions(
                    _note(kept).get("versions"), versions_of(calling_module())
                )
                raise golden_divergence(self.title, what, repo.trajectory(run), found, versions)

    # --- the file ---

    def _load(self) -> Repository:
        """Return a repository in memory with what the file has.

        Raises:
            NotFound, IntegrityError, InvalidInput: see ``environment``.
        """
        if not self.path.exists():
            raise NotFound(f"golden run '{self.title}' not found", path=self.path)
        if not self.path.is_file():
            raise InvalidInput(f"'{self.title}' is not a file")
        repo = Repository.init(":memory:")
        try:
            repo.import_bundle(self.path, max_object=MAX_OBJECT)
            tags = repo.tags()
            if not tags or repo.runs or not all(tag.startswith(PREFIX) for tag in tags):
                raise InvalidInput(f"'{self.title}' is a bundle, but not of golden runs")
        except IntegrityError as error:
            repo.close()
            with self.path.open("rb") as file:
                is_pointer = file.read(len(_LFS)) == _LFS
            hint = "; it is a pointer of Git LFS: fetch the file with 'git lfs pull'"
            raise IntegrityError(
                f"golden run '{self.title}' is damaged: {error}{hint if is_pointer else ''}",
                path=self.path,
            ) from None
        except NotFound:
            repo.close()
            raise InvalidInput(f"'{self.title}' is a part of other runs, not golden runs") from None
        except BaseException:
            repo.close()
            raise
        return repo

    def _check_note(self, note: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        for name, value in asked.items():
            if encode_value(note.get(name)) != encode_value(value):
                raise InvalidInput(
                    f"'{self.title}' was recorded with {name} {shown(note.get(name))}, the test "
                    f"has {shown(value)}"
                )

    def _tag(self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any]) -> list[str]:
        tags = [PREFIX + run for run in runs]
        for tag, run in zip(tags, runs, strict=True):
            repo.tag(tag, run, force=True)
        repo.attach(sorted(tags)[0], NOTE, dict(note))
        return tags

    def _update(
        self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any], ignore: Sequence[str]
    ) -> None:
        """Write the file, unless the one that is there has the same states."""
        if self._has_same(repo, runs, note, ignore):
            self.done = "unchanged"
            return
        tags = self._tag(repo, runs, note)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        repo.create_bundle(self.path, tags, attachments=(NOTE,))
        self.done = "recorded"

    def _has_same(
        self, repo: Repository, runs: Sequence[str], note: Mapping[str, Any], ignore: Sequence[str]
    ) -> bool:
        """Return True if the file has these runs; other versions of packages do not matter."""
        try:
            with closing(self._load()) as kept:
                asked = {name: value for name, value in note.items() if name != "versions"}
                self._check_note(_note(kept), asked)
                self._check_states(kept, repo, runs, ignore)
        except (NotFound, IntegrityError, InvalidInput, Divergence):
            return False
        return True


def _asked(kind: str, seeds: Sequence[int], steps: int) -> dict[str, Any]:
    if not isinstance(seeds, Sequence) or not seeds:
        raise InvalidInput(f"seeds must be a list of integers, got {shown(seeds)}", path="seeds")
    return {
        "kind": kind,
        "seeds": [check_number(each, "seeds", whole=True) for each in seeds],
        "steps": check_number(steps, "steps", whole=True),
    }


def _copy(source: Repository, runs: Sequence[str], target: Repository, prefix: str = "") -> None:
    """Copy the states of runs, without attachments."""
    data = io.BytesIO()
    source.create_bundle(data, runs, attachments=())
    data.seek(0)
    target.import_bundle(data, prefix=prefix)


def _note(repo: Repository) -> dict[str, Any]:
    """Return how golden runs were made; it may be a stranger's text."""
    first = min(repo.tags())
    note = repo.attachment(first, NOTE) if NOTE in repo.attachments(first) else None
    if not isinstance(note, dict):
        raise InvalidInput("the file does not say how its golden runs were made")
    return note
