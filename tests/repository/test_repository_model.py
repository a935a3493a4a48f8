"""A repository, whatever is done with it and in whatever order, does what a few dicts would do."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simgit import AlreadyExists, Conflict, InvalidInput, NotFound, Oid, Repository
from simgit.testing import reference
from tests.support.examples import share

NAMES = ["main", "a", "b", "c", "d/e"]
names = st.sampled_from(NAMES)
observations = st.sampled_from([0, 1, 1.5, "x", None, np.zeros(3), np.zeros(300, "<f4")])
values = st.fixed_dictionaries(
    {"action": st.integers(0, 2)},
    optional={
        "observation": observations.filter(lambda value: value is not None),
        "reward": st.sampled_from([1.0, -0.5]),
        "reset": st.just({}),
        "info": st.sampled_from([{}, {"k": 1}, {"k": "s"}, {"n": {"m": (1, 2)}}]),
        "message": st.sampled_from(["m", "n"]),
    },
)


@dataclass
class Known:
    """What the model knows of a state."""

    value: dict[str, Any]
    parents: tuple[Oid, ...]
    step: int
    episode: int
    schema: reference.ReferenceSchema


@dataclass
class Run:
    """What the model knows of a run."""

    oid: Oid | None
    own: dict[str, Any] = field(default_factory=dict)
    inherited: dict[str, Any] = field(default_factory=dict)
    sealed: bool = False


def passed(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "reset": True} if "reset" in value else value


class Model:
    """States, runs, tags and HEAD in dictionaries."""

    def __init__(self) -> None:
        self.states: dict[Oid, Known] = {}
        self.runs: dict[str, Run] = {}
        self.tags: dict[str, Oid] = {}
        self.head: str | Oid = "main"
        self.logs: dict[str, list[Oid | None]] = {}

    def add(self, value: dict[str, Any], parents: tuple[Oid, ...]) -> Oid:
        above = self.states[parents[0]] if parents else None
        schema = (above.schema if above else reference.ReferenceSchema()).next(value)
        payload = reference.name("schema", schema.payload()) + bytes([len(parents)])
        payload += b"".join(parents) or reference.name("spec", reference.value_bytes({}))
        oid = Oid(reference.name("state", payload + schema.row(value)))
        episode = (above.episode + ("reset" in value)) if above else 1
        self.states[oid] = Known(value, parents, above.step + 1 if above else 0, episode, schema)
        return oid

    def follow(self, name: str) -> None:
        if isinstance(self.head, str) and self.head not in self.runs:
            self.head = name

    def head_oid(self) -> Oid | None:
        if isinstance(self.head, Oid):
            return self.head
        return self.runs[self.head].oid if self.head in self.runs else None

    def log(self, name: str, oid: Oid | None) -> None:
        self.logs.setdefault(name, []).insert(0, oid)

    def ensure(self, name: str) -> Run:
        if name not in self.runs:
            self.runs[name] = Run(None)
            self.log(name, None)
        return self.runs[name]

    def ancestors(self, *oids: Oid) -> set[Oid]:
        found: set[Oid] = set()
        todo = list(oids)
        while todo:
            oid = todo.pop()
            if oid not in found:
                found.add(oid)
                todo += self.states[oid].parents
        return found

    def chain(self, oid: Oid) -> list[Oid]:
        """Return the first-parent history, oldest first."""
        found = [oid]
        while self.states[found[-1]].parents:
            found.append(self.states[found[-1]].parents[0])
        return found[::-1]

    def merge_bases(self, a: Oid, b: Oid) -> set[Oid]:
        common = self.ancestors(a) & self.ancestors(b)
        return {
            each
            for each in common
            if not any(each in self.ancestors(other) for other in common if other != each)
        }


class RepositoryMachine(RuleBasedStateMachine):
    """Does the same to a repository in LMDB, one in memory, and the model."""

    @initialize()
    def create(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="simgit-model-")
        self.repos = [Repository.init(self.directory), Repository.init(":memory:")]
        self.model = Model()
        self.step_number = 0

    def teardown(self) -> None:
        if hasattr(self, "repos"):
            for repo in self.repos:
                assert not repo.fsck().problems
                repo.close()
            shutil.rmtree(self.directory)

    def both(self, call: Any, *errors: type[Exception]) -> Any:
        """Call with each repository; return what both answer, or the error that both raise."""
        answers = []
        for repo in self.repos:
            try:
                answers.append(call(repo))
            except errors as error:
                answers.append(type(error))
        assert answers[0] == answers[1]
        return answers[0]

    def some(self, data: st.DataObject) -> Oid:
        return data.draw(st.sampled_from(list(self.model.states)))

    # --- writing ---

    @rule(value=values, name=st.none() | names, data=st.data(), merges=st.booleans())
    def commit(self, value: Any, name: str | None, data: st.DataObject, merges: bool) -> None:
        model = self.model
        more = [self.some(data)] if merges and model.states else []
        target = name if name is not None else model.head
        detached = isinstance(target, Oid)
        tip = target if isinstance(target, Oid) else None
        if isinstance(target, str) and target in model.runs:
            tip = model.runs[target].oid
            if model.runs[target].sealed:
                call = lambda repo: repo.commit(**passed(value), run=name)  # noqa: E731
                assert self.both(call, InvalidInput) is InvalidInput
                return
        parents = tuple([tip] if tip else []) + tuple(more)
        if len(set(parents)) != len(parents):
            call = lambda repo: repo.commit(**passed(value), run=name, parents=more)  # noqa: E731
            assert self.both(call, InvalidInput) is InvalidInput
            return
        found = self.both(lambda repo: repo.commit(**passed(value), run=name, parents=more))
        assert found == model.add(value, parents)
        if detached:
            model.head = found
        else:
            run = model.ensure(str(target))
            run.oid = found
            model.log(str(target), found)
            model.follow(str(target))

    @rule(
        chain=st.lists(values, min_size=1, max_size=6)
        | st.integers(60, 70).map(
            lambda n: [{"action": i % 3, "observation": i} for i in range(n)]
        ),
        name=names,
        every=st.sampled_from([1, 2, 3, 1000]),
        background=st.booleans(),
    )
    def record(self, chain: list[Any], name: str, every: int, background: bool) -> None:
        def write(repo: Repository) -> Oid:
            with repo.recorder(name, flush_every=every, background=background) as rec:
                for value in chain:
                    rec.append(**passed(value))
            return repo.resolve(name)

        if name in self.model.runs and self.model.runs[name].sealed:
            assert self.both(write, InvalidInput) is InvalidInput
            return
        found = self.both(write)
        run = self.model.ensure(name)
        for i, value in enumerate(chain, 1):
            run.oid = self.model.add(value, (run.oid,) if run.oid else ())
            if i % every == 0 or i == len(chain):
                self.model.log(name, run.oid)
        self.model.follow(name)
        assert found == run.oid

    @precondition(lambda self: self.model.states)
    @rule(name=names, data=st.data(), by_run=st.booleans(), lr=st.none() | st.integers(1, 3))
    def branch(self, name: str, data: st.DataObject, by_run: bool, lr: int | None) -> None:
        model = self.model
        named = [run for run, known in model.runs.items() if known.oid]
        above = data.draw(st.sampled_from(named)) if by_run and named else None
        start = above or self.some(data)
        overrides = {"lr.start": lr} if lr else {}
        found = self.both(lambda repo: repo.branch(name, start, overrides=overrides), AlreadyExists)
        if name in model.runs:
            assert found is AlreadyExists
            return
        inherited = (
            {} if above is None else {**model.runs[above].inherited, **model.runs[above].own}
        )
        own = {"lr": {"start": lr}} if lr else {}
        oid = model.runs[above].oid if above else start
        model.runs[name] = Run(oid, own, inherited)  # type: ignore[arg-type]
        model.log(name, oid)  # type: ignore[arg-type]
        assert found == oid

    @precondition(lambda self: self.model.states)
    @rule(name=st.none() | names, data=st.data(), near=st.booleans(), moves=st.booleans())
    def reset(self, name: str | None, data: st.DataObject, near: bool, moves: bool) -> None:
        """Move a run, by reset or by branch, to a state of its own history or to any other."""
        model = self.model
        run = model.runs.get(name or str(model.head))
        own = model.chain(run.oid) if near and run is not None and run.oid else None
        oid = data.draw(st.sampled_from(own)) if own else self.some(data)
        if name is not None and moves:
            call = lambda repo: repo.branch(name, oid, force=True)  # noqa: E731
        else:
            call = lambda repo: repo.reset(oid, run=name)  # noqa: E731
        found = self.both(call, NotFound, InvalidInput, Conflict)
        if name is None and isinstance(model.head, Oid):
            model.head = oid
        elif run is None:
            assert (found == oid) if moves and name else (found is NotFound)
            if moves and name:
                model.runs[name] = Run(oid)
                model.log(name, oid)
        elif moves and name == model.head:
            assert found is Conflict
        elif run.sealed:
            assert found is InvalidInput
        else:
            assert found == oid
            run.oid = oid
            model.log(name or str(model.head), oid)
            at = model.chain(oid)
            point = self.both(lambda repo: repo.runs[name or str(repo.head)].branch_point)
            assert point is None or point in at

    @rule(old=names, new=names)
    def rename(self, old: str, new: str) -> None:
        model = self.model
        found = self.both(lambda repo: repo.rename_run(old, new), NotFound, AlreadyExists)
        if old not in model.runs:
            assert found is NotFound
            return
        if new in model.runs and new != old:
            assert found is AlreadyExists
            return
        run = model.runs.pop(old)
        model.runs[new] = run
        if new != old:
            model.logs[new] = model.logs.pop(old) + model.logs.get(new, [])
        model.log(new, run.oid)
        if model.head == old:
            model.head = new

    @rule(name=names)
    def delete(self, name: str) -> None:
        model = self.model
        found = self.both(lambda repo: repo.delete_run(name), NotFound, Conflict)
        if model.head == name:
            assert found is Conflict
        elif name not in model.runs:
            assert found is NotFound
        else:
            assert found == model.runs.pop(name).oid
            model.log(name, None)

    @rule(name=names, sealed=st.booleans())
    def seal(self, name: str, sealed: bool) -> None:
        status = "completed" if sealed else "active"
        found = self.both(lambda repo: repo.set_status(name, status), NotFound)
        if name in self.model.runs:
            self.model.runs[name].sealed = sealed
            self.model.log(name, self.model.runs[name].oid)
        else:
            assert found is NotFound

    @rule(name=names, value=st.integers(0, 3))
    def configure(self, name: str, value: int) -> None:
        found = self.both(lambda repo: repo.configure(name, {"x": value}), NotFound)
        if name in self.model.runs:
            self.model.runs[name].own["x"] = value
            self.model.log(name, self.model.runs[name].oid)
        else:
            assert found is NotFound

    @precondition(lambda self: self.model.states)
    @rule(name=st.sampled_from(["v1", "v2"]), data=st.data(), force=st.booleans())
    def tag(self, name: str, data: st.DataObject, force: bool) -> None:
        oid = self.some(data)
        found = self.both(lambda repo: repo.tag(name, oid, force=force), AlreadyExists)
        if name in self.model.tags and not force:
            assert found is AlreadyExists
        else:
            self.model.tags[name] = oid

    @rule(name=st.sampled_from(["v1", "v2"]))
    def delete_tag(self, name: str) -> None:
        found = self.both(lambda repo: repo.delete_tag(name), NotFound)
        assert found == self.model.tags.pop(name, NotFound)

    @rule(name=names)
    def checkout(self, name: str) -> None:
        found = self.both(lambda repo: repo.checkout(name), NotFound)
        if name in self.model.runs:
            self.model.head = name
        else:
            assert found is NotFound

    @precondition(lambda self: self.model.states)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        oid = self.some(data)
        self.both(lambda repo: repo.checkout(oid))
        self.model.head = oid

    @rule()
    def reopen(self) -> None:
        self.repos[0].close()
        self.repos[0] = Repository.open(self.directory)

    @rule()
    def collect(self) -> None:
        for repo in self.repos:
            repo.gc()

    # --- what has to hold ---

    @invariant()
    def refs_are_what_they_should_be(self) -> None:
        model = self.model
        assert self.both(lambda repo: repo.head) == model.head
        assert self.both(lambda repo: list(repo.runs)) == sorted(model.runs)
        assert self.both(lambda repo: {n: oid for n, (oid, _) in repo.tags().items()}) == model.tags
        for name, run in model.runs.items():
            for repo in self.repos:
                info = repo.runs[name]
                assert info.oid == run.oid
                assert dict(info.config) == {**run.inherited, **run.own}
                assert [entry.new for entry in repo.reflog(name)] == model.logs[name]
                if run.oid:
                    known = model.states[run.oid]
                    assert (info.step, info.episodes) == (known.step, known.episode)

    @invariant()
    def history_is_what_it_should_be(self) -> None:
        model = self.model
        self.step_number += 1
        tips = [(name, run.oid) for name, run in model.runs.items() if run.oid]
        for number, (name, oid) in enumerate(tips):
            assert oid is not None
            chain = model.chain(oid)
            at = self.step_number * 7 % len(chain)
            assert self.both(lambda repo, n=name, s=at: repo.resolve(f"{n}@{s}")) == chain[at]
            back = len(chain) - 1 - at
            assert self.both(lambda repo, n=name, b=back: repo.resolve(f"{n}~{b}")) == chain[at]
            known = model.states[chain[at]]
            start = next(
                i for i, each in enumerate(chain) if model.states[each].episode == known.episode
            )
            revision = f"{name}@ep{known.episode}.{at - start}"
            assert self.both(lambda repo, r=revision: repo.resolve(r)) == chain[at]
            listed = self.both(lambda repo, n=name: [line.oid for line in repo.log(n)])
            assert set(listed) == model.ancestors(oid)
            assert len(listed) == len(set(listed))
            other, far = tips[(number + self.step_number) % len(tips)]
            assert far is not None
            bases = self.both(lambda repo, a=name, b=other: set(repo.merge_bases(a, b)))
            assert bases == model.merge_bases(oid, far)
            missing = self.both(
                lambda repo, a=name, b=other: {line.oid for line in repo.log(f"{a}..{b}")}
            )
            assert missing == model.ancestors(far) - model.ancestors(oid)
            held = [n for n, tip in tips if tip and chain[at] in model.ancestors(tip)]
            assert self.both(lambda repo, o=chain[at]: repo.contains(o)) == sorted(held)

    @invariant()
    def states_are_what_they_should_be(self) -> None:
        model = self.model
        known = list(model.states.items())
        for number in range(min(len(known), 5)):
            oid, state = known[(self.step_number * 3 + number * 11) % len(known)]
            children = {each for each, other in known if oid in other.parents}
            for repo in self.repos:
                found = repo.state(oid)
                assert (found.oid, found.parents, found.step) == (oid, state.parents, state.step)
                assert found.episode == state.episode
                assert set(found.value) == set(state.value)
                for field_, value in state.value.items():
                    assert np.array_equal(found.value[field_], value), field_
                assert {child.oid for child in repo.children(oid)} == children
                assert repo.resolve(oid.hex()[:16]) == oid


TestRepository = RepositoryMachine.TestCase
TestRepository.settings = settings(
    max_examples=share(40),
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
)
