"""Names are what they were, and what an earlier version wrote opens for ever."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.objects.codec import decode_value
from simgit.objects.kinds import decode_object
from simgit.objects.oid import hash_object
from simgit.testing import reference

sys.path.insert(0, str(Path(__file__).parent))

import make_repository
import make_vectors
from make_vectors import plain

VECTORS: list[dict[str, Any]] = json.loads(make_vectors.FILE.read_text(encoding="utf-8"))
OBJECTS = [vector for vector in VECTORS if vector["kind"] != "chain"]
CHAINS = [vector for vector in VECTORS if vector["kind"] == "chain"]


def title(vector: dict[str, Any]) -> str:
    return f"{vector['kind']}: {vector['description']}"


def test_the_vectors_are_what_their_generator_makes() -> None:
    assert make_vectors.text() == make_vectors.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("vector", OBJECTS, ids=title)
def test_an_object_has_the_name_of_its_vector(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    assert hash_object(vector["kind"], payload).hex() == vector["oid"]
    assert reference.name(vector["kind"], payload).hex() == vector["oid"]
    assert decode_object(vector["kind"], payload).payload == payload


@pytest.mark.parametrize(
    "vector", [v for v in OBJECTS if v["kind"] in ("value", "array")], ids=title
)
def test_the_reference_encodes_a_value_as_its_vector_does(vector: dict[str, Any]) -> None:
    value, payload = plain(vector["input"]), bytes.fromhex(vector["payload"])
    if vector["kind"] == "array":
        assert reference.array_bytes(value) == payload
    else:
        assert reference.value_bytes(value) == payload
        assert reference.value_bytes(decode_value(payload)) == payload


@pytest.mark.parametrize("vector", CHAINS, ids=title)
def test_a_chain_has_the_names_of_its_vector(vector: dict[str, Any]) -> None:
    slow = reference.Chain()
    with Repository.init(":memory:") as repo, Repository.init(":memory:") as recorded:
        with recorded.recorder() as rec:
            for data, expected in zip(vector["input"], vector["states"], strict=True):
                state = plain(data)
                value = make_vectors.arguments(state)
                assert slow.commit(state).hex() == expected["oid"]
                assert slow.schema.payload().hex() == expected["schema"]
                assert repo.commit(**value).hex() == expected["oid"]
                assert repo.object(repo.resolve("main")).payload.hex() == expected["payload"]
                rec.append(**value)
        assert recorded.resolve("main") == repo.resolve("main")


Golden = tuple[Path, Any]


@pytest.fixture(params=make_repository.FORMATS, ids="format-{}".format)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """A copy of the repository of a format, and what has to be found in it."""
    target = tmp_path / ".simgit"
    shutil.copytree(make_repository.directory(request.param) / "simgit", target)
    for file in target.iterdir():
        file.chmod(0o644)
    assert (target / "format").read_text() == f"{request.param}\n"
    return tmp_path, make_repository.expected(request.param)


def test_a_repository_of_every_format_opens_with_all_that_is_in_it(golden: Golden) -> None:
    path, expected = golden
    with Repository.open(path) as repo:
        found = make_repository.found(repo)
        for part in expected:
            assert found[part] == expected[part], part
        assert not repo.fsck().problems
        assert (
            b"".join(repo.read_blob(repo.files("merged")["d/big.bin"])) == bytes(range(256)) * 1000
        )


@pytest.mark.slow
def test_a_repository_of_every_format_can_be_gone_on_with(golden: Golden) -> None:
    path, expected = golden
    with Repository.open(path) as repo:
        with repo.recorder("main") as rec:
            rec.append(np.zeros(4, np.float32), 1, 1.0)
        assert repo.resolve("main~1").hex() == expected["runs"]["main"][0]
        repo.gc()
        assert make_repository.found(repo)["states"] == expected["states"]
        assert not repo.fsck().problems


@pytest.mark.slow
def test_the_same_recorded_again_has_the_same_names() -> None:
    expected = make_repository.expected(1)
    with Repository.init(":memory:") as repo:
        make_repository.fill(repo)
        make_repository.fill_spaces(repo)
        found = make_repository.found(repo)
    for part in ("runs", "states", "log", "merge bases", "files", "attachments", "checkpoint"):
        assert found[part] == expected[part], part


def test_the_spaces_of_every_kind_are_recorded_in_the_newest_format() -> None:
    kinds = {type(space).__name__ for space, _ in make_repository.golden_env.KINDS.values()}
    assert kinds == {
        "Box", "Discrete", "MultiBinary", "MultiDiscrete", "Text", "Dict", "Tuple", "Sequence",
        "Graph", "OneOf",
    }  # fmt: skip
