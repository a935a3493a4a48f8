"""init and commit."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgpack
import numpy as np
import pytest

from simgit import Repository


def test_init_makes_a_repository_that_is_found_from_below(run, directory: Path) -> None:
    assert run("init", "--json").json == {"directory": str(directory / ".simgit")}
    (directory / "a" / "b").mkdir(parents=True)
    assert run("-C", "a", "-C", "b", "status").lines == ["on run main", "no states yet"]
    assert run("init").out == f"reinitialized existing simgit repository in {directory}/.simgit\n"


def test_a_stream_that_is_refused_at_once_leaves_no_run(run) -> None:
    run("init")
    for bad in (b"not json\n", b'{"observation": {"a": 1}, "oops": 2}\n', b"[1]\n", b"\xff"):
        run("commit", "--stdin", "--run", "new", stdin=bad, code=128)
        assert run("run", "list", "--json").out == ""
        assert "not found" in run("reflog", "new", code=128).err
    run("commit", "--run", "new", "-m", "x")
    run("commit", "--stdin", "--run", "new", stdin=b"{", code=128)
    assert run("run", "show", "new", "--json").json["status"] == "active"


def test_a_new_run_whose_name_looks_like_a_slip_is_told(run) -> None:
    run("init")
    run("commit", "-m", "x")
    err = run("commit", "-m", "x", "--run", "mian").err
    assert err == "warning: 'mian' is a new run; did you mean 'main'?\n"
    for name in ("mian", "main-2", "main-3", "sweep/1", "sweep/2", "other"):
        assert not run("commit", "-m", "x", "--run", name).err


def test_head_follows_what_a_command_records_first(run) -> None:
    run("init")
    run("commit", "--stdin", "--run", "try", stdin=b'{"observation": 1}\n')
    assert run("status").lines[0] == "on run try"
    assert len(run("log", "--oneline").lines) == 1


def test_the_repository_can_be_named_by_the_environment(run, directory, monkeypatch) -> None:
    run("init", "elsewhere")
    monkeypatch.setenv("SIMGIT_DIR", "elsewhere/.simgit")
    assert run("branch", "--json").records == []


def test_without_a_repository_it_says_so(run) -> None:
    found = run("log", code=128)
    assert found.err.startswith("fatal: not a simgit repository") and not found.out


def test_a_commit_stores_what_is_given(repo, directory: Path) -> None:
    with Repository.open(directory) as found:
        state = found.state("main")
        assert state.observation.dtype == np.float64 and state.observation.tolist() == [0.0, 2.5]
        assert (state.action, state.reward, state.terminated) == (0, 0.5, True)
        assert (state.message, state.step) == ("fell over", 2)
        assert found.state("main~1").info == {"lives": 3}
        assert found.state("main~2").reset == {"seed": 7}


def test_a_commit_tells_its_oid(repo) -> None:
    made = repo("commit", "-r", 1, "--json").json
    assert made == {"oid": repo("rev-parse", "HEAD").out.strip(), "step": 3, "run": "main"}
    assert repo("commit", "-r", 1).out.startswith("[main ")


def test_values_come_from_files(repo, directory: Path) -> None:
    frame = np.arange(600, dtype=np.uint8).reshape(20, 30)
    np.save(directory / "frame.npy", frame)
    np.savez(directory / "two.npz", a=frame, b=np.float32(2))
    (directory / "info.json").write_text('{"x": [1, 2]}')
    repo("commit", "-o", "@frame.npy", "--info", "@info.json")
    repo("commit", "-o", "@two.npz")
    with Repository.open(directory) as found:
        assert (found.state("main~1").observation == frame).all()
        assert found.state("main~1").info == {"x": [1, 2]}
        assert (found.state("main").observation["a"] == frame).all()


def test_files_are_part_of_a_state(repo, directory: Path) -> None:
    (directory / "model.bin").write_bytes(b"weights")
    repo("commit", "--file", "model.bin", "--file", "in/side.bin=model.bin")
    assert [r["path"] for r in repo("ls-tree", "-r", "HEAD", "--json").records] == [
        "in/side.bin", "model.bin",
    ]  # fmt: skip
    oid = repo("ls-tree", "HEAD", "--json").records[1]["oid"]
    assert repo("cat-file", oid).out == "weights"
    assert repo("cat-file", "-s", oid).out == "7\n"


def test_bad_values_are_named(repo, directory: Path) -> None:
    bad = repo("commit", "-o", "left", code=2)
    assert "'left' is not JSON" in bad.err and "hint: see 'simgit commit --help'" in bad.err
    assert "no such file" in repo("commit", "-o", "@missing.npy", code=128).err
    (directory / "bad.npy").write_bytes(b"nothing")
    assert "is not NumPy data" in repo("commit", "-o", "@bad.npy", code=128).err
    assert "must be a number" in repo("commit", "-r", '"x"', code=128).err
    assert "nothing to commit" in repo("commit", code=2).err
    assert "cannot be used together" in repo("commit", "--stdin", "-r", 1, code=2).err
    assert repo("log", "--json").records[0]["step"] == 2


def test_a_completed_run_takes_nothing(repo) -> None:
    repo("run", "complete")
    assert "is completed; reopen it" in repo("commit", "-r", 1, code=128).err
    repo("run", "reopen")
    repo("commit", "-r", 1)


def test_a_stream_of_json_lines_is_recorded(repo, directory: Path) -> None:
    data = base64.b64encode(np.array([1, 2], "<f4").tobytes()).decode()
    records = [
        {"observation": [0, 1], "seed": 3},
        {"observation": [0.5, 1], "action": 1, "reward": "NaN", "terminated": False},
        {"observation": {"dtype": "<f4", "shape": [2], "data": data}, "truncated": True},
    ]
    stream = "\n\n".join(map(json.dumps, records)).encode()
    made = repo("commit", "--stdin", "--run", "other", "--json", stdin=stream).json
    assert made["run"] == "other" and made["states"] == 3
    with Repository.open(directory) as found:
        assert found.state("other").oid.hex() == made["oid"]
        assert found.state("other~2").reset == {"seed": 3}
        assert np.isnan(found.state("other~1").reward)
        assert found.state("other").truncated and found.runs["other"].status == "active"


def test_json_and_msgpack_name_the_same_states(repo) -> None:
    records = [{"observation": [i, 2], "action": i, "reward": 0.5} for i in range(300)]
    lines = "\n".join(map(json.dumps, records)).encode()
    packed = b"".join(map(msgpack.packb, records))
    one = repo("commit", "--stdin", "--run", "a", "--json", stdin=lines).json
    two = repo("commit", "--stdin", "--run", "b", "--flush-every", 7, "--json", stdin=packed).json
    assert one["oid"] == two["oid"] and one["states"] == two["states"] == 300


def test_an_error_in_a_stream_names_the_line_and_keeps_what_came_before(repo) -> None:
    good = b'{"reward": 1}\n'
    for bad, said in (
        (b"{nonsense}\n", "line 3: not JSON"),
        (b'{"obs": 1}\n', "line 3: unknown field 'obs'"),
        (b"[1]\n", "line 3: a record must be a map of fields, got a list"),
        (b'{"reward": "x"}\n', "line 3: reward"),
        (b"\xff\xfe\n", "line 3: "),
    ):
        found = repo("commit", "--stdin", "--run", "r", stdin=good + b"\n" + bad + good, code=128)
        assert found.err.startswith(f"fatal: {said}") and "recorded before it: 1" in found.err
    assert len(repo("log", "r", "--json").records) == 5
    assert repo("run", "show", "r", "--json").json["status"] == "failed"


def test_a_stream_that_ends_within_a_record_is_an_error(repo) -> None:
    packed = msgpack.packb({"reward": 1.0})
    found = repo("commit", "--stdin", "--run", "r", stdin=packed + packed[:-1], code=128)
    assert "record 2: truncated" in found.err


def test_an_empty_stream_records_nothing(repo) -> None:
    assert repo("commit", "--stdin", "--json", "--run", "empty").json["states"] == 0


def test_a_merge_has_several_parents(repo) -> None:
    repo("branch", "other", "main~1")
    repo("commit", "--run", "other", "-r", 9)
    repo("commit", "-m", "merge", "--parent", "other")
    assert len(repo("log", "-n", 1, "--json").json["parents"]) == 2
    assert "Merge:" in repo("log", "-n", 1).out


@pytest.mark.parametrize("info", ["3", "[]", '"x"'])
def test_an_info_that_is_no_mapping_is_refused(info: str, repo) -> None:
    found = repo("commit", "-r", 1, "--info", info, code=2)
    assert f"'{info}' is not a JSON object" in found.err
    line = b'{"reward": 1, "info": %s}\n' % info.encode()
    found = repo("commit", "--stdin", code=128, stdin=line)
    assert "line 1: info " in found.err and "must be a dict" in found.err
    assert repo("run", "show", "--json").json["step"] == 2


def test_a_step_after_an_episode_without_a_reset_is_told_once(run) -> None:
    """It is recorded as given; that it was meant as another episode, nobody can know."""
    run("init")
    told = "follows a state that ended its episode, and is no reset: it counts to that one"
    run("commit", "--observation", "0", "--reset")
    assert not run("commit", "--observation", "1", "-a", "1", "--terminated").err
    assert told in run("commit", "--observation", "2", "-a", "1", "--truncated").err
    step, end = b'{"observation": 3, "action": 1}\n', b'{"action": 1, "terminated": true}\n'
    found = run("commit", "--stdin", stdin=step + step + end + step)
    assert found.err == f"warning: line 1 {told}\n"
    again = b'{"observation": 0, "reset": true}\n'
    assert not run("commit", "--stdin", stdin=again + step + end + again + step + end).err
    found = run("commit", "--stdin", stdin=again + end + b'{"message": "so far"}\n' + step)
    assert not run("commit", "--seed", 7, "--observation", "0").err
    assert not run("commit", "-m", "a note").err
