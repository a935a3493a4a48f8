"""Golden files of other formats: written once, read by every later version with the same oids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgit import Repository
from tests.datasets.formats.cases import read
from tests.golden.make_formats import FILES, FOLDER

NEEDS = {
    "all.parquet": "pyarrow", "all.arrow": "pyarrow", "pole-minari": "h5py", "pole-lerobot": "pyarrow",
}  # fmt: skip
OIDS = json.loads((FOLDER / "oids.json").read_text())
LOSSY = ("all.csv", "pole.npz")
"""Files that have no types: of them every later version makes the same states."""


@pytest.mark.parametrize("name", [name for name in FILES if name not in LOSSY])
def test_a_golden_file_gives_its_oids(name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "numpy"))
    repo = Repository.init(":memory:")
    read(repo, FOLDER / name)
    assert {run: str(repo.runs[run].oid) for run in repo.runs} == OIDS[name]


@pytest.mark.parametrize("name", LOSSY)
def test_a_golden_file_without_types_gives_the_same_states(name: str) -> None:
    repo = Repository.init(":memory:")
    read(repo, FOLDER / name)
    found = {run: str(repo.runs[run].oid) for run in repo.runs}
    assert found == OIDS["read"][name]


def test_golden_files_are_small() -> None:
    sizes = {each: each.stat().st_size for each in Path(FOLDER).rglob("*") if each.is_file()}
    assert max(sizes.values()) <= 50 << 10
