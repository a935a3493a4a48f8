"""Formats of episodes: what they take comes back exactly, what they cannot have is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simgit import InvalidInput, Repository
from tests.datasets.formats.cases import read, write
from tests.support.examples import share

_NUMBERS: dict[str, Any] = {
    "f4": lambda i: np.float32([i, -0.0, np.nan]), "f8": lambda i: np.float64(i), "i8": np.int64,
    "int": int, "float": lambda i: i / 2, "bool": lambda i: i % 2 == 0, "text": str,
    "wide": lambda i: np.arange(100) * i, "one": lambda i: np.float32([i]),
    "dict": lambda i: {"a": np.uint8([i, 1]), "b": (i, {"c": np.float64(i)})},
    "mixed": lambda i: i if i % 2 else np.float32(i), "none": lambda i: None if i % 3 else i,
    "image": lambda i: np.full((12, 9, 3), i, "u1"), "grey": lambda i: np.full((9, 9, 1), i, "u1"),
    "ragged": lambda i: np.zeros(i + 1), "empty": lambda i: np.zeros((0, 3)), "absent": lambda i: None,
    "complex": lambda i: complex(i, -0.0), "date": lambda i: np.datetime64(i, "s"),
}  # fmt: skip
_STEP = st.fixed_dictionaries(
    {"reset": st.sampled_from([True, False, False, False])},
    optional={
        "reward": st.sampled_from([0.5, -0.0, float("nan"), float("inf")]),
        "terminated": st.booleans(), "truncated": st.booleans(), "message": st.just("ü"),
        "info": st.sampled_from([{}, {"a": 1}, {"b": None}, {"c": {1, 2}}, {"d": np.float32(1)}]),
        "no action": st.just(True),
    },
)  # fmt: skip


@pytest.mark.parametrize("name", ["minari", "lerobot", "numpy"])
def test_zeros_in_place_of_what_is_absent_are_told(tmp_path: Path, name: str) -> None:
    pytest.importorskip("h5py" if name == "minari" else "pyarrow")
    repo = Repository.init(":memory:")
    with repo.recorder("main") as recorder:
        for i in range(8):
            recorder.append(np.float32([i]), None if i in (0, 3) else i, i or None, reset=i == 0)
    options = {"layout": "d4rl"} if name == "numpy" else {}
    done = write(repo, name, tmp_path / "x.npz", "main", options=options)
    assert [each for each in done.notes if "zeros" in each] == [
        "'action' is absent in 1 state: zeros there"
    ]


@pytest.mark.parametrize("name", ["minari", "lerobot"])
@given(
    steps=st.lists(_STEP, min_size=1, max_size=12),
    kinds=st.tuples(*[st.sampled_from([*_NUMBERS])] * 2),
    cut=st.none() | st.integers(0, 11),
)
@example(steps=[{"reset": True}, {"reset": False}], kinds=("f4", "int"), cut=0)
@settings(max_examples=share(150))
def test_episodes_come_back_exactly_or_are_refused(
    name: str, steps: list[dict[str, Any]], kinds: tuple[str, str], cut: int | None
) -> None:
    pytest.importorskip("h5py" if name == "minari" else "pyarrow")
    repo, other = Repository.init(":memory:"), Repository.init(":memory:")
    observe, act = (_NUMBERS[kind] for kind in kinds)
    for run in ["main", "branch"][: 1 if cut is None else 2]:
        if run == "branch":
            repo.branch("branch", f"main@{min(cut or 0, len(steps) - 1)}")
        with repo.recorder(run) as recorder:
            for i, step in enumerate(steps):
                rest = {k: v for k, v in step.items() if k != "no action"}
                if step["reset"]:
                    rest = {k: v for k, v in rest.items() if k in ("reset", "info", "message")}
                elif "no action" not in step:
                    rest["action"] = act(i)
                recorder.append(observe(i), **{"message": "m", **rest})
    with tempfile.TemporaryDirectory() as folder:
        names = [*repo.runs]
        try:
            write(repo, name, Path(folder) / "x", *names)
        except InvalidInput:
            return
        read(other, Path(folder) / "x")
    assert [other.runs[n].oid for n in names] == [repo.runs[n].oid for n in names]
