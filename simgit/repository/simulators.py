"""Simulators that are no environments: recorded with hooks, put back and verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput, NotFound, Untrusted
from simgit.objects.oid import Oid
from simgit.recording.simulators.checks import SimulatorCheck
from simgit.recording.simulators.history import SimulatorHistory
from simgit.recording.simulators.hooks import SimulatorHooks
from simgit.recording.simulators.recorder import SimulatorRecorder, snapshot_interval
from simgit.recording.simulators.replay import Progress, put_back
from simgit.recording.verdicts import VERDICT, Verification
from simgit.refs import run_config
from simgit.refs.runs import HOOKS, RunInfo
from simgit.refs.sessions import Sessions, of_records
from simgit.repository.attachments import Attachments
from simgit.repository.permission import Permission
from simgit.repository.recording import Recording
from simgit.repository.runs import RunEditor
from simgit.repository.states import States

if TYPE_CHECKING:
    from simgit.history.trajectory import Trajectory
    from simgit.recording.flush import FlushPolicy
    from simgit.repository.store import Store


class Simulators:
    """Records simulators, puts them back, and verifies their runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states = States(store)
        self._runs = RunEditor(store)

    def recorder(
        self,
        hooks: Mapping[str, Any],
        snapshots: Any,
        run: Any,
        policy: FlushPolicy,
        background: bool,
        config: Mapping[str, Any] | None,
        seed: Any,
        spec: Any,
        branch: bool,
    ) -> SimulatorRecorder:
        if run is not None and not isinstance(run, str):
            raise InvalidInput("the hooks of a simulator are for one run, got several")
        given = SimulatorHooks(**hooks)
        make = partial(SimulatorRecorder, hooks=given, every=snapshot_interval(snapshots))
        recording = Recording(self._store)
        found = recording.recorder(run, policy, background, config, seed, spec, branch, make)
        assert isinstance(found, SimulatorRecorder)
        try:
            if found.tip is not None and "environment" in self._states.origin(found.run):
                raise InvalidInput(
                    f"run '{found.run}' was recorded from an environment: record to another run",
                    name=found.run,
                )
            names = given.names() or {}
            if self._info(found.run).metadata.get(HOOKS) != names:
                self._runs.configure(found.run, {}, (), {HOOKS: names})
            if found.tip is not None:
                states = self._states.trajectory(found.run)
                history = self._history(states, self._lineage(found.run))
                found.continue_from(history, Attachments(self._store).attach)
        except BaseException:
            found.close()
            raise
        return found

    def restored(
        self, revision: str | Oid, hooks: Mapping[str, Any], progress: Progress | None
    ) -> Any:
        with self._store.read() as txn:
            oid = self._store.resolve(txn, revision).oid
        runs = self._runs_of(revision)
        history = self._history(self._states.trajectory(oid), runs)
        return put_back(self._hooks(hooks, runs, revision), history, progress=progress).simulator

    def verified(
        self,
        revision: str,
        hooks: Mapping[str, Any],
        snapshots: int,
        progress: Progress | None,
    ) -> Verification:
        states = self._states.trajectory(revision)
        if not len(states):
            raise InvalidInput(f"'{revision}' has no states to re-execute")
        runs = self._runs_of(revision)
        given = self._hooks(hooks, runs, revision)
        history = self._history(self._states.trajectory(states[len(states) - 1].oid), runs)
        found = SimulatorCheck(given, history, states.start).verification(snapshots, progress)
        name = revision.removeprefix("runs/")
        if found.verdict is not None and not self._store.storage.read_only and self._is_run(name):
            noted = {VERDICT: found.verdict.to_json(), HOOKS: given.names() or {}}
            self._runs.configure(name, {}, (), noted)
        return found

    # --- which runs, which hooks ---

    def _history(self, states: Trajectory, runs: Sequence[RunInfo]) -> SimulatorHistory:
        return SimulatorHistory(self._store.odb, states, runs, self._sessions(states, runs))

    def _sessions(self, states: Trajectory, runs: Sequence[RunInfo]) -> Sessions:
        """Return the sessions of a run that has some states; those above it may be deleted."""
        if not runs:
            return {}
        odb = self._store.odb
        with self._store.read() as txn:
            above = run_config.ancestors(odb, txn, runs[-1].inherited)

            def step_of(state: Oid) -> int | None:
                try:
                    return odb.locate(txn, state).step
                except NotFound:
                    return None

            return of_records([*runs, *above], step_of, states.stop - 1)

    def _info(self, name: str) -> RunInfo:
        with self._store.read() as txn:
            return self._store.runs.info(txn, name)

    def _is_run(self, name: str) -> bool:
        with self._store.read() as txn:
            return self._store.refs.has_run(txn, name)

    def _lineage(self, name: str) -> list[RunInfo]:
        """Return a run and those above it; all are foreign where the user trusts nothing."""
        found = self._runs.lineage(name)
        if Permission(self._store).given(None):
            return found
        return [each.as_foreign() for each in found]

    def _runs_of(self, revision: str | Oid) -> list[RunInfo]:
        """Return the run that a revision names, or one that has the state, and those above it."""
        name = self._states.trajectory(revision).name
        if name:
            return self._lineage(name)
        try:
            names = self._runs.containing(revision)
        except (InvalidInput, NotFound):  # a range
            return []
        return self._lineage(names[0]) if names else []

    def _hooks(
        self, given: Mapping[str, Any], runs: Sequence[RunInfo], revision: str | Oid
    ) -> SimulatorHooks:
        """Return the hooks that were given, or else those that a trusted run names.

        Raises:
            Untrusted: the run names some, but came from elsewhere.
            InvalidInput: there are none.
        """
        if any(hook is not None for hook in given.values()):
            return SimulatorHooks(**given)
        named = next((each for each in runs if each.metadata.get(HOOKS)), None)
        if named is None:
            unnamed = any(HOOKS in each.metadata for each in runs)
            why = ("its hooks stood in a script or a notebook, where they cannot be imported"
                   if unnamed else "no hooks of a simulator are known for it")  # fmt: skip
            raise InvalidInput(
                f"'{revision}' cannot be re-executed: {why}; in Python, pass rebuild=, advance= "
                "and the others to verify_simulator or simulator",
                revision=revision,
            )
        if named.is_foreign:
            raise Untrusted(
                f"run '{named.name}' names the hooks of its simulator, and this repository is not "
                "trusted to name code: pass them, or trust what is in it with 'simgit trust'",
                name=named.name,
            )
        return SimulatorHooks.named(named.metadata[HOOKS])
