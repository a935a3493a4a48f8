"""No answer says where a file of the machine lies, if its reader does not need that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import without_folders, word_without_folders
from simgit.live import Tracker
from simgit.server.jobs import Jobs
from simgit.server.watch import Watch
from tests.live.test_tracker import ROOT, TYPES
from tests.support.web import Client

TEXTS = {
    "cannot open '/home/ann lee/x y.db': no": "cannot open '…/x y.db': no",
    'File "/usr/lib/python3/x.py", line 3, in f': 'File "…/x.py", line 3, in f',
    "'/a/b' and '/c/d'": "'…/b' and '…/d'",
    "see /srv//data//z.": "see …/z.",
    "cc -I/home/ann/inc/x.h -o b": "cc -I…/x.h -o b",
    "a=/a/b/c,/d/e/": "a=…/c,…/e",
    "error:/home/ann/x": "error:…/x",
    "from file:///home/ann/repo": "from file:…/repo",
    "see http://host.org/a/b and /v1/jobs/3": "see http://host.org/a/b and /v1/jobs/3",
    "run sweep/0001, ~/x, ../a/b, a / b, reward /2, '/tmp'": "run sweep/0001, ~/x, ../a/b, a / b, reward /2, '/tmp'",
}  # fmt: skip
WORDS = {
    "/home/ann lee/x y.json": "…/x y.json",
    "--out=/home/ann/a b": "--out=…/a b",
    "data.path=/srv/a/b": "data.path=…/b",
    "pic@/srv/a.png": "pic@…/a.png",
    "http://host.org/a/b": "http://host.org/a/b",
    "sweep/0001": "sweep/0001",
    "--set=lr=.1": "--set=lr=.1",
}


def test_absolute_paths_have_their_last_name_only() -> None:
    assert {text: without_folders(text) for text in TEXTS} == TEXTS
    assert {word: word_without_folders(word) for word in WORDS} == WORDS


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["/", "'/", '"/', " /", "-", "-a/", "=/", "/a", ":/", ":///"])
def test_a_long_text_is_not_looked_through_again_and_again(mark: str) -> None:
    for text in (mark * 100_000, '"' + mark * 100_000, "'" + mark * 100_000):  # minutes, if it were
        without_folders(text)
        word_without_folders(text)


def view(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.access.tokens['view']}"}


def test_operations_and_their_events_name_files_without_their_folders(
    client: Client, repo: Repository
) -> None:
    again = repo.again()
    again.name_command("import", "--run=x", "/srv/my data/old.json")
    again.commit(np.float64([1.0, 1.0]), run="x")
    again.close()
    watch = Watch(repo, Jobs(None))
    watch.look()
    told = [client.get(each, headers=view(client)).text for each in ("operations", "changes/@")]
    for text in (*told, watch.operations[-1][1].decode(), client.post("undo").text):
        assert "…/old.json" in text and "my data" not in text
        assert "/srv" not in text
    assert "/srv/my data" in str(repo.operations(2)[-1].arguments)


def test_a_problem_names_a_file_without_its_folders(client: Client, repo: Repository) -> None:
    assert repo.directory is not None
    (repo.directory / "live").write_text("")
    found = client.post("fsck")
    assert found.status_code == 503 and str(repo.directory) not in found.text
    assert "'…/live'" in found.json()["detail"]


@pytest.mark.slow
def test_a_job_names_a_file_without_its_folders(client: Client, repo: Repository) -> None:
    found = client.post("exports", json={"all": True}).json()
    while found["phase"] != "ended":
        found = client.get(f"jobs/{found['job']}", headers=view(client)).json()
    assert found["outcome"] == "completed" and str(repo.directory) not in str(found)


@pytest.mark.slow
def test_of_a_traceback_only_its_owner_sees_where_files_lie(
    client: Client, repo: Repository
) -> None:
    with Tracker(repo) as tracker:
        client.service.tracker = tracker
        one = tracker.start(TYPES + "reads", "bad", config={"path": "/srv/data/x.csv"}, folder=ROOT)
        assert one.wait(60) == "failed"
        full = client.json("lines/bad")["lines"]
        seen = client.json("lines/bad", headers=view(client))["lines"]
        assert any("/srv/data/x.csv" in line for line in full)
        assert any(f'File "{ROOT}/' in line for line in full)
        assert any('File "…/simulations.py"' in line for line in seen)
        told: list[Any] = [seen, client.json("simulations/bad"), client.json("simulations")]
        told.append(client.get("attachments/bad?name=log").text)
        watch = Watch(repo, Jobs(None))
        watch.look()
        told.append({name: each.text for name, each in watch.levels.items()}["live/bad"])
        for each in told:
            assert "…/x.csv" in str(each)
            assert str(ROOT) not in str(each) and "/srv/data" not in str(each)
        assert client.json("config/bad")["path"] == "/srv/data/x.csv"  # data is sent as it is
