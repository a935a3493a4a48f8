"""Bundles with right checksums and wrong contents: circles of runs, numbers that none writes."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest

from simgit import FormatError, IntegrityError, InvalidInput, NotFound, Repository
from simgit.analysis import tree
from simgit.objects.codec import decode_value, encode_value
from simgit.refs.records import pack_ref, unpack_ref
from simgit.remotes.bundle import records, verify
from simgit.remotes.bundle.manifest import Manifest
from tests.remotes.test_bundle import joined, parts
from tests.support.cost import at_most
from tests.support.examples import share

ALLOWED: Final = (IntegrityError, FormatError, NotFound, InvalidInput)
NUMBERS: Final = (0, 1, 255, 1 << 31, (1 << 32) - 1, (1 << 62) - 1, 1 << 63, (1 << 64) - 1)


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A bundle with a record of each kind."""
    repo = Repository.init(":memory:")
    for run in ("a", "b", "c"):
        with repo.recorder(run) as rec:
            for i in range(70):
                image = np.full((16, 20), i % 7, np.uint8)
                rec.append({"x": float(i), "image": image}, i, 1.0, info={"text": run * i})
    repo.branch("d", "c@20")
    repo.commit({"x": 1}, run="d", parents=["a"])
    repo.tag("v", "a@5", message="annotated")
    repo.attach("a", "w", {"w": np.arange(999.0)})
    repo.attach("a~1", "w", {"w": np.arange(999.0) + 1})
    repo.attach("b", "file", bytes(range(256)) * 1000)
    repo.attach("c", "value", {"a": [1, 2, {"b": None}]})
    out = io.BytesIO()
    repo.create_bundle(out, ["a", "b", "c", "d", "tags/v"])
    return out.getvalue()


def with_parents(data: bytes, parents: dict[str, str | None]) -> bytes:
    """Return a bundle whose runs name other parents."""
    (kind, body), *rest = parts(data)
    manifest = decode_value(body)
    for name, parent in parents.items():
        manifest["runs"][name]["parent"] = parent
    return joined([(kind, encode_value(manifest)), *rest])


@pytest.mark.parametrize("parents", [
    {"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}, {"d": "c", "c": "d"},
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"prefix": "x/"}])
def test_runs_that_are_each_others_parent_are_refused(
    whole: bytes, parents: dict[str, str | None], options: dict[str, Any]
) -> None:
    data = with_parents(whole, parents)
    with pytest.raises(IntegrityError, match="own ancestor"):
        verify(io.BytesIO(data).read)
    repo = Repository.init(":memory:")
    with pytest.raises(IntegrityError, match="own ancestor"):
        repo.import_bundle(io.BytesIO(data), **options)
    assert not repo.runs


def test_a_circle_with_the_runs_that_are_there_is_refused(whole: bytes) -> None:
    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(whole), prefix="x/")
    repo.delete_run("x/a", force=True)
    set_parents(repo, {"x/b": "x/a"})  # a name that no run has any more
    with pytest.raises(IntegrityError, match="own ancestor"):
        repo.import_bundle(io.BytesIO(with_parents(whole, {"a": "b"})), prefix="x/")
    assert "x/a" not in repo.runs and len(repo.lineage("x/b")) == 1


def set_parents(repo: Repository, parents: dict[str, str | None]) -> None:
    with repo.odb.storage.write() as txn:
        for name, parent in parents.items():
            key = f"runs/{name}".encode()
            record = unpack_ref(txn.get("refs", key) or b"")
            txn.put("refs", key, pack_ref(record | {"parent": parent}))


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"d": "c", "c": "d"}])
def test_a_store_with_such_runs_is_found_out_and_reading_ends(
    whole: bytes, parents: dict[str, str | None]
) -> None:
    from simgit.gym.restoring.reseeding import reseeds

    repo = Repository.init(":memory:")
    repo.import_bundle(io.BytesIO(whole))
    set_parents(repo, parents)
    with at_most(3_000_000):
        assert any("own ancestor" in problem.what for problem in repo.fsck().problems)
    with at_most(200_000):
        for read in (repo.lineage, lambda _: tree(repo)):
            with pytest.raises(IntegrityError, match="own ancestor"):
                read(next(iter(parents)))
        for name in repo.runs:
            reseeds(repo, repo.resolve(name), name)


def test_lineages_and_trees_may_be_deep() -> None:
    repo = Repository.init(":memory:")
    repo.commit(0, run="r0")
    for i in range(1200):
        repo.branch(f"r{i + 1}", f"r{i}")
    assert len(repo.lineage("r1200")) == 1201
    assert [node.depth for node in tree(repo)][-1] == 1200


# --- numbers --------------------------------------------------------------------------------------


def numbers_in(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(record, dict):
        for name, value in record.items():
            yield from numbers_in(value, (*path, name))
    elif type(record) is int:
        yield path


@pytest.mark.parametrize(
    "number", [-(1 << 63) - 1, -1, 1 << 63, 1 << 64, 1 << 20000], ids=lambda n: n.bit_length()
)
def test_times_out_of_range_are_refused(whole: bytes, number: int) -> None:
    (kind, body), *rest = parts(whole)
    manifest = decode_value(body)
    manifest["runs"]["a"]["created"] = number
    data = joined([(kind, encode_value(manifest)), *rest])
    repo = Repository.init(":memory:")
    if number == -1:  # a clock before 1970
        repo.import_bundle(io.BytesIO(data))
        assert repo.fsck().is_clean and repo.runs["a"].created == -1
        return
    with pytest.raises(IntegrityError):
        repo.import_bundle(io.BytesIO(data))
    assert not repo.runs


def ends_well(data: bytes) -> None:
    """Check that a bundle is refused, or leaves a store that is whole."""
    for read in (lambda d: verify(io.BytesIO(d).read), imported):
        try:
            read(data)
        except ALLOWED:
            continue


def imported(data: bytes) -> None:
    repo = Repository.init(":memory:")
    try:
        repo.import_bundle(io.BytesIO(data))
    finally:
        assert repo.fsck().is_clean
        for run in repo.runs:
            assert len(repo.trajectory(run)) == len(list(repo.log(run))) or run == "d"
            repo.lineage(run)
            repo.stats()


@pytest.mark.parametrize("kind", ["MANIFEST", "OBJECT", "BLOB", "PIECE", "STATES"])
def test_a_number_anywhere_in_a_record(kind: str, whole: bytes, seed: int) -> None:
    found = parts(whole)
    rng = random.Random(seed)
    of_kind = [i for i, (each, _) in enumerate(found) if each == getattr(records, kind)]
    if not of_kind:
        pytest.skip("no record of this kind")
    for _ in range(share(60)):
        i = rng.choice(of_kind)
        body = found[i][1]
        width = rng.choice((1, 2, 4, 8))
        at = rng.randrange(max(1, min(len(body), 400) - width))
        order: Any = rng.choice(["big", "little"])
        number = rng.choice(NUMBERS) % (1 << 8 * width)
        new = body[:at] + number.to_bytes(width, order) + body[at + width :]
        ends_well(joined([*found[:i], (found[i][0], new), *found[i + 1 :]]))


def test_the_manifest_says_what_is_wrong() -> None:
    record = {"prerequisites": [], "runs": {}, "tags": {}, "attachments": None}
    assert Manifest.decode(encode_value(record)).runs == {}
    changed: Callable[[Any], bytes] = lambda runs: encode_value(record | {"runs": runs})  # noqa: E731
    for runs in ([], {"a": 1}, {"a": {"oid": 1}}, {1: {}}):
        with pytest.raises(IntegrityError):
            Manifest.decode(changed(runs))
