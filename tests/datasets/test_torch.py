"""Datasets in torch: tensors, workers of every start method, an epoch resumed in its middle."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit
from simgit.datasets.sampling import EpochSampler
from simgit.errors import InvalidInput
from tests.datasets.test_datasets import filled

torch = pytest.importorskip("torch")


def columns(batches: Any) -> list[list[int]]:
    return [batch["actions"].tolist() for batch in batches]


def test_items_and_batches_are_tensors_with_the_observation_before_the_action() -> None:
    data = filled().dataset("main").to_torch()
    item = data[4]
    assert item["actions"].item() == 11 and item["observations"].tolist() == [11, 1]
    assert len(data) == 12 and item["rewards"].dtype == torch.float64
    from simgit.datasets.torch import collate

    plain = torch.utils.data.DataLoader(data, batch_size=5)  # torch's own collate, item by item
    quick = torch.utils.data.DataLoader(data, batch_size=5, collate_fn=collate)
    for one, two in zip(plain, quick, strict=True):
        assert set(one) == set(two)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_nested_observations_texts_and_sequences() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append({"a": np.zeros(2), "t": (1, "x")}, reset=True)
        for i in range(5):
            recorder.append({"a": np.full(2, i), "t": (i, "y")}, i, 0.0, False, False)
    data = repo.dataset("main")
    (batch,) = data.to_torch().loader(8, shuffle=False)
    assert (
        batch["observations"]["a"].shape == (5, 2)
        and batch["observations"]["t"][1] == ["x"] + ["y"] * 4
    )
    (batch,) = data.sequences(3, pad="zero", burn_in=1).to_torch().loader(4, shuffle=False)
    assert batch["next_observations"]["t"][0].shape == (2, 4) and batch["mask"].tolist() == [
        [False, True, True, True],
        [True, True, True, False],
    ]
    again = pickle.loads(pickle.dumps(batch))
    assert (
        torch.equal(again["observations"]["a"], batch["observations"]["a"])
        and again["observations"]["t"][1] == batch["observations"]["t"][1]
    )


def test_what_a_tensor_cannot_have_is_refused() -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append(0.0, reset=True)
        recorder.append(0.0, 1, 0.0, False, False, {"lives": 1})
        recorder.append(0.0, 1, 0.0, False, False, {})
    data = repo.dataset("main", fields=["info.lives"]).to_torch()
    with pytest.raises(InvalidInput, match="without a value"):
        list(data.loader(2))


def test_an_epoch_has_each_once_and_the_next_another_order() -> None:
    loader = filled(episodes=20).dataset("main").to_torch().loader(7, seed=3)
    one, two = columns(loader), columns(loader)
    assert len(one) == len(loader) == 9 and one != two
    assert (
        sorted(each for batch in one for each in batch)
        == sorted(each for batch in two for each in batch)
        == sorted(10 * e + t for e in range(20) for t in range(3))
    )
    assert len(list(filled().dataset("main").to_torch().loader(5, drop_last=True))) == 2


@pytest.mark.parametrize(
    ("stop", "workers"), [(0, 0), (1, 0), (4, 0), (8, 0), (9, 0), (13, 0), (1, 2), (9, 2), (11, 2)]
)
def test_a_loader_resumes_exactly_even_if_workers_were_ahead(
    stop: int, workers: int, tmp_path: Path
) -> None:
    data = filled(tmp_path, episodes=20).dataset("main").to_torch()
    whole = data.loader(7, seed=3)
    wanted = columns(whole) + columns(whole)
    first = data.loader(
        7, seed=3, workers=workers, **({"multiprocessing_context": "fork"} if workers else {})
    )
    got: list[list[int]] = []
    while len(got) < stop:
        for batch in first:
            got.append(batch["actions"].tolist())
            if len(got) == stop:
                break
    state = pickle.loads(pickle.dumps(first.state_dict()))
    second = data.loader(7, seed=3)
    second.load_state_dict(state)
    rest = columns(second)
    assert columns(first) == rest  # the same loader continues there too
    if len(got) + len(rest) < len(wanted):
        rest += columns(second)
    assert got + rest == wanted


def test_a_sampler_resumes_by_itself_and_refuses_the_state_of_another() -> None:
    sampler = EpochSampler(10, 3, seed=1)
    both = [*sampler, *sampler]
    other = EpochSampler(10, 3, seed=1)
    first = iter(other)
    got = [next(first), next(first)]
    third = EpochSampler(10, 3, seed=1)
    third.load(other.state())
    assert [*got, *third, *third] == both and third.state()["epoch"] == 2
    for wrong in (
        EpochSampler(11, 3, seed=1),
        EpochSampler(10, 2, seed=1),
        EpochSampler(10, 3),
        EpochSampler(10, 3, 1, False),
    ):
        with pytest.raises(InvalidInput, match="another"):
            wrong.load(other.state())
    with pytest.raises(InvalidInput):
        third.load({**other.state(), "taken": -1})
    assert list(EpochSampler(0, 3)) == [] and len(EpochSampler(0, 3)) == 0


def batches_of(method: str, data: Any) -> list[list[int]]:
    return columns(data.loader(6, seed=1, workers=2, multiprocessing_context=method))


@pytest.mark.parametrize(
    "method",
    [
        "fork",
        pytest.param("spawn", marks=pytest.mark.slow),
        pytest.param("forkserver", marks=pytest.mark.slow),
    ],
)
def test_workers_of_each_start_method_read_the_states_of_then(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no such start method")
    repo = filled(tmp_path, episodes=10)
    data = (
        repo.dataset("main", episode_where="config.agent.lr < 1")
        .map("scale", "reward", factor=2)
        .to_torch()
    )
    wanted = columns(data.loader(6, seed=1))
    with repo.recorder("main") as recorder:
        recorder.append(np.float32([90, 1]), reset=True)
        recorder.append(np.float32([91, 1]), 90, 0.0, False, False)
    assert batches_of(method, data) == wanted


def test_a_dataset_in_memory_cannot_be_sent_and_says_so() -> None:
    with pytest.raises(InvalidInput, match="memory"):
        pickle.dumps(filled().dataset("main").to_torch())


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("window", [0, 8])
def test_ranks_have_equally_many_others_and_resume(drop_last: bool, window: int) -> None:
    repo = simgit.Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        recorder.append(0, reset=True)
        for t in range(23):
            recorder.append(t, t, 0.0, False, False)
    items = repo.dataset("main").to_torch()
    options: dict[str, Any] = {"seed": 5, "drop_last": drop_last, "window": window, "ranks": 3}
    loaders = [items.loader(2, rank=rank, **options) for rank in range(3)]
    for _ in range(2):
        batches = [columns(each) for each in loaders]
        assert {len(each) for each in batches} == {len(loaders[0])} == {3 if drop_last else 4}
        seen = [action for each in batches for batch in each for action in batch]
        assert len(seen) == len(set(seen)) == (18 if drop_last else 21)
    iterator = iter(loaders[1])
    next(iterator)
    later = items.loader(2, rank=2, **options)
    later.load_state_dict(loaders[1].state_dict())  # one state is enough for all
    rest = columns(loaders[2])[1:]
    assert columns(later) == rest
    with pytest.raises(InvalidInput):
        items.loader(2, rank=3, ranks=3)
    with pytest.raises(InvalidInput, match="ranks"):
        items.loader(2, **{**options, "ranks": 2}).load_state_dict(later.state_dict())
