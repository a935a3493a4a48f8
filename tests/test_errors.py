"""What errors say, where the words are built from data."""

from __future__ import annotations

import os

import numpy as np
import pytest

from simgit import Repository
from simgit.errors import Conflict, InvalidInput, did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("rewrd", ["action", "reward"], "reward"),
        ("mian", ["main", "side"], "main"),
        ("Main", ["main"], "main"),
        ("swtich", ["switch", "status"], "switch"),
        ("term", ["terminated", "truncated"], "terminated"),
        ("gc.reflog_day", ["gc.reflog_days", "gc.grace_days"], "gc.reflog_days"),
        ("amend", ["parent", "message"], None),
        ("since", ["json", "limit"], None),
        ("a", ["b", "c"], None),
        ("", ["main"], None),
        ("main", ["main"], None),
        ("main", [], None),
    ],
)
def test_only_a_near_word_is_suggested(word: str, known: list[str], found: str | None) -> None:
    assert did_you_mean(word, known) == (f"; did you mean '{found}'?" if found else "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ppo lr", "it contains ' '"),
        ("a..b", "it contains '..'"),
        ("a\n", r"it contains '\n'"),
        ("a@200", "it ends with '@200', which means a step or an episode of a run"),
        ("a\u200b", r"it contains '\u200b', which cannot be printed"),
        ("a//b", "it contains '//'"),
        ("/a", "a part between slashes is empty"),
        ("HEAD", "it is reserved"),
    ],
)
def test_the_refusal_of_a_name_says_what_it_contains(name: str, reason: str) -> None:
    with Repository.init(":memory:") as repo, pytest.raises(InvalidInput) as caught:
        repo.recorder(name)
    shown = name.encode("unicode_escape").decode()
    said, _, hint = str(caught.value).partition("; use ")
    assert said == f"'{shown}' is not a valid name for a run: {reason}"
    assert hint


def test_the_refusal_of_a_name_says_what_the_name_is_for() -> None:
    with Repository.init(":memory:") as repo:
        state = repo.commit(reward=1.0)
        with pytest.raises(InvalidInput, match="not a valid name for a tag: it is empty"):
            repo.tag("", state)
        with pytest.raises(InvalidInput, match="not a valid name for an attachment: it is empty"):
            repo.attach(state, "", b"data")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (np.bool_(True), "True must be str, bytes or int, got numpy.bool; convert it with str(key)"),
        (True, "True must be str, bytes or int, got bool; convert it with int(key)"),
        (0.5, "0.5 must be str, bytes or int, got float; convert it with str(key)"),
        (1 << 64, "18446744073709551616 must fit 64 bits"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_stored_says_its_type_and_how_to_convert_it(
    key: object, said: str
) -> None:
    with Repository.init(":memory:") as repo:
        for record in (
            lambda: repo.attach("main", "x", {"in": {key: 1}}),
            lambda: repo.configure("main", {"x": {key: 1}}),
        ):
            repo.commit(0, run="main")
            with pytest.raises(InvalidInput) as caught:
                record()
            assert str(caught.value).endswith(f": key {said}")


def test_a_reward_of_one_element_is_a_number_and_of_two_a_vector() -> None:
    with Repository.init(":memory:") as repo:
        one = repo.commit(1, reward=np.array([1.5]), run="a")
        assert repo.state(one).reward == 1.5
        assert one == repo.commit(1, reward=1.5, run="b")
        two = repo.commit(1, reward=np.array([1.5, 2]), run="c")
        assert repo.state(two).reward.tolist() == [1.5, 2]
        for given, said in (
            ("1", "reward must be a number, got '1'"),
            (2**53 + 1, "reward must fit a float64 exactly, got 9007199254740993; "),
        ):
            with pytest.raises(InvalidInput) as caught:
                repo.commit(1, reward=given)
            assert str(caught.value).startswith(said)


def test_a_run_that_is_being_written_is_deleted_by_force_only() -> None:
    with Repository.init(":memory:") as repo:
        repo.commit(0)
        recorder = repo.recorder("live", flush_every=1)
        recorder.append(1)
        with pytest.raises(Conflict) as caught:
            repo.delete_run("live")
        assert str(caught.value) == (
            f"run 'live' is being written by process {os.getpid()}; delete it anyway with -D "
            "(force=True)"
        )
        repo.delete_run("live", force=True)


def test_a_damaged_record_names_the_field() -> None:
    from simgit.errors import IntegrityError
    from simgit.refs.records import TAG_TYPES, check_fields

    for record, said in (
        ({"oid": 3, "tag": None}, "field 'oid' must be bytes, got 3"),
        ({"oid": b"", "tog": None}, "unknown field 'tog'"),
        ({}, "it must have the fields oid, tag"),
    ):
        with pytest.raises(IntegrityError) as caught:
            check_fields(record, TAG_TYPES, "a tag")
        assert str(caught.value) == f"a tag is malformed: {said}"


def test_a_warning_is_shown_at_the_users_line(recwarn: pytest.WarningsRecorder) -> None:
    """Not at one of simgit's own, of which some check arguments."""
    with Repository.init(":memory:") as repo:
        first = repo.recorder("main")
        repo.recorder("main", on_conflict="branch").close()
        first.append(action=1)
        first.close()
        repo.commit(action=1, info={"a": 1})
        repo.log(where="info.b > 1")
    assert len(recwarn) >= 1
    assert {warning.filename for warning in recwarn} == {__file__}
