"""``simgit gc`` and ``fsck`` as a person uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Call = Any


def test_gc_says_what_would_go_lists_what_is_lost_and_brings_it_back(repo: Call) -> None:
    repo("branch", "other", "main@1")
    repo("commit", "-o", "[9, 9]", "--run", "other")
    tip = repo("rev-parse", "other").out.strip()
    repo("branch", "-D", "other")
    kept = repo("gc", "--dry-run").out
    assert kept.startswith(
        "nothing to remove; 1 deleted or undone run is kept by its reflog until "
    )
    said = repo("gc", "--dry-run", "--expire", "now", "--grace", "now")
    assert said.out.startswith("would remove 1 state, ")
    repo("gc", "-q", "--expire", "now")
    lost = repo("gc", "--list-unreachable")
    assert lost.lines[0].startswith(f"{tip[:16]}  state  1 state, up to step 2  until ")
    repo("branch", "again", tip)
    assert repo("gc", "--list-unreachable").out == "no unreachable objects\n"
    assert repo("show", "again", "--json").json["oid"] == tip


def test_gc_removes_what_has_expired_and_says_so_in_json(repo: Call) -> None:
    repo("branch", "other", "main@1")
    repo("commit", "-o", "[9, 9]", "--run", "other")
    tip = repo("rev-parse", "other").out.strip()
    repo("branch", "-D", "other")
    report = repo("gc", "--expire", "now", "--grace", "0d", "--json").json
    assert report["removed"]["states"] == 1 and report["removed"]["bytes"] > 0
    assert "not found" in repo("show", tip, code=128).err
    assert repo("fsck").out.endswith("no damage\n")


def test_gc_says_what_keeps_states_and_how_to_drop_it(repo: Call) -> None:
    repo("branch", "other", "main@1")
    repo("commit", "-o", "[9, 9]", "--run", "other")
    repo("branch", "-d", "o*")
    kept = "kept though no run or tag leads there: 1 state by"
    assert f"{kept} reflogs ('--expire now' drops them)" in repo("gc", "--grace", 0).out
    repo("gc", "-q", "--expire", "now", "--grace", "3d")
    assert f"{kept} the grace period ('--grace now' drops them)" in repo("gc").out
    assert repo("gc", "--json").json["kept"] == {"reflogs": 0, "operations": 0, "grace": 1}
    assert "kept though" not in repo("gc", "--grace", "now").out


def test_purge_says_what_went_and_who_keeps_the_rest(repo: Call) -> None:
    for name in ("sweep/a", "sweep/b"):
        repo("branch", name, "main@1")
        repo("commit", "-o", "[9, 9]", "-m", name, "--run", name)
    said = repo("purge", "sweep/*").lines
    assert said[:2] == ["purged run sweep/a", "purged run sweep/b"]
    assert said[2].startswith("removed 2 states: ") and said[2].endswith(" freed on disk")
    assert said[3] == "kept 2 states that others need: run main (2)"
    assert repo("op", "log").out.count("purge") == 1
    assert "no run matches 'sweep/*'" in repo("purge", "sweep/*", code=128).err
    repo("branch", "again")
    assert "is checked out" in repo("purge", "main", code=128).err
    repo("commit", "-m", "x", "--run", "again")
    assert repo("purge", "again", "--json").json["states"] == 1


def test_a_lost_attachment_is_bound_again(repo: Call) -> None:
    Path("note.json").write_text('{"score": 3}')
    repo("attach", "main@1", "note", "@note.json")
    repo("attachments", "main@1", "note", "--delete")
    repo("gc", "--expire", "now")  # the operation log leads to it: 'undo' would bring it back
    [lost] = [each for each in repo("gc", "--list-unreachable", "--json").records if each["name"]]
    assert (lost["kind"], lost["name"]) == ("binding", "note")
    assert repo("gc", "--restore", lost["oid"][:12]).out.startswith("restored the attachment of ")
    assert repo("attachments", "main@1", "note", "--json").json["data"] == {"score": 3}


def test_a_time_span_that_is_none_is_a_usage_error(repo: Call) -> None:
    for text in ("soon", "-3d", "3x"):
        assert "is not a duration" in repo("gc", f"--grace={text}", code=2).err


def test_stats_prints_tables_that_fit_and_json_with_all_numbers(repo: Call) -> None:
    repo("gc", "-q")
    shown = repo("stats")
    assert shown.lines[0].endswith("of them unused")
    assert any(line.startswith("observation ") for line in shown.lines)
    assert all(len(line) <= 80 for line in shown.lines)
    found = repo("stats", "--json").json
    assert found["kinds"]["state"]["count"] == 3
    assert found["runs"]["main"]["states"] == 3 and len(found["history"]) == 1


def test_rules_thin_out_attachments_and_bad_ones_are_refused(repo: Call) -> None:
    Path("note.json").write_text('{"score": 3}')
    for step in range(3):
        repo("attach", f"main@{step}", "agent", "@note.json")
    said = repo("gc", "--keep", "agent: last 1", "--dry-run").out
    assert (
        said.startswith("would remove 2 attachments by rule: ")
        and "more after the grace period" in said
    )
    repo("config", "--repository", "gc.keep=agent: last 1")
    assert repo("gc").lines[0].startswith("removed 2 attachments by rule")
    assert "malformed retention rule" in repo("gc", "--keep", "agent", code=128).err


def test_fsck_says_what_repairs_the_damage_and_repair_does(repo: Call, directory: Path) -> None:
    from simgit import Repository

    repo("clone", ".", "backup")
    with Repository.open(directory) as opened, opened.odb.storage.write() as txn:
        key, value = next(txn.scan("segments"))
        txn.put("segments", key, value[:-1] + bytes([value[-1] ^ 1]))
    said = repo("fsck", code=1).out
    assert "damaged: the header of segment 0/0 is damaged (costs main@0..2)" in said
    assert "  repair: simgit fsck --repair --from REPOSITORY\n" in said
    [found] = [p for p in repo("fsck", "--json", code=1).json["problems"] if p["runs"]]
    assert found["repair"] == ["simgit fsck --repair --from REPOSITORY", "simgit fsck --repair"]
    done = repo("fsck", "--repair", "--from", "backup").out
    assert "repaired: fetched a good copy" in done and done.endswith("no damage\n")
    assert len(list((directory / ".simgit").glob("quarantine-*"))) == 1
    assert repo("fsck").out.endswith("no damage\n")


def test_parts_of_a_check_and_their_errors(repo: Call) -> None:
    assert repo("fsck", "--sample", "1/7", "--max-seconds", 60).out.endswith("no damage\n")
    assert "stopped by --max-seconds" in repo("fsck", "--max-seconds", 1e-9).out
    for text in ("8/7", "0/7"):
        assert "the part must be 1 to 7" in repo("fsck", "--sample", text, code=128).err
    assert "is not a fraction" in repo("fsck", "--sample", "third", code=2).err
    assert "--from needs --repair" in repo("fsck", "--from", ".", code=2).err
    for text in ("0", "-1", "nan"):
        assert "greater than 0" in repo("fsck", f"--max-seconds={text}", code=2).err
    for option in ("--sample=1/7", "--max-seconds=9"):
        assert "cannot be used together" in repo("fsck", "--repair", option, code=2).err


def test_json_of_a_gc_names_what_went(repo) -> None:
    repo("commit", "-r", 1, "--run", "gone", "-m", "first\nsecond")
    repo("branch", "-D", "gone")
    removed = repo("gc", "--grace", "now", "--expire", "now", "--json").json["removed"]
    assert removed["states"] == 1 and removed["bytes"] > 0
    gone = [size for table, size in removed["tables"].items() if table not in ("pending", "meta")]
    assert sum(gone) == removed["bytes"]
    assert all(name.isidentifier() for name in [*removed["tables"], *removed["objects"]])


def test_stats_count_the_values_that_are_there(repo) -> None:
    columns = repo("stats", "--json").json["columns"]
    found = {name: part["count"] for name, part in columns.items()}
    assert found["message"] == 1 and found["observation"] == 3 and found["reward"] == 2
    assert " 1 bytes" not in repo("stats", "--all").out


def test_stats_fit_the_terminal_whatever_columns_are_called(repo) -> None:
    repo("commit", "-r", 1, "--info", '{"%s": 1}' % ("edit.spec.template." * 6))
    lines = repo("stats", "--all").lines
    assert max(map(len, lines)) <= 80 and any("…" in line and "info" in line for line in lines)


def test_what_is_never_of_the_past_refuses_at_op(repo: Call) -> None:
    for words in (
        ["fsck"], ["gc"], ["gc", "-n"], ["clone", ".", "x"], ["init", "x"], ["import", "x"],
        ["trust"],
    ):  # fmt: skip
        said = repo("--at-op", "1", *words, code=2).err
        assert f"--at-op cannot be used with '{words[0]}'" in said
    assert not Path("x").exists()
    repo("--at-op", "1", "log")
