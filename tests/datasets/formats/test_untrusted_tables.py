"""Parquet and Arrow files of strangers: damaged ones, and those that claim more than they have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import IntegrityError, InvalidInput, Repository
from simgit.datasets.formats import arrow_bounds
from simgit.datasets.formats.base import state_columns
from tests.datasets.formats.cases import episodes, read, write

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

_FLIPS = """
import struct, sys
from pathlib import Path
from simgit import Repository
from simgit.errors import SimgitError
from tests.datasets.formats.cases import read
path, work = Path(sys.argv[1]), Path(sys.argv[2])
data, found = path.read_bytes(), 0
size, = struct.unpack("<I", data[-8:-4])
for at in range(len(data) - 8 - size, len(data) - 8):
    for change in (1, 255):
        made = bytearray(data)
        made[at] = made[at] + change & 255
        work.write_bytes(made)
        try:
            read(Repository.init(":memory:"), work)
        except SimgitError:
            found += 1
print(found)
"""


@pytest.mark.slow
def test_no_byte_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    table = pa.table({"observation": [[1.0], [2.0, 3.0]], "message": ["a", None]})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    done = subprocess.run(
        [sys.executable, "-c", _FLIPS, str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def _observations(folder: Path) -> dict[str, str]:
    (folder / "t.parquet").rename(folder / "0.parquet")
    return {}


def _map(folder: Path) -> dict[str, str]:
    (folder / "map.toml").write_text('[columns]\nobservation = "observation"\n')
    return {"map": str(folder / "map.toml")}


def _frames(folder: Path) -> dict[str, str]:
    repo = Repository.init(":memory:")
    episodes(repo)
    write(repo, "lerobot", folder / "set", "main")
    (folder / "set/simgit.jsonl").unlink()
    (folder / "t.parquet").replace(folder / "set/data/chunk-000/file-000.parquet")
    return {}


@pytest.mark.parametrize("prepare", [None, _map, _observations, _frames])
@pytest.mark.parametrize("kind", ["group", "numbers", "texts", "page"])
def test_a_parquet_file_that_claims_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Any, kind: str
) -> None:
    count = 300_000
    column: Any = {
        "group": np.arange(count), "page": np.arange(3),
        "numbers": [np.zeros(count, np.int64)], "texts": [["a" * 100] * 20_000],
    }[kind]  # fmt: skip
    more = {"Observation Index": range(len(column)), "Query Num": [0] * len(column)}
    table = pa.table({"observation": column} | (more if prepare is _observations else {}))
    pq.write_table(table, tmp_path / "t.parquet", compression="none")
    monkeypatch.setattr(arrow_bounds, "_MAX_GROUP", 1 << 20)
    if kind == "page":
        monkeypatch.setattr(arrow_bounds, "_MAX_GROUP", 20)
    options = {} if prepare is None else prepare(tmp_path)
    path = next(p for n in ("t.parquet", "0.parquet", "set") if (p := tmp_path / n).exists())
    with pytest.raises(IntegrityError, match=r"1 GiB|too large"):
        read(Repository.init(":memory:"), path, **options)


_EMPTY = pa.nulls(1 << 30)
BOMBS = {
    "nulls": lambda: _EMPTY,
    "lists of nulls": lambda: pa.ListArray.from_arrays([0, len(_EMPTY)], _EMPTY),
    "fixed lists": lambda: pa.FixedSizeListArray.from_arrays(_EMPTY, len(_EMPTY) // 2),
    "views": lambda: pa.ListViewArray.from_arrays([0] * 9, [99] * 9, pa.array(np.zeros(99))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_arrow_values_that_have_no_bytes_are_refused(tmp_path: Path, name: str) -> None:
    table = pa.table({"observation": BOMBS[name]()})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as out:
        out.write_table(table)
    with pytest.raises((IntegrityError, InvalidInput), match=r"more values than|cannot be read"):
        read(Repository.init(":memory:"), tmp_path / "t.arrow")


def _write(table: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with pa.ipc.new_file(path, table.schema) as out:
        out.write_table(table)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_texts_that_are_not_utf8_are_refused(tmp_path: Path, name: str) -> None:
    text = pa.array([b"a\xff"]).view(pa.string())
    for column in (text, pa.StructArray.from_arrays([text], ["x"]), text.dictionary_encode()):
        _write(pa.table({"observation": column}), tmp_path / name)
        with pytest.raises(IntegrityError, match="UTF"):
            read(Repository.init(":memory:"), tmp_path / name)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_lists_and_tensors_of_numbers_are_arrays(tmp_path: Path, name: str) -> None:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(3, 2, 2))
    numbers = [[1, 2], None, []]
    _write(pa.table({"observation": tensor, "numbers": numbers, "bits": [[True]] * 3}),
           tmp_path / name)  # fmt: skip
    repo = Repository.init(":memory:")
    read(repo, tmp_path / name)
    np.testing.assert_array_equal(repo["t"].observations, np.arange(12.0).reshape(3, 2, 2))
    assert [None if v is None else list(v) for v in repo["t"].column("info.numbers")] == numbers
    assert repo["t"][1].info["bits"].dtype == bool


@pytest.mark.slow
def test_large_states_are_taken_a_few_at_once() -> None:
    small, large = {"observation": 1}, {"observation": {"x": [np.zeros(1 << 22, "u1")]}}
    assert [len(b["observation"]) for b in state_columns([small] * 5000)] == [4096, 904]
    assert max(len(b["observation"]) for b in state_columns([large] * 40)) <= 17
