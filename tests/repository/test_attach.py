"""What is attached is what the caller meant, and what comes back can be used as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import simgit.gym
from simgit import InvalidInput, NotFound, Repository

Attach = Callable[..., Any]


def by_repository(repo: Repository) -> Attach:
    repo.commit(np.zeros(1), run="main")
    return lambda *data, **more: repo.attach("main", "model", *data, **more)


def by_recorder(repo: Repository) -> Attach:
    recorder = repo.recorder("main")
    recorder.append(np.zeros(1))

    def attach(*data: Any, **more: Any) -> None:
        recorder.attach("model", *data, **more)
        recorder.flush()

    return attach


def by_append(repo: Repository) -> Attach:
    recorder = repo.recorder("main")

    def attach(*data: Any, path: Any = None) -> None:
        recorder.append(np.zeros(1), attachments={"model": Path(path) if path else data[0]})
        recorder.flush()

    return attach


def by_lane(repo: Repository) -> Attach:
    recorder = repo.recorder(["main", "other"])
    recorder.append(0, np.zeros(1))
    recorder.append(1, np.zeros(1))

    def attach(*data: Any, **more: Any) -> None:
        recorder.attach(0, "model", *data, **more)
        recorder.flush()

    return attach


def by_environment(repo: Repository) -> Attach:
    env = simgit.gym.Recorder(gymnasium.make("CartPole-v1"), repo, "main", self_check=False)
    env.reset(seed=0)

    def attach(*data: Any, **more: Any) -> None:
        env.attach("model", *data, **more)
        env.flush()

    return attach


def by_vector(repo: Repository) -> Attach:
    inner = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    envs = simgit.gym.VectorRecorder(inner, repo, "v", self_check=False)
    envs.reset(seed=0)

    def attach(*data: Any, **more: Any) -> None:
        envs.attach(0, "model", *data, **more)
        envs.flush()
        repo.tag("main", "v/0", force=True)

    return attach


WAYS = [by_repository, by_recorder, by_append, by_lane, by_environment, by_vector]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize("way", WAYS)
def test_a_text_that_names_a_file_is_refused_with_the_way_to_attach_the_file(
    way: Callable[[Repository], Attach], model: Path
) -> None:
    repo = Repository.init(":memory:")
    attach = way(repo)
    (model.parent / "folder").mkdir()
    (model.parent / "plain").write_bytes(b"")
    for text in (
        "model.pt", str(model), "./model.pt", "gone.pt", "runs/17/best.ckpt", "folder",
        "plain", "folder/newest", "C:\\models\\best.zip", "~/model.onnx",
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=r"names a file, .*use path="):
            attach(text)


@pytest.mark.parametrize("way", WAYS)
def test_a_path_is_attached_as_the_content_of_its_file(
    way: Callable[[Repository], Attach], model: Path
) -> None:
    repo = Repository.init(":memory:")
    attach = way(repo)
    attach(path="model.pt")
    assert repo.attachment("main", "model") == b"weights"
    model.write_bytes(b"more")
    attach(path=model)
    assert repo.attachment("main", "model") == b"more"
    attach(model)
    with pytest.raises(NotFound, match=r"'gone\.pt': no such file"):
        attach(path="gone.pt")
    with pytest.raises(InvalidInput, match="not a regular file"):
        attach(path=model.parent)


def test_a_file_that_does_not_end_is_not_read(model: Path) -> None:
    repo = Repository.init(":memory:")
    os.mkfifo(model.parent / "pipe")
    with pytest.raises(InvalidInput, match="not a regular file"):
        by_repository(repo)(path="pipe")


def test_data_or_a_path_is_given(model: Path) -> None:
    repo = Repository.init(":memory:")
    for attach in (by_repository(repo), by_lane(Repository.init(":memory:"))):
        for given in ((), (b"x",)):
            with pytest.raises(InvalidInput, match="needs either data or path="):
                attach(*given, **({"path": "model.pt"} if given else {}))
        for wrong in (5, "a\0b", []):
            with pytest.raises(InvalidInput):
                attach(path=wrong)


@pytest.mark.parametrize(
    "text", ["", "a note", "see model.pt for this", "0.5", "v1.0", "n/a", "line\nmodel.pt", "a\0.pt",
             "https://example.org/a.html", "x" * 5000]
)  # fmt: skip
def test_other_texts_are_attached_as_they_are(text: str) -> None:
    repo = Repository.init(":memory:")
    by_repository(repo)(text)
    assert repo.attachment("main", "model") == text
    by_repository(repo)(["model.pt"])
    assert repo.attachment("main", "model") == ["model.pt"]


# --- what comes back ----------------------------------------------------------------------------


def test_arrays_are_read_only_unless_they_are_asked_for_writable() -> None:
    repo = Repository.init(":memory:")
    by_repository(repo)(
        {
            "w": np.zeros(300),
            "in": [np.zeros(2), (np.ones(1), 5)],
            "map": {"deep": np.zeros((0, 3))},
        }
    )
    with pytest.raises(ValueError, match="read-only"):
        repo.attachment("main", "model")["w"][0] = 1
    found = repo.attachment("main", "model", writable=True)
    found["w"][0] = 1
    found["in"][0][:] = 1
    found["in"][1][0][:] = 2
    assert found["map"]["deep"].flags.writeable and found["in"][1][1] == 5
    assert repo.attachment("main", "model")["w"][0] == 0  # what is stored stays


def test_an_attached_state_dict_is_loaded_into_a_module_of_torch() -> None:
    torch = pytest.importorskip("torch")

    def network() -> Any:
        layers = torch.nn
        return layers.Sequential(layers.Linear(4, 64), layers.BatchNorm1d(64), layers.Linear(64, 2))

    def train(module: Any, optimizer: Any) -> None:
        optimizer.zero_grad()
        module(torch.arange(32.0).reshape(8, 4)).pow(2).mean().backward()
        optimizer.step()

    repo = Repository.init(":memory:")
    torch.manual_seed(0)
    one = network()
    optimizer = torch.optim.Adam(one.parameters(), lr=1e-2)
    train(one, optimizer)
    by_repository(repo)({"net": one.state_dict(), "adam": optimizer.state_dict()})
    found = repo.attachment("main", "model", tensors=True)
    other = network()
    other.load_state_dict(found["net"])
    again = torch.optim.Adam(other.parameters(), lr=1.0)
    again.load_state_dict(found["adam"])
    train(one, optimizer)
    train(other, again)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    found["net"]["0.weight"].zero_()  # a tensor of its own memory, without a warning
    by_repository(repo)({"text": np.array(["a"]), "n": 3, "f": np.float32(2)})
    rest = repo.attachment("main", "model", tensors=True)
    assert rest["text"].tolist() == ["a"] and rest["n"] == 3 and rest["f"].item() == 2.0
