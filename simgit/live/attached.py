"""A script of one's own becomes a simulation: it can be watched, asked, paused and stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simgit.errors import Conflict, SimgitError, Stopped, StorageError, warn
from simgit.live.child import Execution
from simgit.live.control import Control, current
from simgit.live.inputs import SCRIPT, type_metadata, type_of
from simgit.live.records import Records
from simgit.live.registry import SimulationType
from simgit.process import now, this_writer
from simgit.refs.simulations import SimulationRecord
from simgit.repository import Repository


@contextmanager
def attach(
    repo: Repository | str | Path,
    run: str = "main",
    *,
    config: Mapping[str, Any] | None = None,
    seed: Any = None,
    queries: Mapping[str, Any] | None = None,
) -> Iterator[Control]:
    """Let people control what this process records to a run, for the time of a ``with`` block.

    In it the script looks with ``control.check`` or ``control.range``, and records with
    ``control.env`` or ``control.recorder``. Somebody's stop ends the block, and nothing more: the
    run is paused.

    Args:
        repo: the repository, or its path.
        run: the run; created if it does not exist.
        config: its settings, of a new run; ``control.config`` has them.
        seed: its seed.
        queries: functions of the control and an argument, by name.

    Raises:
        Conflict: a simulation of the run is executed already.
    """
    handle = repo if isinstance(repo, Repository) else Repository.init(repo)
    if run not in handle.runs:
        handle.create_run(run, config=config, seed=seed, metadata=type_metadata(SCRIPT))
    kind = type_of(handle.runs[run])
    if kind is None:  # it was recorded without a control
        kind = SCRIPT
        step = handle.runs[run].step
        first = 0 if step is None else step + 1  # what is there is not the script's
        handle.configure(run, metadata=type_metadata(SCRIPT, first))
    try:
        work = _execution(handle, run, kind, is_own=True)
        with suppress(Stopped), work.ending():
            yield work.begin(SimulationType(kind, _none, {}, dict(queries or {})))
    finally:
        if handle is not repo:
            handle.close()


@contextmanager
def controlled(
    repo: Repository,
    run: str,
    recorder: Any,
    kind: str = SCRIPT,
    *,
    again: str | None = None,
    looks: bool = False,
) -> Iterator[Control | None]:
    """Let people watch, pause and stop what a process records anyway, for the time of a block.

    Nothing else of it changes; in particular its settings cannot be changed while it runs.

    Args:
        repo: the repository.
        run: the run.
        recorder: what records it; None if other processes do.
        kind: the name that is shown as its type.
        again: how it goes on after its end, for who asks a tracker for that.
        looks: True to look before each step of a ``simgit.gym.Recorder``, whose ``step`` then
            raises ``Stopped``; otherwise the caller looks.

    Yields:
        The control, whose ``check`` looks; None where people cannot reach this process: another
        one executes a simulation of the run, or the repository is in memory.
    """
    mine = current()
    if mine is not None and mine.run == run:
        if recorder is not None:
            mine.follow(recorder, looks=looks)
        yield mine
        return
    work = None
    if repo.directory is not None and mine is None:
        try:
            work = _execution(repo, run, kind, is_own=False, again=again)
        except StorageError as error:  # it is recorded all the same
            warn(f"nobody can watch or stop this: {error}")
        except (SimgitError, OSError):
            pass
    if work is None:
        yield None
        return
    with work.ending():
        control = work.begin(SimulationType(kind, _none, is_fixed=True))
        if recorder is not None:
            control.follow(recorder, looks=looks)
        yield control


def _execution(
    repo: Repository, run: str, kind: str, *, is_own: bool, again: str | None = None
) -> Execution:
    records = Records(repo)
    before = records.find(run)
    if before is not None and not before.is_over:
        raise Conflict(f"the simulation of run '{run}' is {before.phase}", name=run)
    me = this_writer()  # the process, too: without this one nobody else can execute it
    made = SimulationRecord(
        kind, "starting", "", "", folder=str(Path.cwd()), tracker=me, process=me
    )
    more = {} if again is None else {"again": again}
    record = records.put(run, made, before, script=sys.argv[0], **more)
    try:
        return Execution(repo, run, record.execution, is_own=is_own, logs=False)
    except BaseException as error:
        found = records.find(run)
        if found is not None and found.execution == record.execution and not is_own:
            records.remove(run, found)
        elif found is not None and found.execution == record.execution:
            records.change(
                run, found, "ended", {"outcome": "failed", "reason": str(error)}, phase="ended",
                ended=now(), outcome="failed", reason=str(error), socket=None,
            )  # fmt: skip
        raise


def _none(_: Control) -> None:
    pass
