"""gc keeps what can be reached and what has not expired, and removes all the rest.

The model knows every state that ever was, with its value and parents, and since when the gcs that
ran have found it unreachable. What is a root it reads from refs and reflogs by its own walk.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from simgit import Conflict, NotFound, Oid, Repository
from simgit.maintenance import background
from simgit.maintenance.background import BackgroundCollection
from simgit.maintenance.gc.plan import DAY
from simgit.maintenance.gc.sweep import Removed
from simgit.objects.kinds import Run, StateObject, links_of
from simgit.refs.remotes import run_refs
from tests.support.examples import share
from tests.support.tracking import forget, track, tracked

RUNS = ["main", "a", "b", "c"]
runs = st.sampled_from(RUNS)
GRACES = [0.0, 1.0, 14.0]


def frame(number: int) -> Any:
    return np.full((12, 30), number, np.uint8)


def weights(number: int) -> Any:
    generator = np.random.default_rng(0)
    array = generator.random(400)
    array[number % 400] = number
    return array


def roots(repo: Repository) -> set[Oid]:
    """Return the states that refs, reflogs, runs' records and the operation log lead to."""
    found: set[Oid | None] = set()
    with repo.odb.read() as txn:
        records = []
        for _, ref in run_refs(txn):
            found.add(ref.oid)
            records.append(ref.record)
        for oid in repo.oplog.roots(txn):
            thing = repo.odb.object(txn, oid)
            if isinstance(thing, Run):
                records.append(oid)
            else:
                found |= {oid} if isinstance(thing, StateObject) else set(links_of(thing))
        while records:
            record = repo.odb.object(txn, records.pop())
            assert isinstance(record, Run)
            records += [record.parent] if record.parent else []
            found.add(record.branch_point)
        found |= {tag.oid for _, tag in repo.refs.tags(txn)} | {repo.refs.head_oid(txn)}
        for name in {key[:-9].decode() for key, _ in txn.scan("log")}:
            for entry in repo.refs.log(txn, name):
                found |= {entry.old, entry.new}
        return {oid for oid in found if oid is not None and repo.odb.states.locate(txn, oid)}


@dataclass
class Known:
    """What the model knows of a state."""

    parents: tuple[Oid, ...]
    frame: int
    note: Any
    attached: dict[str, int] = field(default_factory=dict)


class GcMachine(RuleBasedStateMachine):
    """Runs grow, fork, merge and go, and gc comes at any time."""

    @initialize()
    def create(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="simgit-gc-")
        self.clock = 1_000 * DAY
        self.patch = patch.object(time, "time_ns", lambda: self.clock)
        self.patch.start()
        self.repo = Repository.init(self.directory)
        self.repo.set_setting("gc.auto", 0)  # it comes when a rule says so
        self.states: dict[Oid, Known] = {}
        self.since: dict[Oid, int] = {}
        self.gone: set[Oid] = set()
        self.count = 0

    def teardown(self) -> None:
        if not hasattr(self, "repo"):
            return
        try:
            self.clock += 400 * DAY
            self.collect(0.0, 0.0)
            self.nothing_is_left_over()
        finally:
            self.patch.stop()
            self.repo.close()
            shutil.rmtree(self.directory)

    def tip(self, run: str) -> Oid | None:
        return self.repo.runs[run].oid if run in self.repo.runs else None

    def added(self, oid: Oid, parents: tuple[Oid, ...], number: int, note: Any) -> None:
        self.gone.discard(oid)
        self.states.setdefault(oid, Known(parents, number, note))

    # --- what changes ---

    @rule(run=runs, numbers=st.lists(st.integers(0, 6), min_size=1, max_size=5), bulk=st.booleans())
    def record(self, run: str, numbers: list[int], bulk: bool) -> None:
        self.count += 1
        many = numbers * (30 if bulk else 1)
        with self.repo.recorder(run, flush_every=70) as rec:
            for i, number in enumerate(many):
                rec.append({"frame": frame(number), "i": self.count + i}, info={"n": i})
        oid, chain = self.tip(run), []
        for back in range(len(many)):
            chain.append(self.repo.resolve(f"{run}~{back}"))
        above = self.repo.state(chain[-1]).parents
        for i, (oid, number) in enumerate(zip(chain[::-1], many, strict=True)):
            self.added(oid, tuple(above), number, i)
            above = (oid,)

    @rule(run=runs, number=st.integers(0, 6), data=st.data())
    def commit(self, run: str, number: int, data: st.DataObject) -> None:
        self.count += 1
        tip = self.tip(run)
        others = sorted({t for r in RUNS if (t := self.tip(r))} - {tip})
        more = data.draw(st.lists(st.sampled_from(others), max_size=1)) if others and tip else []
        files = {"f": b"%d" % number * 100} if number > 3 else None
        oid = self.repo.commit(
            {"frame": frame(number), "i": self.count}, run=run, parents=more, files=files,
            info={"n": "c"},
        )  # fmt: skip
        self.added(oid, tuple(([tip] if tip else []) + more), number, "c")

    @precondition(lambda self: self.states)
    @rule(name=runs, data=st.data())
    def branch(self, name: str, data: st.DataObject) -> None:
        there = sorted(set(self.states) - self.gone)
        if there and name not in self.repo.runs:
            self.repo.branch(name, data.draw(st.sampled_from(there)))

    @rule(name=runs)
    def delete(self, name: str) -> None:
        try:
            self.repo.delete_run(name, force=True)
        except (NotFound, Conflict):
            return

    @rule(name=st.sampled_from(["v1", "v2"]), run=runs)
    def tag(self, name: str, run: str) -> None:
        if self.tip(run):
            self.repo.tag(name, run, message="kept", force=True)

    @rule(name=st.sampled_from(["v1", "v2"]))
    def untag(self, name: str) -> None:
        if name in self.repo.tags():
            self.repo.delete_tag(name)

    @rule(name=st.sampled_from(["origin/main", "origin/x"]), run=runs)
    def fetch(self, name: str, run: str) -> None:
        if self.tip(run):
            track(self.repo, name, run)

    @rule(name=st.sampled_from(["origin/main", "origin/x"]))
    def untrack(self, name: str) -> None:
        if name in tracked(self.repo):
            forget(self.repo, name)

    @rule(run=runs, name=st.sampled_from(["agent", "video"]), number=st.integers(0, 40))
    def attach(self, run: str, name: str, number: int) -> None:
        tip = self.tip(run)
        if tip:
            self.repo.attach(tip, name, {"w": weights(number), "f": frame(number % 7)})
            self.states[tip].attached[name] = number

    @rule(run=runs, name=st.sampled_from(["agent", "video"]))
    def detach(self, run: str, name: str) -> None:
        tip = self.tip(run)
        if tip and name in self.states[tip].attached:
            self.repo.detach(tip, name)
            del self.states[tip].attached[name]

    @rule(days=st.sampled_from([0.5, 3, 20, 100]))
    def wait(self, days: float) -> None:
        self.clock += int(days * DAY)

    @rule()
    def reopen(self) -> None:
        self.repo.close()
        self.repo = Repository.open(self.directory)

    # --- gc ---

    @rule(grace=st.sampled_from(GRACES), expire=st.sampled_from([0.0, 30.0, 90.0]))
    def collect(self, grace: float, expire: float) -> None:
        expected = self.repo.gc_preview(grace=grace, expire=expire)
        removed = self.repo.gc(grace=grace, expire=expire).removed
        assert removed == expected
        self.collected(removed, grace)

    @rule()
    def collect_by_itself(self) -> None:
        """Maintenance removes in slices, without being asked, what ``gc`` would remove."""
        expected = self.repo.gc_preview()
        odb = self.repo.odb.on(self.repo.odb.storage)
        with patch.object(background, "COLLECTION_SLICE", 60.0):
            upkeep = BackgroundCollection(odb, self.repo.refs, lambda: self.clock)
            while upkeep.slice():
                pass
        assert replace(upkeep.removed, tables=expected.tables) == expected
        self.collected(upkeep.removed, 14.0)

    def collected(self, removed: Removed, grace: float) -> None:
        """Check what is left."""
        repo = self.repo
        reached = self.reached()
        lost = set()
        for oid in set(self.states) - self.gone:
            if oid in reached:
                self.since.pop(oid, None)
            elif self.clock - self.since.setdefault(oid, self.clock) >= grace * DAY:
                lost.add(oid)
        assert removed.states == len(lost)
        for oid in lost:
            self.since.pop(oid)
            self.states[oid].attached.clear()
        self.gone |= lost
        with repo.odb.read() as txn:
            for oid in lost:
                assert not repo.odb.exists(txn, oid)
        self.everything_reads_back()

    def reached(self) -> set[Oid]:
        """Walk from the roots, by the model's own knowledge of parents."""
        todo: list[Oid | None] = list(roots(self.repo))
        found: set[Oid] = set()
        while todo:
            oid = todo.pop()
            if oid is not None and oid in self.states and oid not in found:
                found.add(oid)
                todo += self.states[oid].parents
        return found

    def everything_reads_back(self) -> None:
        there = sorted(set(self.states) - self.gone)
        for oid in there[:: max(1, len(there) // 12)]:
            known = self.states[oid]
            state = self.repo.state(oid)
            assert state.oid == oid and tuple(state.parents) == known.parents
            assert (state.observation["frame"] == frame(known.frame)).all()
            assert state.info["n"] == known.note
        for oid in there:
            known = self.states[oid]
            if known.attached:
                assert sorted(self.repo.attachments(oid)) == sorted(known.attached)
            for name, number in known.attached.items():
                data = self.repo.attachment(oid, name)
                assert (data["w"] == weights(number)).all()
                assert (data["f"] == frame(number % 7)).all()
        for run in self.repo.runs:
            if self.tip(run):
                self.repo.trajectory(run).observations  # noqa: B018
        problems = self.repo.fsck().problems
        assert not problems, problems

    def nothing_is_left_over(self) -> None:
        """Everything that is stored is something that can be reached."""
        odb = self.repo.odb
        with odb.read() as txn:
            refs = [ref for _, ref in run_refs(txn)]
            todo: list[bytes] = [ref.record for ref in refs]
            todo += [tag.tag for _, tag in self.repo.refs.tags(txn) if tag.tag]
            todo += [value for _, value in txn.scan("attachments")]
            for oid in self.reached():
                state = self.repo.state(oid)
                todo += [state.schema.oid, *([state.files] if state.files else [])]
                header, _ = odb.states.header(txn, odb.locate(txn, oid)), None
                todo += [header.schema]
                todo += [odb.states.state(txn, odb.locate(txn, oid))[1].origin or b""]
                for name in self.arrays_of(oid):
                    todo.append(name)
            found: set[bytes] = set()
            while todo:
                oid = bytes(todo.pop())
                if oid and oid not in found and txn.get("objects", oid) is not None:
                    found.add(oid)
                    todo += links_of(odb.object(txn, oid))
            stored = {oid for oid, _ in txn.scan("objects")}
            for oid in list(found):  # an array may be stored as its difference to one that stays
                base = odb.delta_base(txn, oid)
                assert base is None or bytes(base) in found
            assert stored == found, [odb.kind(txn, oid) for oid in stored ^ found]
            count = sum(1 for key, _ in txn.scan("pending"))
            assert count == 0
            states = sum(each.count for each in self.headers(txn))
            assert states == len(self.reached())

    def arrays_of(self, oid: Oid) -> list[bytes]:
        from simgit.objects import rows as rowlib

        with self.repo.odb.read() as txn:
            place = self.repo.odb.locate(txn, oid)
            _, _, rows = self.repo.odb.states.row(txn, place)
            return [found for _, _, found in rowlib.references(rows)]

    def headers(self, txn: Any) -> Any:
        from simgit.odb.segments.header import decode_header

        return [decode_header(key, value) for key, value in txn.scan("segments")]


TestGc = GcMachine.TestCase
TestGc.settings = settings(
    max_examples=share(40),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
