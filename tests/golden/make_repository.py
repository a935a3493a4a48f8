"""Writes repository-1: PYTHONPATH=. python tests/golden/make_repository.py

A small repository with some of everything, which every later version has to open, and
``repository-1.json`` with what has to be found in it. It is not written again for a new version:
that one gets a repository of its own. ``repository-0`` is of a format that nobody was given.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import golden_env
import numpy as np
from make_vectors import neutral

from simgit import Repository

HERE = Path(__file__).parent
FORMATS = (0, 1)


def directory(number: int) -> Path:
    """Return where the repository of a format lies."""
    return HERE / f"repository-{number}"


def expected(number: int) -> Any:
    """Return what has to be found in the repository of a format."""
    return json.loads(directory(number).with_suffix(".json").read_text(encoding="utf-8"))


def frame(i: int) -> np.ndarray:
    """Return a picture in which a block moves."""
    picture = np.zeros((24, 20, 3), np.uint8)
    picture[i % 20 : i % 20 + 4, 5:9] = (i % 256, 100, 200)
    return picture


def fill(repo: Repository) -> None:
    """Record runs, branches, a merge, tags, files, attachments."""
    rng = np.random.default_rng(0)
    path = rng.standard_normal((300, 4)).cumsum(0).astype(np.float32)
    with repo.recorder(
        "main",
        flush_every=100,
        config={"lr": 0.1, "net.width": 64},
        seed=7,
        spec={"id": "CartPole-v1"},
    ) as rec:
        for i in range(300):
            if i % 60 == 0:
                rec.append(path[i], info={}, reset={"seed": i} if i == 0 else True)
            else:
                rec.append(path[i], i % 2, 1.0, i % 60 == 59, False, {"t": i, "why": f"step {i}"})
    with repo.recorder("frames", flush_every=40) as rec:
        for i in range(100):
            rec.append(
                {"picture": frame(i), "ram": np.arange(8) + i},
                (i, {"go": i / 4}),
                reset=i == 0 or None,
            )
    repo.branch("slow", "main@150", overrides={"lr": 0.01})
    for i in range(5):
        repo.commit(path[i], i, float(i), message=f"by hand {i}", run="slow")
    repo.branch("merged", "slow~2")
    repo.commit({"merged": True, "big": 2**70}, run="merged", parents=["main@299", "frames@50"])
    repo.commit(
        message="files",
        run="merged",
        files={"a.txt": b"hello", "d/big.bin": bytes(range(256)) * 1000},
    )
    with repo.recorder(["lane/0", "lane/1"]) as rec:
        rec.append_batch(
            path[:200].reshape(2, 100, 4), rng.integers(0, 2, (2, 100)), np.ones((2, 100))
        )
    repo.tag("v1", "main@100")
    repo.tag("v2", "merged", message="the second", tagger="me")
    repo.attach("main@299", "checkpoint", {"w": path, "step": 299, "layers": [path[:70], (1, "x")]})
    repo.attach(
        "main@200", "checkpoint", {"w": path + 1, "step": 200, "layers": [path[:70], (1, "x")]}
    )
    repo.attach("v1", "log", b"some bytes")
    repo.set_status("frames", "completed")
    repo.checkout("slow")


def fill_spaces(repo: Repository) -> None:
    """Record an environment of each of Gymnasium's spaces; since format 1."""
    golden_env.record(repo)


SAMPLES = [
    "main@0",
    "main@1",
    "main@64",
    "main@150",
    "main@299",
    "main@ep3",
    "main@ep5.59",
    "slow",
    "slow~4",
    "slow@100",
    "merged",
    "merged~1",
    "merged~1^2",
    "merged~1^3",
    "frames@0",
    "frames@99",
    "lane/0",
    "lane/1@50",
    "v1",
    "tags/v2",
]


SPACES = [f"spaces/{kind}@{step}" for kind in golden_env.KINDS for step in (0, 5, 9, 17)]


def found(repo: Repository) -> dict[str, Any]:
    """Return what is in the repository, as JSON can hold it."""
    samples = SAMPLES + (SPACES if "spaces/box" in repo.runs else [])
    everything = {
        "head": str(repo.head),
        "runs": {
            info.name: [
                str(info.oid),
                info.step,
                info.episodes,
                info.return_,
                info.status,
                neutral(dict(info.config)),
                info.parent,
            ]
            for info in repo.runs.values()
        },
        "tags": {name: str(oid) for name, (oid, _) in repo.tags().items()},
        "states": {
            name: [
                str(state.oid),
                state.step,
                state.episode,
                neutral({k: v for k, v in state.value.items() if k != "files"}),
            ]
            for name in samples
            for state in [repo.state(name)]
        },
        "log": [str(line.oid) for line in repo.log(every=True)],
        "merge bases": [
            str(repo.merge_base(a, b))
            for a, b in (("main", "slow"), ("merged", "main"), ("merged", "frames"))
        ],
        "files": {name: str(oid) for name, oid in repo.files("merged").items()},
        "attachments": {
            name: {key: str(target[1]) for key, target in repo.attachments(name).items()}
            for name in ("main@299", "main@200", "v1")
        },
        "checkpoint": neutral(repo.attachment("main@200", "checkpoint")),
    }
    return json.loads(json.dumps(everything))


def main() -> None:
    """Write the repository of the newest format, and what is found in it."""
    target = directory(FORMATS[-1])
    if target.exists():
        shutil.rmtree(target)
    with Repository.init(target) as repo:
        fill(repo)
        fill_spaces(repo)
    (target / ".simgit").rename(target / "simgit")  # git would take it for nothing to keep
    with Repository.open(target / "simgit") as repo:
        text = json.dumps(found(repo), indent=1) + "\n"
    target.with_suffix(".json").write_text(text, encoding="utf-8")
    for name in ("lock.mdb", "lease"):  # made again by whoever opens it
        (target / "simgit" / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
