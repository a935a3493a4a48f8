"""Loops of torch that are killed and resumed go on as if nothing had happened, to the last bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import defaultdict, deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit
from simgit.errors import Divergence, InvalidInput, SimgitWarning

torch = pytest.importorskip("torch")
gym = pytest.importorskip("gymnasium")

from simgit.integrations.objects import Objects  # noqa: E402
from simgit.integrations.torch import TrainingLoop, checkpoint_name  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import ppo_cleanrl as ppo  # noqa: E402

nn = torch.nn
SMALL = {"num_envs": 2, "num_steps": 20, "num_iterations": 7, "update_epochs": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = (
        torch.get_num_threads(),
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
    )
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])
    torch.set_rng_state(before[3])


def killed(work: Any) -> None:
    """Do work in a process that is killed by it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def fresh(code: str, *args: str) -> list[str]:
    """Run code in a new process; return the words that it prints."""
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    unchecked = "from simgit.gym.recording.selfcheck import SelfCheck; SelfCheck.start = lambda s, r, n: {}\n"
    head = f"import sys, torch; torch.set_num_threads(1)\n{unchecked}import ppo_cleanrl as ppo\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code, *args], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


RESUME = f"""
TrainingLoop = ppo.TrainingLoop
for job in sys.argv[2:]:
    run, _, at = job.partition("@")
    ppo.TrainingLoop = lambda *a, **k: TrainingLoop(*a, at=int(at) if at else None, **k)
    print(ppo.train(sys.argv[1], run, args=ppo.Args(**{SMALL})))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork in a process with threads
def test_ppo_of_one_file_is_resumed_exactly_in_a_new_process(tmp_path: Path) -> None:
    args = ppo.Args(**SMALL)
    full = ppo.train(str(tmp_path), "full", args=args)
    # before the first checkpoint but one, in the middle of a rollout; and later
    for run, kill_at in (("early", 26), ("later", 190)):
        killed(lambda run=run, kill_at=kill_at: ppo.train(str(tmp_path), run, kill_at, args))
    with simgit.Repository.open(tmp_path) as repo:  # from every checkpoint, also amid an episode
        history = repo.history_attachments("full/0", checkpoint_name("full/0"))
        steps = [each.step for each in history]
        starts = np.flatnonzero(repo["full/0"].episode_starts).tolist()
    assert len(steps) == 5 and not set(steps[1:-1]) <= set(starts)
    jobs = ["early", "later", *(f"full@{step}" for step in steps[:4])]
    assert fresh(RESUME, str(tmp_path), *jobs) == [full] * len(jobs)
    with simgit.Repository.open(tmp_path) as repo:
        for lane in range(2):
            for name in ("observation", "action", "reward"):  # the info has seconds in it
                pair = (repo[f"{run}/{lane}"].column(name) for run in ("early", "full"))
                assert np.array_equal(*pair, equal_nan=True)


def resumed_without(directory: Path, cut: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Resume from the second checkpoint, of which a piece is left out."""
    newest = TrainingLoop._newest

    def without(self: Any, at: Any) -> Any:
        found = newest(self, at)
        assert found is not None
        cut(found)
        return found

    monkeypatch.setattr(TrainingLoop, "_newest", without)
    loop = ppo.TrainingLoop
    with simgit.Repository.open(directory) as repo:
        step = repo.history_attachments("full/0", checkpoint_name("full/0"))[-2].step
    monkeypatch.setattr(ppo, "TrainingLoop", lambda *a, **k: loop(*a, at=step, **k))
    return str(ppo.train(str(directory), "full", args=ppo.Args(**SMALL)))


CUTS: dict[str, Any] = {
    "nothing": lambda data: None,
    "torch": lambda data: data["random"].pop("torch"),
    "numpy": lambda data: data["random"].update(numpy=np.random.RandomState(9).get_state(legacy=False)),
    "optimizer": lambda data: data["objects"]["optimizer"].update(state={}),
    "parameters": lambda data: data["objects"]["agent"]["tensors"].update({"actor.0.bias": np.zeros(64, np.float32)}),
    "last observations": lambda data: data["values"].__setitem__(1, {"$": "tensor", "dtype": "float32", "data": np.zeros((2, 4), np.float32)}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n == "torch" else pytest.param(n, marks=pytest.mark.slow) for n in CUTS]
)
def test_a_piece_that_is_left_out_is_noticed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = ppo.train(str(tmp_path), "full", args=ppo.Args(**SMALL))
    if name == "nothing":
        assert resumed_without(tmp_path, CUTS[name], monkeypatch) == full
        return
    with pytest.raises(Divergence):  # of a step, or of the next checkpoint
        resumed_without(tmp_path, CUTS[name], monkeypatch)


@pytest.mark.slow
def test_runs_of_one_seed_share_states_and_no_checkpoints(tmp_path: Path) -> None:
    one = ppo.train(str(tmp_path), "one", args=ppo.Args(**SMALL))
    other = ppo.train(str(tmp_path), "two", args=ppo.Args(**SMALL, learning_rate=1e-3))
    assert one != other
    assert ppo.train(str(tmp_path), "one", args=ppo.Args(**SMALL)) == one
    with pytest.warns(SimgitWarning, match="optimizer"):  # made with another rate, which is used
        ppo.train(str(tmp_path), "one", args=ppo.Args(**SMALL, learning_rate=1e-3))


# --- objects -------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """A module with all that ``state_dict`` leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight  # tied
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("scratch", torch.zeros(4), persistent=False)
        self.epsilon, self.rng = 1.0, np.random.default_rng(3)
        self.seen = np.zeros(3)

    def forward(self, x: Any) -> Any:
        self.epsilon *= 0.9
        self.seen += self.rng.normal(size=3)
        self.scratch += x.mean(0).detach()
        return (
            self.drop(self.norm(self.two(self.one(x).relu()))) * (1 + self.epsilon) + self.scratch
        )


class RunningMean:
    """A normaliser as many scripts have it."""

    def __init__(self) -> None:
        self.mean, self.count = np.zeros(4), 1e-4

    def update(self, x: Any) -> Any:
        self.count += len(x)
        self.mean += (x.mean(0) - self.mean) * len(x) / self.count
        return torch.as_tensor(x - self.mean, dtype=torch.float32)


class Counter:
    """An object that saves itself."""

    def __init__(self) -> None:
        self.lock = object()
        self.value = 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


OPTIMIZERS: dict[str, Any] = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-2, centered=True, momentum=0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=1e-1, max_iter=2, history_size=3),
}


def everything(optimizer: str) -> dict[str, Any]:
    torch.manual_seed(0)
    net = Noisy()
    chosen = OPTIMIZERS[optimizer](net.parameters())
    total = 100
    return {
        "net": net, "optimizer": chosen,
        "scheduler": torch.optim.lr_scheduler.LambdaLR(chosen, lambda step: 1 - step / total),
        "average": torch.optim.swa_utils.AveragedModel(net),
        "scaler": torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2),
        "mean": RunningMean(), "counter": Counter(), "ema": {"weight": torch.zeros(4, 4)},
        "generator": torch.Generator().manual_seed(1), "rng": np.random.default_rng(2),
        "old": np.random.RandomState(3), "python": random.Random(4),
        "returns": deque([1.0], maxlen=3), "best": [0.5, None], "array": np.zeros(2),
    }  # fmt: skip


def work(t: dict[str, Any], steps: int) -> None:
    for _ in range(steps):
        x = t["mean"].update(
            t["rng"].normal(size=(8, 4)) + t["old"].normal() + t["python"].random()
        )

        def closure(x: Any = x) -> Any:
            t["optimizer"].zero_grad()
            y = t["net"](x + torch.randn(8, 4, generator=t["generator"]))
            loss = (y - x.sin() + torch.randn(4)).square().mean()
            t["scaler"].scale(loss).backward()
            return loss

        closure()
        if not isinstance(t["optimizer"], torch.optim.LBFGS):
            t["scaler"].step(t["optimizer"])
            t["scaler"].update()
        else:
            t["optimizer"].step(closure)
        t["scheduler"].step()
        t["average"].update_parameters(t["net"])
        t["ema"]["weight"].mul_(0.9).add_(t["net"].one.weight.detach())
        t["counter"].value += 1
        t["returns"].append(float(x.sum()))
        t["best"][0] += 1
        t["array"] += 1


def facts(t: dict[str, Any]) -> Any:
    net = t["net"]
    tensors = [
        *net.state_dict().values(),
        *t["average"].state_dict().values(),
        net.scratch,
        t["ema"]["weight"],
    ]
    for state in t["optimizer"].state_dict()["state"].values():
        for key in sorted(state):
            held = state[key] if isinstance(state[key], (list, tuple)) else [state[key]]
            tensors += [each for each in held if isinstance(each, torch.Tensor)]
    words = [each.numpy().tobytes() for each in tensors]
    return words, net.epsilon, net.seen.tobytes(), t["returns"], t["best"], t["scheduler"].state_dict(), \
        t["scaler"].state_dict(), t["counter"].value, t["mean"].mean.tobytes(), t["optimizer"].param_groups[0]["lr"], \
        t["array"].tobytes(), t["generator"].get_state().numpy().tobytes(), t["rng"].random(), net.two.weight is net.one.weight  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_objects_come_back_in_place(optimizer: str) -> None:
    with simgit.Repository.init(":memory:") as repo:
        repo.commit(0.0)
        things = everything(optimizer)
        objects = Objects(things)
        work(things, 5)
        things["net"].drop.eval()
        repo.attach(
            "main", "x", {"all": objects.save(repo, []), "rng": torch.get_rng_state().numpy()}
        )
        work(things, 4)
        expected = facts(things)
        data = repo.attachment("main", "x")
        other = everything(optimizer)
        held = other["net"].one.weight, other["ema"]["weight"], other["net"].rng
        Objects(other).load(repo, data["all"])
        torch.set_rng_state(torch.from_numpy(data["rng"].copy()))
        assert held[0] is other["net"].one.weight
        assert held[1] is other["ema"]["weight"]
        assert held[2] is other["net"].rng
        assert not other["net"].drop.training
        work(other, 4)
        assert facts(other) == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_and_parallel_modules_have_the_names_of_the_bare_one() -> None:
    with simgit.Repository.init(":memory:") as repo:
        bare = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        data = Objects({"net": bare}).save(repo, [])
        for wrapped in (
            torch.compile(bare),
            nn.DataParallel(bare),
            nn.DataParallel(torch.compile(bare)),
        ):
            assert Objects({"net": wrapped}).save(repo, [])["net"]["tensors"].keys() == {
                "0.weight",
                "0.bias",
            }
        inner = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.Tanh())
        Objects({"net": inner}).load(repo, data)
        assert torch.equal(inner[0].weight, bare[0].weight)


def test_half_precision_and_accumulated_gradients() -> None:
    with simgit.Repository.init(":memory:") as repo:

        def build() -> dict[str, Any]:
            torch.manual_seed(0)
            net = nn.Linear(3, 3).to(torch.bfloat16)
            return {"net": net, "optimizer": torch.optim.Adam(net.parameters())}

        def step(t: dict[str, Any], backward: int, update: bool = True) -> None:
            for _ in range(backward):
                t["net"](torch.randn(4, 3, dtype=torch.bfloat16)).square().sum().backward()
            if update:
                t["optimizer"].step()
                t["optimizer"].zero_grad()

        one = build()
        objects = Objects(one)
        step(one, 2)
        step(one, 1, update=False)
        repo.commit(0.0)
        repo.attach("main", "x", objects.save(repo, []))
        data, state = repo.attachment("main", "x"), torch.get_rng_state()
        assert data["optimizer"]["gradients"].keys() == {"0", "1"}
        step(one, 1)
        other = build()
        Objects(other).load(repo, data)
        torch.set_rng_state(state)
        step(other, 1)
        assert torch.equal(one["net"].weight, other["net"].weight)
        step(one, 0)
        assert objects.save(repo, [])["optimizer"]["gradients"] == {}, "used up, so not needed"


class Two(nn.Module):
    """Two heads, and attributes of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 2), nn.Linear(3, 2)
        self._calls, self._rng = 0, np.random.default_rng(0)
        self.seen: dict[Any, int] = defaultdict(int)

    def forward(self, x: Any, i: int) -> Any:
        self._calls += 1
        self.seen[i, len(self.seen)] += 1
        head = self.one if i % 3 else self.two
        return head(x) * (self._calls + len(self.seen)) + self._rng.normal()


class Decaying(torch.optim.SGD):
    """An optimizer with a counter of its own."""

    count = 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        self.param_groups[0]["lr"] = 0.1 / self.count
        return super().step(closure)


class Agent:
    """An object that has all the rest."""

    def __init__(self, net: Any) -> None:
        self.net, self.optimizer = net, torch.optim.Adam(net.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)

    def step(self) -> None:
        self.optimizer.step()
        self.scheduler.step()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()


def seldom(t: dict[str, Any], i: int) -> None:
    if i % 4 == 3:
        t["it"].step()
        t["it"].zero_grad()


def never(t: dict[str, Any], i: int) -> None:
    t["it"].step()


def to_zero(t: dict[str, Any], i: int) -> None:
    t["it"].step()
    t["it"].zero_grad(set_to_none=False)


def by_hand(t: dict[str, Any], i: int) -> None:
    with torch.no_grad():
        for each in t["net"].parameters():
            each -= 0.001 * (0 if each.grad is None else each.grad)


def freezing(t: dict[str, Any], i: int) -> None:
    t["it"].step()
    t["it"].zero_grad()
    if i == 1:
        t["net"].one.weight.requires_grad_(False)


def adam(net: Any) -> Any:
    return torch.optim.Adam(net.parameters(), lr=0.1)


@pytest.mark.parametrize("cut", [2, 6])
@pytest.mark.parametrize(
    ("made", "step"),
    [
        (adam, seldom), (adam, never), (adam, to_zero), (lambda net: 0, by_hand), (adam, freezing),
        (Agent, seldom), (lambda net: Decaying(net.parameters(), lr=0.1), never),
    ],
)  # fmt: skip
def test_gradients_and_attributes_are_kept_as_long_as_they_matter(
    made: Any, step: Any, cut: int
) -> None:
    def build() -> dict[str, Any]:
        torch.manual_seed(0)
        net = Two()
        return {"net": net, "it": made(net)}

    def train(t: dict[str, Any], first: int, last: int) -> None:
        for i in range(first, last):
            t["net"](torch.randn(4, 3), i).square().sum().backward()
            step(t, i)

    with simgit.Repository.init(":memory:") as repo:
        repo.commit(0.0)
        one, other = build(), build()
        objects = Objects(one)
        train(one, 0, cut)
        repo.attach("main", "x", objects.save(repo, []))
        state = torch.get_rng_state()
        train(one, cut, 10)
        Objects(other).load(repo, repo.attachment("main", "x"))
        torch.set_rng_state(state)
        train(other, cut, 10)
    pairs = zip(one["net"].parameters(), other["net"].parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_attributes_that_are_left_out_are_said_and_circles_are_refused() -> None:
    net, agent = nn.Linear(2, 2), Agent(nn.Linear(2, 2))
    net.visited = {1}  # type: ignore[assignment]
    with simgit.Repository.init(":memory:") as repo:
        with pytest.warns(SimgitWarning, match=r"left out: cannot save 'net\.visited'"):
            Objects({"net": net}).save(repo, [])
        agent.parts = [agent]  # type: ignore[attr-defined]
        with pytest.raises(InvalidInput, match=r"'agent\.parts\[0\]': it is what refers to it"):
            Objects({"agent": agent}).save(repo, [])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "it"), (lambda: 0, "it"), ({"a": [1, open]}, r"it\.a\[1\]"),
        (torch.empty(2, device="meta"), "it"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_refused_by_name(value: Any, name: str) -> None:
    with simgit.Repository.init(":memory:") as repo, pytest.raises(InvalidInput, match=f"'{name}'"):
        Objects({"it": value}).save(repo, [])


def test_what_does_not_fit_is_refused_by_name() -> None:
    with simgit.Repository.init(":memory:") as repo:
        data = Objects({"net": nn.Linear(2, 2)}).save(repo, [])
        for other, name in (
            (nn.Linear(2, 3), r"net\.weight"),
            (nn.Linear(2, 2, bias=False), r"net\.bias"),
        ):
            with pytest.raises(InvalidInput, match=name):
                Objects({"net": other}).load(repo, data)
        with pytest.raises(InvalidInput, match="head"):
            Objects({"net": nn.Linear(2, 2), "head": 1}).load(repo, data)
        with pytest.raises(InvalidInput, match="loop"):
            Objects({"loader": torch.utils.data.DataLoader([1])})


@pytest.mark.parametrize("bound", [False, True])
def test_a_scheduler_that_closes_over_what_changes_is_refused(bound: bool) -> None:
    with simgit.Repository.init(":memory:") as repo:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        box = [1.0]
        function = partial(lambda held, _: held[0], box) if bound else lambda _: box[0]
        objects = Objects({"s": torch.optim.lr_scheduler.LambdaLR(optimizer, function)})
        objects.save(repo, [])
        box[0] = 0.5
        with pytest.raises(InvalidInput, match="'0'" if bound else "'box'"):
            objects.save(repo, [])


# --- loops ---------------------------------------------------------------------------------------


class Stop(Exception):
    """The end of a process, as far as these tests care."""


def supervised(directory: Path, run: str, stop: int = 0) -> bytes:
    """Epochs over a DataLoader that shuffles, and drops out."""
    torch.manual_seed(5)
    x = torch.randn(40, 3)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    own = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(x, batch_size=6, shuffle=True, generator=own)
    count, total = 0, 0.0
    with TrainingLoop(directory, run, net=net, optimizer=optimizer, every=3) as loop:
        for _ in loop(range(4)):
            for batch in loop(loader):
                count, total = loop.point(count, total)
                count += 1
                loss = (net(batch) - batch.sum(1, keepdim=True)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += float(loss.detach())
                if count == stop:
                    raise Stop
    words = b"".join(p.detach().numpy().tobytes() for p in net.parameters())
    return words + np.float64([count, total]).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop", [12, pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.slow)]
)
def test_a_loader_goes_on_in_the_middle_of_an_epoch(tmp_path: Path, stop: int) -> None:
    full = supervised(tmp_path, "full")
    with pytest.raises(Stop):
        supervised(tmp_path, "part", stop)
    torch.randn(7)  # a new process has other numbers
    assert supervised(tmp_path, "part") == full


class Noise:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)


class Noisily(torch.utils.data.Dataset[Any]):
    """Items with noise, whose generator lies deep within."""

    def __init__(self) -> None:
        self.transforms = [Noise()]

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        return torch.tensor([i + self.transforms[0].rng.normal(), 1.0], dtype=torch.float32)


class Shuffled(torch.utils.data.Sampler[int]):
    def __init__(self) -> None:
        self.rng = np.random.RandomState(4)

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Any:
        return iter(self.rng.permutation(10).tolist())


def same(loader: Any) -> Any:
    return loader


def shuffling() -> Any:
    own = torch.Generator().manual_seed(3)
    x = torch.arange(20.0).reshape(10, 2)
    return torch.utils.data.DataLoader(x, batch_size=3, shuffle=True, generator=own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "items"),
    [
        (lambda: torch.utils.data.DataLoader(Noisily(), batch_size=3), same),
        (lambda: torch.utils.data.DataLoader(Noisily(), batch_size=3, sampler=Shuffled()), same),
        (shuffling, lambda loader: (each for each in loader)),
        (shuffling, lambda loader: (each for _, each in enumerate(loader))),
        (shuffling, lambda loader: map(torch.sin, loader)),
    ],
)  # fmt: skip
def test_generators_are_found_within_what_is_looped_over(
    tmp_path: Path, make: Any, items: Any
) -> None:
    def fit(run: str, stop: int = 0) -> Any:
        torch.manual_seed(1)
        net, loader, count = nn.Linear(2, 1), make(), 0
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        with TrainingLoop(tmp_path, run, net=net, optimizer=optimizer) as loop:
            for _ in loop(range(3)):
                for batch in loop(items(loader)):
                    loop.point()
                    optimizer.zero_grad()
                    net(batch).square().mean().backward()
                    optimizer.step()
                    count += 1
                    if count == stop:
                        raise Stop
        return net.weight.detach()

    full = fit("full")
    with pytest.raises(Stop):
        fit("part", 7)
    assert torch.equal(fit("part"), full)


def test_workers_that_persist_are_refused(tmp_path: Path) -> None:
    loader = torch.utils.data.DataLoader([1.0], num_workers=1, persistent_workers=True)
    with TrainingLoop(tmp_path, "x") as loop, pytest.raises(InvalidInput, match="workers persist"):
        next(loop(loader))


def q_learning(directory: Path, run: str, kind: str, stop: int = 0) -> bytes:
    """Off-policy learning from one environment, with a replay buffer."""
    if kind == "sb3":  # its import draws random numbers
        buffers = pytest.importorskip("stable_baselines3.common.buffers")
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    net = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    env = gym.make("CartPole-v1")
    memory: Any = deque(maxlen=60)
    if kind == "sb3":
        memory = buffers.ReplayBuffer(60, env.observation_space, env.action_space, "cpu")
    with TrainingLoop(
        directory, run, env, every=7, net=net, optimizer=optimizer, memory=memory
    ) as loop:
        env = loop.envs
        env.action_space.seed(1)
        seen, _ = env.reset(seed=1)
        for i in loop(range(130)):
            seen = loop.point(seen)
            if random.random() < 0.3:
                action = int(env.action_space.sample())
            else:
                action = int(net(torch.as_tensor(seen)).argmax())
            after, reward, terminated, truncated, info = env.step(action)
            if kind == "sb3":
                memory.add(
                    seen[None],
                    after[None],
                    np.array([action]),
                    np.array([reward]),
                    np.array([terminated]),
                    [info],
                )
            else:
                memory.append((seen, action, float(reward), after, terminated))
            seen = env.reset()[0] if terminated or truncated else after
            if i > 20:
                if kind == "sb3":
                    drawn = memory.sample(8)
                    s, n, a = (
                        drawn.observations,
                        drawn.next_observations,
                        drawn.actions[:, 0].long(),
                    )
                    r, d = drawn.rewards[:, 0], drawn.dones[:, 0]
                else:
                    s, a, r, n, d = map(
                        torch.as_tensor,
                        map(np.array, zip(*random.sample(list(memory), 8), strict=True)),
                    )
                target = r.float() + 0.9 * net(n).amax(1).detach() * (1 - d.float())
                loss = (net(s)[torch.arange(8), a] - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if i == stop > 0:
                raise Stop
    return b"".join(p.detach().numpy().tobytes() for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deque", pytest.param("sb3", marks=pytest.mark.slow)])
def test_a_replay_buffer_is_a_reference_in_the_checkpoint(tmp_path: Path, kind: str) -> None:
    full = q_learning(tmp_path, "full", kind)
    with pytest.raises(Stop):
        q_learning(tmp_path, "part", kind, stop=103)
    assert q_learning(tmp_path, "part", kind) == full
    with simgit.Repository.open(tmp_path) as repo:
        assert repo.resolve("part") == repo.resolve("full")
        assert repo.fsck().is_clean
        data = repo.attachment("part", checkpoint_name("part"), newest=True)
        assert data["objects"]["memory"]["data"]["bytes"] == {}
        assert repo.runs["part"].step == repo.runs["full"].step


def test_misuse_is_refused(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1")
    net = nn.Linear(1, 1)
    with pytest.raises(InvalidInput, match="every"):
        TrainingLoop(tmp_path, "a", env, every=0)
    with pytest.raises(InvalidInput, match="Gymnasium"):
        TrainingLoop(tmp_path, "a", object())
    with TrainingLoop(tmp_path, "a", env, net=net) as loop:
        with pytest.raises(InvalidInput, match="reset"):
            loop.point()
        loop.envs.reset(seed=1)
        loop.point(1)
        loop.envs.step(0)
    with pytest.raises(simgit.NotFound):
        TrainingLoop(tmp_path, "b", env, at=0)
    again = TrainingLoop(tmp_path, "a", gym.make("CartPole-v1"), net=net)
    assert again.is_resumed
    with pytest.raises(InvalidInput, match="point"):
        again.envs.step(0)
    with pytest.raises(InvalidInput, match="1 values"):
        again.point(1, 2)
    again.close()
