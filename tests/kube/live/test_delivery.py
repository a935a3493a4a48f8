"""Traces are put where SimKube's driver finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.live.cleanup import Created
from simgit.kube.live.delivery import SKIP_MOUNT, TracePlace
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.sktrace import load_trace

TRACE = generate("cpu-slight").trace


@pytest.mark.parametrize(
    ("text", "local", "node", "mounted"),
    [
        ("/data", "/data", "/data", False),
        ("file:///data", "/data", "/data", False),
        ("/home/me/kind:/data/", "/home/me/kind", "/data", False),
        ("/home/me/kind:/data:mounted", "/home/me/kind", "/data", True),
    ],
)
def test_a_place_is_read(text: str, local: str, node: str, mounted: bool) -> None:
    place = TracePlace.of(text)
    assert (str(place.local), place.node, place.mounted) == (local, node, mounted)
    assert place.annotations() == ({SKIP_MOUNT: "true"} if mounted else {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the driver simkube needs cluster.trace_path, a directory"),
        ("s3://bucket/traces", "traces cannot be put on s3:// yet"),
        ("gs://bucket", "traces cannot be put on gs:// yet"),
        ("traces", "cluster.trace_path must be absolute, got 'traces'"),
        ("/a:b", "cluster.trace_path must be absolute, got 'b'"),
        ("/a:/b:mount", "DIR[:DIR-ON-NODE[:mounted]], got '/a:/b:mount'"),
    ],
)
def test_a_bad_place_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        TracePlace.of(text)
    assert told in str(caught.value)


def test_a_trace_is_there_while_the_block_lasts(tmp_path: Path) -> None:
    created = Created(None, "http://here")
    with TracePlace.of(f"{tmp_path}:/data").delivered(TRACE, created) as url:
        [path] = tmp_path.iterdir()
        assert url == f"file:///data/{path.name}"
        assert [each["path"] for each in created.entries()] == [f"file://{path}"]
        assert load_trace(path.read_bytes()) == TRACE
        assert path.stat().st_mode & 0o444 == 0o444
        # another cluster's session may deliver the same trace in the same directory
        with TracePlace.of(str(tmp_path)).delivered(TRACE, Created(None, "http://there")):
            assert len(list(tmp_path.iterdir())) == 2
        assert path.exists()
    assert list(tmp_path.iterdir()) == []
    assert created.entries() == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no directory"):
        TracePlace.of(f"{tmp_path}/none").check()
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match="no directory"),
        TracePlace.of(f"{tmp_path}/file").delivered(TRACE, Created(None, "http://here")),
    ):
        pass
