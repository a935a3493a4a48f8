"""Bundles carry everything under its name, whole or not at all; nothing in them is believed."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit import FormatError, IntegrityError, InvalidInput, NotFound, Oid, Repository
from simgit.errors import SimgitError
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.files import write_trace_file
from simgit.kube.trace.sktrace import load_trace
from simgit.objects.compression import compress
from simgit.objects.kinds import KIND_CODES, Binding, Blob, Entry, Run, Schema, Tree
from simgit.odb.loose import encode_loose
from simgit.remotes.bundle import loading, read_manifest, records, verify
from simgit.remotes.bundle.records import RecordReader, RecordWriter
from simgit.testing.failpoints import arm, disarm
from tests.support.examples import share


def fill(repo: Repository) -> None:
    """Record something of every kind: forks, a merge, frames, files, checkpoints, large blobs."""
    rng = np.random.default_rng(0)
    config, spec = {"lr": 0.1, "net": {"layers": 2}}, {"id": "CartPole-v1"}
    with repo.recorder("main", config=config, spec=spec, seed=7) as rec:
        for i in range(2500):
            rec.append(np.float32([i, i / 3]), i % 4, float(i), i % 100 == 99, info={"n": str(i)})
    with repo.recorder("frames") as rec:
        for i in range(150):
            frame = (
                rng.integers(0, 9, (12, 12, 3), np.uint8)
                if i % 3
                else np.zeros((12, 12, 3), np.uint8)
            )
            rec.append({"frame": frame, "x": i}, i)
    repo.branch("try", "main@1000", overrides={"lr": 0.5})
    repo.branch("child", "try~200", overrides={"net.layers": 3}, seed=1)
    for run in ("try", "child"):
        for i in range(3):
            repo.commit({"y": i}, i, 1.0, run=run, message=f"{run} {i}")
    repo.commit({"m": 1}, run="try", parents=["child", "frames"], message="merge")
    repo.commit({"f": 1}, run="files", files={"a/b.py": b"print(1)\n", "big": rng.bytes(200_000)})
    for i in range(4):
        weights = np.arange(2000.0) * (1 + i / 100)
        repo.attach(
            f"main@{i * 500}", "agent", {"weights": weights, "step": i, "rng": rng.bytes(400)}
        )
    repo.attach("frames@10", "same", np.asarray(repo.state("frames@40").observation["frame"]))
    repo.tag("v1", "main@300", message="annotated")
    repo.tag("light", "child")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with Repository.init(tmp_path_factory.mktemp("source")) as repo:
        fill(repo)
        assert repo.fsck().is_clean
        yield repo


ALL = ("main", "frames", "try", "child", "files", "tags/v1", "light")


def bundled(repo: Repository, *refs: str, **options: Any) -> bytes:
    out = io.BytesIO()
    repo.create_bundle(out, refs or ALL, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def whole(source: Repository) -> bytes:
    return bundled(source)


def imported(data: bytes, into: Repository | None = None, **options: Any) -> Repository:
    repo = into or Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(data), **options)
    return repo


def contents(repo: Repository) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for info in repo.runs.values():
        found[info.name] = (info.oid, info.config, info.episodes, info.return_, info.parent)
        found[info.name] += (info.seed, info.branch_point, info.status, info.created)
    for name, (oid, tag) in repo.tags().items():
        found[f"tags/{name}"] = oid, tag
    for run, step in (("main", 0), ("main", 500), ("main", 1500), ("frames", 10)):
        state = f"{run}@{step}"
        found[f"attachments {state}"] = repo.attachments(state)
    return found


@pytest.mark.parametrize("collected", [False, True])
def test_what_is_imported_is_what_was_exported(
    source: Repository, tmp_path: Path, collected: bool
) -> None:
    with Repository.clone(source.directory or "", tmp_path / "clone") as repo:
        if collected:
            repo.gc()
        data = bundled(repo)
    with Repository.init(tmp_path / "new") as made:
        done = made.import_bundle(io.BytesIO(data))
        assert contents(made) == contents(source)
        assert made.fsck().is_clean
        assert done.states == source.fsck().states
        assert {outcome.what for outcome in done.refs.values()} == {"new"}
        assert np.array_equal(
            made.attachment("main@1500", "agent")["weights"], np.arange(2000.0) * 1.03
        )
        assert made.files("files") == source.files("files")
        frames = made.trajectory("frames").observations["frame"]
        assert np.array_equal(frames, source.trajectory("frames").observations["frame"])
        assert bundled(made) == data


def test_a_bundle_of_one_run_has_its_history_only(source: Repository) -> None:
    repo = imported(bundled(source, "child"))
    assert list(repo.runs) == ["child"]
    assert repo.resolve("child") == source.resolve("child")
    assert repo.config("child") == source.config("child")
    assert repo.fsck().is_clean
    # 801 states of main, 3 of its own, and those up to the branch point of the run it came from
    assert repo.fsck().states == 1001 + 3


def test_importing_again_stores_nothing(source: Repository, whole: bytes) -> None:
    repo = imported(whole)
    before = contents(repo)
    done = repo.import_bundle(io.BytesIO(whole))
    assert (done.states, done.objects, done.attachments) == (0, 0, [])
    assert {outcome.what for outcome in done.refs.values()} == {"unchanged"}
    assert contents(repo) == before


def test_an_incremental_bundle_has_what_is_new_and_needs_its_base(tmp_path: Path) -> None:
    with Repository.init(tmp_path) as repo:
        files = {"code.py": os.urandom(3000), "data": os.urandom(100_000)}
        for i in range(40):
            frame = np.full((20, 20), i, np.uint8)
            repo.commit({"f": frame}, i, run="main", files={**files, "n": b"%d" % i})
        first = bundled(repo, "main")
        base = str(repo.resolve("main"))
        for i in range(3):
            frame = np.full((20, 20), i, np.uint8)  # the receiver has it with another state
            repo.commit({"f": frame}, i, run="main", files={**files, "n": b"new %d" % i})
        second = bundled(repo, "main", exclude=[base])
        assert len(second) < 5000
        with pytest.raises(NotFound, match="builds on state"):
            imported(second)
        other = imported(first)
        done = other.import_bundle(io.BytesIO(second))
        assert done.refs["runs/main"].what == "forward"
        assert done.states == 3
        assert other.resolve("main") == repo.resolve("main")
        assert other.fsck().is_clean
        assert other.state("main").observation["f"][0, 0] == 2


def test_attachments_are_taken_along_as_asked(source: Repository) -> None:
    none = imported(bundled(source, "main", "frames", attachments=()))
    assert not none.attachments("main@500")
    some = imported(bundled(source, "main", "frames", attachments=["agent"]))
    assert list(some.attachments("main@500")) == ["agent"]
    assert not some.attachments("frames@10")
    assert none.fsck().is_clean
    assert some.fsck().is_clean


def test_names_get_a_prefix_or_another_name(source: Repository) -> None:
    repo = imported(bundled(source, "try", "main", "light"), prefix="ada/")
    assert list(repo.runs) == ["ada/main", "ada/try"]
    assert repo.runs["ada/try"].parent == "ada/main"
    assert list(repo.tags()) == ["ada/light"]
    assert list(imported(bundled(source, "try"), rename="mine").runs) == ["mine"]
    with pytest.raises(InvalidInput, match="2 runs"):
        imported(bundled(source, "try", "main"), rename="mine")
    with pytest.raises(InvalidInput, match="not a valid name"):
        imported(bundled(source, "try"), prefix="../")


def test_what_differs_is_kept_aside(source: Repository, whole: bytes) -> None:
    repo = Repository.init(":memory:")
    repo.commit(1, run="main")
    repo.commit(2, run="MAIN2")
    repo.tag("v1", "main")
    done = repo.import_bundle(io.BytesIO(whole))
    assert done.refs["runs/main"].name == "runs/main.conflict-1"
    assert done.refs["tags/v1"].what == "aside"
    assert repo.runs["main"].step == 0
    again = repo.import_bundle(io.BytesIO(whole))
    assert again.refs["runs/main"].name == "runs/main.conflict-1"
    assert "main.conflict-2" not in repo.runs
    state = str(repo.resolve("frames@10"))
    repo.attach(state, "same", b"other")
    third = repo.import_bundle(io.BytesIO(whole))
    assert third.attachments == ["same.conflict-1"]
    assert repo.attachment(state, "same") == b"other"
    assert repo.fsck().is_clean


def test_a_run_that_is_written_or_completed_is_not_moved(source: Repository) -> None:
    short, long = Repository.init(":memory:"), Repository.init(":memory:")
    for repo, count in ((short, 3), (long, 6)):
        for i in range(count):
            repo.commit(i)
    data = bundled(long, "main")
    with short.recorder("main"):
        assert short.import_bundle(io.BytesIO(data)).refs["runs/main"].what == "aside"
    short.delete_run("main.conflict-1")
    short.set_status("main", "completed")
    assert short.import_bundle(io.BytesIO(data)).refs["runs/main"].what == "aside"
    assert short.runs["main"].step == 2


def test_an_interrupted_import_leaves_refs_alone_and_is_gone_on_with(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 20_000)
    with Repository.init(tmp_path) as repo:
        stored = []
        for cut in (len(whole) // 3, len(whole) // 2, len(whole) - 1):
            with pytest.raises(IntegrityError, match="truncated"):
                imported(whole[:cut], repo)
            assert not repo.runs
            assert repo.fsck().is_clean
            stored.append(repo.fsck().states)
        assert 0 < stored[0] <= stored[1] <= stored[2]
        done = repo.import_bundle(io.BytesIO(whole))
        assert done.states < 100
        assert repo.runs["main"].step == 2499


def test_an_import_that_is_ended_anywhere_can_be_repeated(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 20_000)
    with Repository.init(tmp_path) as repo:
        for n in (1, 2, 3):
            arm(f"import.batch=raise@{n}")
            with pytest.raises(OSError, match="injected"):
                imported(whole, repo)
            disarm()
            assert not repo.runs
        arm("import.refs=raise")
        with pytest.raises(OSError, match="injected"):
            imported(whole, repo)
        disarm()
        assert not repo.runs
        imported(whole, repo)
        assert repo.fsck().is_clean


def test_a_bundle_is_read_from_a_pipe_in_small_pieces(whole: bytes) -> None:
    stream = io.BytesIO(whole)

    class Pipe(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return stream.read(min(size, 777))

    repo = Repository.init(":memory:")
    repo.import_bundle(Pipe())  # type: ignore[arg-type]
    assert repo.runs["main"].step == 2499


def test_a_device_or_pipe_is_written_to_and_never_replaced(
    source: Repository, tmp_path: Path
) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    info = source.create_bundle(pipe, ["main"])
    reader.join()
    assert pipe.is_fifo() and [each.name for each in tmp_path.iterdir()] == ["pipe"]
    assert info.bytes == len(got[0]) and verify(io.BytesIO(got[0]).read).states == 2500
    trace = generate("cpu-slight").trace
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_trace_file(pipe, trace)
    reader.join()
    assert pipe.is_fifo() and load_trace(got[1]) == trace


def test_a_file_is_there_whole_or_not_at_all(source: Repository, tmp_path: Path) -> None:
    path = tmp_path / "all.bundle"
    with pytest.raises(NotFound, match="must be a run or a tag"):
        source.create_bundle(path, ["main", "nothing"])
    assert list(tmp_path.iterdir()) == []
    info = source.create_bundle(path, ["main"])
    assert [each.name for each in tmp_path.iterdir()] == ["all.bundle"]
    assert path.stat().st_size == info.bytes
    assert info.states == 2500
    repo = Repository.init(":memory:")
    repo.import_bundle(path)
    assert repo.resolve("main") == source.resolve("main")
    with pytest.raises(NotFound, match="not found"):
        repo.import_bundle(tmp_path / "none")


def test_an_empty_run_is_carried_too() -> None:
    repo = Repository.init(":memory:")
    repo.recorder("empty", config={"a": 1}).close()
    other = imported(bundled(repo, "empty"))
    assert other.runs["empty"].oid is None
    assert other.config("empty") == {"a": 1}


def test_verify_reads_all_and_list_the_beginning(source: Repository, whole: bytes) -> None:
    found = verify(io.BytesIO(whole).read)
    assert found.states == source.fsck().states
    assert found.bytes == len(whole)
    manifest = read_manifest(io.BytesIO(whole[:2000]).read)
    assert manifest.refs["runs/main"] == source.resolve("main")


# --- damage and lies --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> bytes:
    repo = Repository.init(":memory:")
    for i in range(3):
        repo.commit({"f": np.full((20, 20), i, np.uint8), "i": i}, i, files={"n": b"%d" % i})
    repo.attach("main", "agent", {"w": np.arange(100.0)})
    repo.tag("v1", "main", message="annotated")
    return bundled(repo, "main", "v1")


def refused(data: bytes, match: str = ".") -> None:
    repo = Repository.init(":memory:")
    with pytest.raises((IntegrityError, FormatError), match=match):
        imported(data, repo)
    assert not repo.runs
    assert not repo.tags()


def test_what_reads_a_bundle_says_how_many_states_it_has_read(whole: bytes) -> None:
    told: list[int] = []
    count = verify(io.BytesIO(whole).read, progress=told.append).states
    assert told == sorted(set(told)) and told[-1] == count and len(told) > 3
    repo = Repository.init(":memory:")
    for _ in range(2):  # the second passes over what is there
        again: list[int] = []
        repo.import_bundle(io.BytesIO(whole), progress=again.append)
        assert again == told


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(small: bytes) -> None:
    for at in range(0, 8 * len(small), 31):
        damaged = bytearray(small)
        damaged[at // 8] ^= 1 << at % 8
        refused(bytes(damaged))
        with pytest.raises((IntegrityError, FormatError)):
            verify(io.BytesIO(damaged).read)


def test_every_cut_is_noticed(small: bytes) -> None:
    for length in range(0, len(small), 13):
        refused(small[:length])
    refused(small + b"x", "bytes after its end")


def parts(data: bytes) -> list[tuple[int, bytes]]:
    return list(RecordReader(io.BytesIO(data).read))


def joined(found: list[tuple[int, bytes]]) -> bytes:
    out = io.BytesIO()
    writer = RecordWriter(out.write)
    for kind, body in found:
        writer.put(kind, body)
    writer.finish()
    return out.getvalue()


def test_records_left_out_repeated_or_moved_are_refused_or_harmless(small: bytes) -> None:
    found = parts(small)
    whole = contents_of(imported(small))
    for i in range(len(found)):
        attempt(imported, joined(found[:i] + found[i + 1 :]))
        doubled = joined([*found[: i + 1], *found[i:]])
        if i == 0:
            refused(doubled, "misplaced")
        else:
            assert contents_of(imported(doubled)) == whole
    refused(joined(found[1:]), "begin")
    refused(joined([found[0], *found[:0:-1]]), "missing")


def contents_of(repo: Repository) -> Any:
    assert repo.fsck().is_clean
    return repo.resolve("main"), repo.attachments("main"), repo.tags()


def crafted(*found: tuple[int, bytes], runs: dict[str, Any] | None = None) -> bytes:
    from simgit.objects.codec import encode_value

    manifest = {"prerequisites": [], "runs": runs or {}, "tags": {}, "attachments": None}
    return joined([(records.MANIFEST, encode_value(manifest)), *found])


def thing(named: Any) -> tuple[int, bytes]:
    kind = "schema" if isinstance(named, Schema) else named.kind
    return records.OBJECT, bytes(named.oid) + encode_loose(kind, named.payload)


OTHER = Oid(bytes(range(32)))
HEAD = struct.Struct("<BBQ")
BOMB = compress(bytes(1 << 26))
LIES = {
    "a name": (records.OBJECT, OTHER + thing(Blob(b"x"))[1][32:]),
    "no size": (records.OBJECT, OTHER + b"\1"),
    "a kind": (records.OBJECT, OTHER + HEAD.pack(99, 0, 1) + b"x"),
    "an encoding": (records.OBJECT, OTHER + HEAD.pack(1, 0x81, 16) + bytes(16)),
    "chunks": (records.OBJECT, OTHER + HEAD.pack(1, 2, 1 << 40) + bytes(36)),
    "a size": (records.OBJECT, OTHER + HEAD.pack(1, 1, 1 << 40) + BOMB),
    "another size": (records.OBJECT, OTHER + HEAD.pack(1, 1, 5) + BOMB),
    "a bomb of an array": (records.OBJECT, OTHER + HEAD.pack(2, 5, 1 << 30) + BOMB),
    "a base": (records.OBJECT, OTHER + HEAD.pack(2, 6, 100) + OTHER + b"\1" + bytes(70)),
    "a base that is itself": (records.OBJECT, OTHER + HEAD.pack(2, 6, 40) + OTHER + bytes(7)),
    "a tree of what is missing": thing(Tree((Entry("a", "blob", OTHER),))),
    "a run whose parent is missing": thing(Run({}, OTHER)),
    "a run whose branch point is missing": thing(Run({}, None, OTHER)),
    "a binding of nothing": thing(Binding(OTHER, "blob", OTHER, "x")),
    "a blob without pieces": (records.BLOB, OTHER + struct.pack("<Q", 100)),
    "a piece without a blob": (records.PIECE, struct.pack("<BI", 0, 1) + b"x"),
    "states of nothing": (records.STATES, b""),
    "states of no schema": (records.STATES, b"\0" + bytes(64) + bytes(36)),
    "states without rows": (records.STATES, b"\0" + bytes(32) + Schema().oid + bytes(36)),
    "too many states": (records.STATES, b"\0" + bytes(64) + bytes(32) + b"\xff" * 4),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(name: str) -> None:
    refused(crafted(LIES[name]))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a\0b", "", "HEAD", "a//b", ".hidden", "x" * 300, "a\nb", "-f"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    record = {"oid": None, "record": bytes(Run().oid), "status": "active", "created": 0}
    runs = {name: record | {"ended": None, "parent": None}}
    refused(crafted(thing(Run()), runs=runs), "not a valid name|damaged")


def test_a_file_whose_name_leads_elsewhere_is_never_written(tmp_path: Path) -> None:
    repo = Repository.init(":memory:")
    blob = Blob(b"evil")
    tree = Tree((Entry("../evil", "blob", blob.oid),))
    with repo.odb.write() as txn:
        repo.odb.put(txn, blob)
        repo.odb.put(txn, tree)
    repo.commit(1, files=tree.oid)
    with Repository.init(tmp_path / "work") as other, pytest.raises(SimgitError):
        imported(bundled(repo, "main"), other)
        other.checkout("main")
    assert not (tmp_path / "evil").exists()


def test_a_blob_of_other_bytes_than_its_name_says_is_refused() -> None:
    size = struct.pack("<Q", 3)
    piece = records.PIECE, struct.pack("<BI", 0, 3) + b"abc"
    refused(crafted((records.BLOB, OTHER + size), piece), "hash mismatch in the bundle: blob")
    name = blake3(b"blob 3\0abc").digest()
    longer = records.PIECE, struct.pack("<BI", 0, 4) + b"abcd"
    refused(crafted((records.BLOB, name + size), longer), "more bytes")
    bomb = records.PIECE, struct.pack("<BI", 1, 3) + BOMB
    refused(crafted((records.BLOB, name + size), bomb), "does not declare 3 bytes")
    assert imported(crafted((records.BLOB, name + size), piece)).odb


@pytest.mark.parametrize("kind", ["blob", "tree", "schema", "spec", "run", "binding", "tag"])
def test_an_object_whose_kind_is_damaged_goes_into_no_bundle(tmp_path: Path, kind: str) -> None:
    with Repository.init(tmp_path) as repo:
        repo.commit({"x": 1.0}, run="main", files={"a": b"a"})
        repo.attach("main", "note", {"v": 1})
        repo.tag("t", "main", message="annotated")
        with repo.odb.storage.write() as txn:
            found = ((k, v) for k, v in txn.scan("objects") if v[0] == KIND_CODES[kind])
            oid, value = next(found)
            txn.put("objects", oid, b"\x63" + value[1:])
        with pytest.raises(IntegrityError, match=oid.hex()):
            repo.create_bundle(tmp_path / "bundle", ["main", "t"])


@pytest.mark.parametrize("size", [1 << 62, (1 << 64) - 1, 1 << 33, 100])
@pytest.mark.parametrize("kind", range(7))
def test_a_length_that_lies_costs_no_memory(size: int, kind: int) -> None:
    import tracemalloc

    data = crafted()[:-65] + struct.pack("<BQ", kind, size) + b"x" * 50
    tracemalloc.start()
    try:
        refused(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_objects_larger_than_what_is_allowed_are_refused_before_they_are_inflated() -> None:
    bomb = thing(Blob(bytes(1 << 26)))
    data = crafted(bomb)
    assert len(data) < 1 << 14
    repo = Repository.init(":memory:")
    with pytest.raises(IntegrityError, match="too many"):
        imported(data, repo, max_object=1 << 20)


def test_a_bundle_of_a_newer_version_says_so() -> None:
    refused(b"simgit bundle 7\n" + bytes(100), "newer simgit")
    refused(b"# v2 git bundle\n" + bytes(100), "not a bundle")


@given(st.data())
def test_damaged_records_with_right_checksums_raise_our_errors_only(data: st.DataObject) -> None:
    found = parts(SMALL())
    i = data.draw(st.integers(0, len(found) - 1))
    body = bytearray(found[i][1])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        if data.draw(st.booleans()):
            body[at : at + 1] = data.draw(st.binary(max_size=3))
        else:
            extreme = data.draw(st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 8]))
            body[at : at + len(extreme)] = extreme
    found[i] = found[i][0], bytes(body)
    for call in (lambda d: imported(d), lambda d: verify(io.BytesIO(d).read)):
        attempt(call, joined(found))


def attempt(call: Callable[[bytes], Any], data: bytes) -> None:
    try:
        made = call(data)
    except (IntegrityError, FormatError):
        return
    if isinstance(made, Repository):
        assert made.fsck().is_clean


def SMALL() -> bytes:  # noqa: N802
    if not _SMALL:
        repo = Repository.init(":memory:")
        for i in range(3):
            frame = np.full((20, 20), i, np.uint8)
            repo.commit({"f": frame, "s": str(i), "b": True}, i, files={"n": b"%d" % i})
        repo.attach("main", "agent", {"w": np.arange(100.0)})
        repo.tag("v1", "main", message="annotated")
        _SMALL.append(bundled(repo, "main", "v1"))
    return _SMALL[0]


_SMALL: list[bytes] = []


@settings(max_examples=share(30))
@given(st.data())
def test_any_history_comes_through_a_bundle_under_the_same_names(data: st.DataObject) -> None:
    repo = Repository.init(":memory:")
    runs = ["r0"]
    for i in range(data.draw(st.integers(1, 25))):
        run = data.draw(st.sampled_from(runs))
        what = data.draw(
            st.sampled_from(["commit", "commit", "array", "branch", "merge", "attach"])
        )
        if what == "branch" and run in repo.runs:
            runs.append(f"r{len(runs)}")
            back = data.draw(st.integers(0, repo.runs[run].step or 0))
            repo.branch(runs[-1], f"{run}~{back}", overrides={"i": i})
        elif what == "attach" and run in repo.runs:
            repo.attach(run, data.draw(st.sampled_from("ab")), {"w": np.arange(50.0) + i % 3})
        elif what == "merge" and len(runs) > 1 and run in repo.runs:
            other = data.draw(st.sampled_from(runs))
            if other in repo.runs and repo.resolve(other) != repo.resolve(run):
                repo.commit({"m": i}, run=run, parents=[other])
        else:
            value: Any = np.full((20, 20), i % 3, np.uint8) if what == "array" else i % 4
            repo.commit({"v": value} if i % 2 else value, i % 3, float(i), run=run)
    names = list(repo.runs)
    made = imported(bundled(repo, *names))
    assert {n: made.resolve(n) for n in names} == {n: repo.resolve(n) for n in names}
    assert {n: made.config(n) for n in names} == {n: repo.config(n) for n in names}
    assert {n: made.attachments(n) for n in names} == {n: repo.attachments(n) for n in names}
    assert made.fsck().is_clean
    # what was there at some state, then the rest
    base = data.draw(st.sampled_from(names))
    half = imported(bundled(repo, base))
    rest = imported(bundled(repo, *names, exclude=[base]), half)
    assert {n: rest.resolve(n) for n in names} == {n: repo.resolve(n) for n in names}
    assert rest.fsck().is_clean
