"""Traces: version 2 arrives byte by byte, version 1 is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack
import pytest

from simgit import Repository
from simgit.errors import InvalidInput
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.files import encode_trace
from tests.datasets.earlier.importing import bring, outcomes

OLD = {
    "version": 1, "metadata": {"description": "Synthetic trace #0001"},
    "events": [{"ts": 1, "applied_objs": [], "deleted_objs": []}],
}  # fmt: skip


@pytest.fixture
def repo() -> Repository:
    return Repository.init(":memory:")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "traces"
    place.mkdir()
    (place / "trace-0001.msgpack").write_bytes(msgpack.packb(OLD))
    (place / "trace-0001.json").write_text(json.dumps(OLD))
    (place / "array.msgpack").write_bytes(msgpack.packb([{}, [{"ts": 1}], {}, {}]))
    trace = generate("cpu-slight").trace
    (place / "good.msgpack").write_bytes(encode_trace(trace, ".msgpack"))
    (place / "text.json").write_bytes(encode_trace(trace, ".json"))
    return place


def test_a_folder_of_both(repo: Repository, folder: Path) -> None:
    done = bring(repo, folder, "trace")
    assert outcomes(done) == {"runs/traces/good": "new", "runs/traces/text": "new"}
    assert repo.attachment("traces/good", "trace") == (folder / "good.msgpack").read_bytes()
    assert repo.state("traces/good").info["events"] > 0
    assert len(done.notes) == 2
    assert all("version 1 is readable only by SimKube 1.1.1 and before" in n for n in done.notes)


def test_traces_that_look_alike_stay_apart(repo: Repository, folder: Path) -> None:
    """Of one name, with as many events at the same times; and names that become the same."""
    data = (folder / "text.json").read_bytes()
    for number, content in enumerate((data, data + b"\n")):
        place = folder / str(number) / "same.json"
        place.parent.mkdir()
        place.write_bytes(content)
        done = bring(repo, place, "trace")
        (run,) = (ref.name.removeprefix("runs/") for ref in done.refs.values())
        assert repo.attachment(run, "trace") == content
    several = folder / "several"
    several.mkdir()
    for name in ("a b", "a~b", "a^b"):
        (several / f"{name}.json").write_bytes(data)
    done = bring(repo, several, "trace")
    assert set(done.refs) == {"runs/traces/a-b", "runs/traces/a-b.2", "runs/traces/a-b.3"}


@pytest.mark.parametrize("name", ["trace-0001.msgpack", "trace-0001.json", "array.msgpack"])
def test_version_1_is_refused_with_the_reason(repo: Repository, folder: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="version 1 is readable only by SimKube"):
        bring(repo, folder / name, "trace")
    assert not repo.runs
