"""Reading: what --json prints, conditional requests, pages, formats."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from simgit import Repository
from simgit.cli.root import cli
from tests.support.web import Client

LISTS: dict[str, tuple[str, ...]] = {
    "runs": ("run", "list"), "runs?where=return > 3&sort=-return": ("run", "list", "--where", "return > 3", "--sort", "-return"),
    "runs?columns=name,config.lr,created": ("run", "list", "--columns", "name,config.lr,created"),
    "best": ("run", "best"), "lineage/sweep/1": ("lineage", "sweep/1"),
    "children/main@3": ("children", "main@3"), "leaves": ("leaves",), "tags": ("tag",),
    "reflog/main": ("reflog", "main"), "operations": ("op", "log"),
    "log/main": ("log", "main"), "log/main@1..sweep/1": ("log", "main@1..sweep/1"),
    "log/main...sweep/1": ("log", "main...sweep/1"), "log": ("log", "--all"),
    "log/main?where=reward > 0 and step > 2": ("log", "main", "--where", "reward > 0 and step > 2"),
    "outline": ("log", "--simplify", "--all"), "episodes/main": ("log", "--episodes", "main"),
    "resolve/main@1..main": ("rev-parse", "main@1..main"), "merge-base?a=main&b=sweep/1": ("merge-base", "main", "sweep/1"),
    "attachments/main@2": ("attachments", "main@2"),
}  # fmt: skip
ONES: dict[str, tuple[str, ...]] = {
    "runs/sweep/1": ("run", "show", "sweep/1"), "config/sweep/1": ("config", "sweep/1"),
    "config/sweep/1?own=true": ("config", "sweep/1", "--own"), "settings": ("config", "--repository"),
    "diff?a=main&b=sweep/1": ("diff", "main", "sweep/1"), "diff?a=main@1&b=main@2": ("diff", "main@1", "main@2"),
    "diff?a=main&b=sweep/1&kind=config": ("diff", "--config", "main", "sweep/1"),
    "diff?a=main&b=sweep/1&kind=states": ("diff", "--states", "main", "sweep/1"),
    "changes/@": ("op", "show", "@"), "changes/1": ("op", "show", "1"), "stats": ("stats",),
    "attachments/main@2?name=vec": ("attachments", "main@2", "vec"), "bisect?a=main&b=sweep/1": ("bisect", "main", "sweep/1"),
    "merge-base?a=main@1&b=sweep/1&is_ancestor=true": ("merge-base", "--is-ancestor", "main@1", "sweep/1"),
}  # fmt: skip


def printed(repo: Repository, *words: str) -> list[Any]:
    """Return the documents that a command prints with --json."""
    found = CliRunner().invoke(
        cli, ["-C", str(repo.worktree), *words, "--json"], standalone_mode=False
    )
    assert found.exception is None, found
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_what_the_command_prints(client: Client, path: str) -> None:
    found = client.json(path)
    assert found == printed(client.repo, *LISTS[path])
    assert found


@pytest.mark.parametrize("path", ONES)
def test_a_record_is_what_the_command_prints(client: Client, path: str) -> None:
    assert [client.json(path)] == printed(client.repo, *ONES[path])


def test_a_state_by_oid_is_what_show_prints_of_it(client: Client) -> None:
    oid = client.repo.resolve("main@4").hex()
    assert [client.json(f"states/{oid}")] == printed(client.repo, "show", oid)
    assert client.json(f"states/{oid}") == client.json("states/main@4")
    assert [*client.json("states/main@4?field=reward")] == ["oid", "step", "reward"]
    assert client.json("parents/main@4")[0]["step"] == 3


@pytest.mark.parametrize("noun", ["states", "parents", "files", "columns"])
def test_an_oid_is_answered_for_ever_and_a_name_with_its_address(client: Client, noun: str) -> None:
    oid = client.repo.resolve("main@4").hex()
    query = "?field=reward" if noun == "columns" else ""
    by_oid, by_name = client.get(f"{noun}/{oid}{query}"), client.get(f"{noun}/main@4{query}")
    assert by_oid.headers["etag"] == by_name.headers["etag"] == f'"{oid}"'
    assert "immutable" in by_oid.headers["cache-control"]
    assert "no-cache" in by_name.headers["cache-control"]
    assert by_name.headers["content-location"] == f"/v1/{noun}/{oid}{query}"
    assert by_name.content == by_oid.content
    for path in (f"{noun}/{oid}{query}", f"{noun}/main@4{query}"):
        again = client.get(path, headers={"If-None-Match": f'"{oid}"'})
        assert (again.status_code, again.content) == (304, b"")
    client.repo.commit([1.0, 1.0], 1, 1.0, run="main")
    moved = client.get(f"{noun}/main{query}", headers={"If-None-Match": f'"{oid}"'})
    assert moved.status_code == 200


def test_what_changes_costs_a_304_until_it_does(client: Client) -> None:
    for path, change in (
        ("runs", lambda: client.repo.set_status("main", "paused")),
        ("runs/main", lambda: client.repo.configure("main", {"x": 1})),
        ("tags", lambda: client.repo.delete_tag("v1")),
    ):
        tag = client.get(path).headers["etag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
        change()
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [("runs?limit=1", "name"), ("log/main?limit=2", "oid"), ("log?limit=3", "oid"),
     ("log/main...sweep/1?limit=1", "oid"), ("log/main?where=step != 2&limit=2", "oid"),
     ("operations?limit=3", "number"), ("leaves?limit=1", "oid"), ("episodes/main?limit=1", "episode"),
     ("reflog/main?limit=1", "index"), ("media/main?limit=1", "name"), ("runs?sort=-return&limit=1", "name")],
)  # fmt: skip
def test_pages_join_to_the_whole(client: Client, path: str, name: str) -> None:
    whole = client.json(re.sub(r"limit=\d", "limit=1000", path))
    found, here = [], path
    for _ in range(20):
        answer = client.get(here)
        found += answer.json()
        link = answer.headers.get("link")
        if link is None:
            break
        match = re.fullmatch(r'</v1/(.*)>; rel="next"', link)
        assert match is not None
        here = match[1]
    assert found == whole
    assert len(found) == len({str(each) for each in found})


def test_a_log_has_whole_states_where_they_are_asked_for(client: Client) -> None:
    lines = client.json("log/main?limit=3&where=step >= 0")
    found = client.json("log/main?limit=3&where=step >= 0&whole=true")
    assert found == [client.json(f"states/{each['oid']}") for each in lines]


def test_pages_do_not_shift_when_states_are_added(client: Client) -> None:
    whole = client.json("log/main?limit=1000")
    first = client.get("log/main?limit=2")
    client.repo.commit([1.0, 1.0], 1, 1.0, run="main")
    rest = client.json(f"log/main?limit=1000&after={first.json()[-1]['oid']}")
    assert first.json() + rest == whole


def test_a_cursor_that_is_not_in_the_list_is_refused(client: Client) -> None:
    oid = client.repo.resolve("sweep/1").hex()
    assert client.get(f"log/main?after={oid}").status_code == 404
    assert client.get("runs?after=none").status_code == 422
    assert client.get("log/main?limit=1001").status_code == 422


def test_groups_say_which_runs_have_a_value(client: Client) -> None:
    assert client.json("runs?group=config.lr") == [
        {"value": 0.1, "count": 1, "runs": ["main"]}, {"value": 0.2, "count": 1, "runs": ["sweep/1"]},
    ]  # fmt: skip


# --- columns ------------------------------------------------------------------------------------


def _npz(data: bytes) -> dict[str, Any]:
    return dict(np.load(io.BytesIO(data)))


READ: dict[str, Callable[[bytes], list[Any]]] = {
    "application/json": lambda data: json.loads(data)["reward"],
    "application/x-ndjson": lambda data: [json.loads(line)["reward"] for line in data.splitlines()],
    "application/zip": lambda data: np.ma.array(_npz(data)["reward"], mask=_npz(data)["reward.mask"]).tolist(),
    "application/vnd.apache.arrow.stream": lambda data: pa.ipc.open_stream(data).read_all()["reward"].to_pylist(),
}  # fmt: skip


@pytest.mark.parametrize("media", READ)
def test_columns_are_the_same_in_each_format(client: Client, media: str) -> None:
    found = client.get("columns/main?field=reward", headers={"Accept": media})
    assert found.headers["content-type"].startswith(media)
    assert READ[media](found.content) == [None, 1.0, 1.0, None, 1.0, 1.0]


def test_one_column_is_an_array(client: Client) -> None:
    asked = {"Accept": "application/x-npy"}
    found = np.load(io.BytesIO(client.get("columns/main?field=observation", headers=asked).content))
    np.testing.assert_array_equal(found, client.repo.trajectory("main").observations)
    part = np.load(
        io.BytesIO(client.get("columns/main@1..main@3?field=observation[1]", headers=asked).content)
    )
    np.testing.assert_array_equal(part, [0.0, 1.0])
    for path in ("columns/main?field=reward", "columns/main?field=observation&field=step"):
        assert client.get(path, headers=asked).status_code in (404, 406)


def test_columns_can_have_a_condition(client: Client) -> None:
    found = client.json("columns/main?field=reward&where=reward > 0 and step > 2")
    assert found == {"step": [4, 5], "reward": [1.0, 1.0]}
    assert client.json("columns/main@ep2?field=action")["step"] == [3, 4, 5]


def test_what_no_format_has_is_406_and_too_much_is_413(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        client.get("columns/main?field=reward", headers={"Accept": "text/html"}).status_code == 406
    )
    monkeypatch.setattr("simgit.server.routes.columns.CELLS", 11)
    found = client.get("columns/main?field=observation")
    assert (found.status_code, found.json()["cells"]) == (413, 12)


# --- bytes --------------------------------------------------------------------------------------


def test_attachments_are_shown_only_where_that_is_harmless(client: Client) -> None:
    picture = client.get("attachments/main@2?name=pic")
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["content-disposition"].startswith("inline")
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
    client.repo.attach("main@2", "svg", svg)
    client.repo.attach("main@2", "bom", "\ufeff <script>".encode())
    client.repo.attach("main@2", "odd", b"GIF8 <script>\0")
    for name in ("page", "svg", "bom", "odd"):
        found = client.get(f"attachments/main@2?name={name}")
        assert found.headers["content-type"] == "application/octet-stream", name
        assert found.headers["content-disposition"].startswith("attachment"), name
        assert found.headers["x-content-type-options"] == "nosniff"
    client.repo.attach("main@2", "note", "ü plain".encode())
    assert (
        client.get("attachments/main@2?name=note").headers["content-type"]
        == "text/plain; charset=utf-8"
    )


def test_a_range_of_bytes_is_206(client: Client) -> None:
    whole = client.get("attachments/main@2?name=pic").content
    oid = client.repo.attachments("main@2")["pic"][1].hex()
    for given, part in (
        ("bytes=0-9", whole[:10]),
        ("bytes=100-", whole[100:]),
        ("bytes=-5", whole[-5:]),
        ("bytes=5-9000", whole[5:]),
    ):
        found = client.get(f"blobs/{oid}", headers={"Range": given})
        assert (found.status_code, found.content) == (206, part)
        assert found.headers["content-range"].endswith(f"/{len(whole)}")
    beyond = client.get(f"blobs/{oid}", headers={"Range": "bytes=9000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    for odd in ("bytes=3-1,5-6", "lines=1-2", "bytes=x"):
        assert client.get(f"blobs/{oid}", headers={"Range": odd}).content == whole
    stale = {"Range": "bytes=0-9", "If-Range": '"other"'}
    assert client.get(f"blobs/{oid}", headers=stale).content == whole
    assert "immutable" in client.get(f"blobs/{oid}").headers["cache-control"]


def test_files_of_a_state_are_listed_and_read(client: Client) -> None:
    client.repo.commit(files={"dir/a.txt": b"text", "b.bin": b"\0\1"}, run="main")
    assert set(client.json("files/main")) == {"dir/a.txt", "b.bin"}
    assert client.get("files/main:dir/a.txt").content == b"text"
    assert client.json("files/main:dir")["entries"] == ["a.txt"]
    assert client.get("files/main:../../etc/passwd").status_code in (404, 422)


def test_media_are_listed_with_their_types(client: Client) -> None:
    (found,) = client.json("media/main")
    assert (found["name"], found["media"], found["size"]) == ("pic", "image/png", 5008)
    assert client.json("media/main?kind=video") == []


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [("states/none", 404, "NotFound"), ("states/main@{", 422, "InvalidInput"), ("runs/none", 404, "NotFound"),
     ("runs?where=retrun>1", 422, "InvalidInput"), ("runs?status=odd", 422, "InvalidInput"),
     ("objects/ffff", 404, "NotFound"), ("log/main?where=reward =", 422, "InvalidInput"), ("changes/x", 422, "InvalidInput"),
     ("runs?limit=0", 422, "InvalidInput"), ("attachments/main?name=none", 404, "NotFound"), ("columns/main", 422, "InvalidInput")],
)  # fmt: skip
def test_an_error_is_a_problem_of_its_class(
    client: Client, path: str, status: int, kind: str
) -> None:
    found = client.get(path)
    assert (found.status_code, found.json()["type"]) == (status, kind), found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["status"] == status and found.json()["detail"]


@pytest.mark.slow
def test_no_get_changes_anything(client: Client) -> None:
    def everything() -> Any:
        with client.repo.odb.read() as txn:
            return txn.txn_id

    before = everything()
    for path in (
        *LISTS,
        *ONES,
        "states/main",
        "columns/main?field=reward",
        "media/main",
        "head",
        "decorations",
    ):
        for method in ("GET", "HEAD", "OPTIONS"):
            client.request(method, path)
    assert everything() == before


def test_warnings_are_in_a_header(client: Client) -> None:
    found = client.get("log/main?where=info.livse > 1")
    assert "simgit-warnings" not in found.headers  # no state has an info
    client.repo.commit([1.0, 1.0], 1, 1.0, info={"lives": 3}, run="main")
    warned = client.get("log/main?where=info.livse > 1")
    (text,) = json.loads(warned.headers["simgit-warnings"])
    assert (warned.json(), "did you mean 'info.lives'?" in text) == ([], True)
    assert "simgit-warnings" not in client.get("log/main?where=info.lives > 1").headers


def test_a_repository_in_memory_is_served_too() -> None:
    with Repository.init(":memory:") as repo:
        client = Client(repo)
        assert client.post("states/main", json={"observation": [1.0]}).status_code == 201
        assert client.json("runs/main")["step"] == 0
        assert client.post("undo").status_code == 200
        assert client.json("runs") == []
        client.close()


def test_numbers_that_json_has_not_are_in_curves_as_docs_say() -> None:
    with Repository.init(":memory:") as repo:
        with repo.recorder("r") as recorder:
            for each in (1.0, float("inf"), float("nan"), -1e300):
                recorder.append(each)
        (curve,) = Client(repo).json("series?run=r&field=observation")
    assert curve["step"] == [0, 1, 2, 3]
    assert curve["fields"]["observation"] == {
        "n": [1, 1, 0, 1],
        **{part: [1, {"$float": "inf"}, None, -1e300] for part in ("min", "max", "mean", "last")},
    }


def test_curves_are_those_of_the_repository(
    client: Client, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (curve,) = client.json("series?run=main&field=reward&field=observation[0]&points=4")
    there = repo.buckets("main", ["reward", "observation[0]"], points=4)
    assert curve["width"] == there.width and curve["step"] == there.step.tolist()
    assert curve["fields"]["reward"]["mean"] == there.fields["reward"].mean.tolist()
    assert curve["fields"]["observation[0]"]["last"] == there.fields["observation[0]"].last.tolist()
    (drawn,) = client.json("series?run=main&field=observation[0]&points=4&parts=mean,max&digits=1")
    exact = there.fields["observation[0]"]
    assert [*drawn["fields"]["observation[0]"]] == ["mean", "max"]
    assert drawn["fields"]["observation[0]"]["mean"] == [
        float(f"{each:.1g}") for each in exact.mean
    ]
    assert client.get("series?run=main&field=reward&parts=mode").status_code == 422
    monkeypatch.setattr("simgit.server.routes.series.NUMBERS", 30)
    assert client.get("series?run=main&field=reward&width=1").status_code == 413
    assert client.get("series?run=main&field=reward&width=1&from=3").status_code == 200
    assert client.get("series?run=main&field=reward&width=2").status_code == 200
    assert client.get("series?run=main&field=nothing").status_code == 404
    assert client.get("series?run=main&field=reward&points=5000").status_code == 422


def test_curves_of_runs_that_are_gone_are_left_out_where_that_is_asked(
    client: Client, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "series?run=later&run=main&run=sweep/1&field=reward"
    assert client.get(query).status_code == 404
    whole = client.json("series?run=main&run=sweep/1&field=reward")
    assert client.json(query + "&missing=skip") == {"curves": whole, "missing": ["later"]}
    assert client.get(query + "&missing=skip&width=1").status_code == 200
    assert client.get("series?run=main&field=nothing&missing=skip").status_code == 404
    assert client.get(query + "&missing=some").status_code == 422

    buckets = Repository.buckets

    def delete_first(self: Repository, run: str, *args: Any, **more: Any) -> Any:
        if run == "sweep/1":
            repo.delete_run(run)
        return buckets(self, run, *args, **more)

    monkeypatch.setattr(Repository, "buckets", delete_first)
    found = client.json(query + "&missing=skip")
    assert found == {"curves": whole[:1], "missing": ["later", "sweep/1"]}


def test_seventeen_digits_are_exact_and_fewer_are_rounded(client: Client) -> None:
    values = [0.1 + 0.2, 1 / 3, 2**53 - 1.0, 123456.78901234567, 5e-324]
    with client.repo.recorder("exact") as recorder:
        for value in values:
            recorder.append([value])

    def asked(digits: str) -> list[float]:
        (found,) = client.json(f"series?run=exact&field=observation[0]&parts=mean{digits}")
        return list(found["fields"]["observation[0]"]["mean"])

    assert [each.hex() for each in asked("")] == [each.hex() for each in values]
    assert [each.hex() for each in asked("&digits=17")] == [each.hex() for each in values]
    for digits in (3, 8, 12):
        assert asked(f"&digits={digits}") == [float(f"{each:.{digits}g}") for each in values]


def test_bands_are_means_over_the_runs_of_a_group(client: Client) -> None:
    repo = client.repo
    rewards = {"a/1": [1.0, 2.0, 6.0], "a/2": [3.0, 4.0], "b/1": [5.0, 5.0]}
    for name, values in rewards.items():
        with repo.recorder(name, config={"agent": {"lr": name[0]}}) as recorder:
            recorder.append([0.0], reset={"seed": 1})
            for value in values:
                recorder.append([0.0], 0, value, False, False)
    repo.create_run("empty")
    found = client.json("bands?field=reward&by=config.agent.lr&where=config.agent.lr >= 'a'")
    assert (found["field"], found["by"], found["width"]) == ("reward", "config.agent.lr", 1)
    assert found["step"] == [0, 1, 2, 3]
    a, b = found["groups"]
    assert (a["value"], a["runs"], b["value"], b["runs"]) == ("a", ["a/1", "a/2"], "b", ["b/1"])
    assert (a["n"], a["mean"]) == ([0, 2, 2, 1], [None, 2.0, 3.0, 6.0])
    half = 12.7062047364 * 2**0.5 / 2**0.5  # a table's t of one degree of freedom, s = √2, n = 2
    assert a["low"] == [None, pytest.approx(2.0 - half), pytest.approx(3.0 - half), None]
    assert a["high"] == [None, pytest.approx(2.0 + half), pytest.approx(3.0 + half), None]
    assert (b["n"], b["mean"], b["low"]) == ([0, 1, 1, 0], [None, 5.0, 5.0, None], [None] * 4)
    wide = client.json("bands?field=reward&where=config.agent.lr >= 'a'&points=2")
    assert (wide["width"], wide["step"]) == (2, [0, 2])
    (every,) = wide["groups"]
    assert (every["value"], every["n"]) == (None, [3, 3])
    assert every["mean"] == [pytest.approx((1 + 3 + 5) / 3), pytest.approx((4 + 4 + 5) / 3)]
    smooth = client.json("bands?field=reward&where=name == 'b/1'&window=2")["groups"][0]
    assert smooth["mean"] == [None, 5.0, 5.0]


def test_episodes_come_in_pages_of_what_is_read(client: Client) -> None:
    whole = client.json("episodes/sweep/1")
    assert [each["episode"] for each in whole] == [2, 1]
    for limit in (1, 2):
        for after in (None, 2, 1):
            query = "" if after is None else f"&after={after}"
            expected = [each for each in whole if after is None or each["episode"] < after][:limit]
            assert client.json(f"episodes/sweep/1?limit={limit}{query}") == expected
    for wrong in (3, 0, "x", 1 << 70):
        assert client.get(f"episodes/sweep/1?after={wrong}").status_code == 422
    assert client.get("episodes/nothing?after=1").status_code == 404


def test_bands_have_bounds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.json("bands?field=reward&where=name == 'none'")["groups"] == []
    assert client.get("bands?field=nothing").status_code == 404
    assert client.get("bands?field=reward&by=config.nothing").status_code == 422
    assert client.get("bands?field=reward&points=5000").status_code == 422
    whole = client.json("bands?field=reward")
    assert (whole["width"], whole["step"]) == (1, [0, 1, 2, 3, 4, 5])
    monkeypatch.setattr("simgit.repository.runs.DECODED", 6)  # main has 6, sweep/1 one of its own
    assert client.json("bands?field=reward&where=name == 'main'")["width"] == 1
    wide = client.json("bands?field=reward")
    assert (wide["width"], wide["groups"][0]["n"]) == (2048, [2])
    refused = client.get("bands?field=return&points=4")
    assert refused.status_code == 413 and "7 states" in refused.json()["detail"]
    monkeypatch.setattr("simgit.server.routes.series.RUNS", 1)
    assert client.get("bands?field=reward").status_code == 413


def test_the_machine_is_told(client: Client) -> None:
    found = client.get("machine")
    assert found.json().keys() == {"cpu", "memory", "disk", "gpus"}
    assert found.json()["disk"]["total"] > 0
    assert found.headers["cache-control"] == "no-store"
