"""Hooks: no shell, a time limit, and nothing left behind."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from simgit.errors import ClusterError, InvalidInput, SimgitWarning
from simgit.kube import hooks


def _alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait(condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.005)


def test_arguments_are_split_as_in_a_shell_and_nothing_is_expanded(tmp_path: Path) -> None:
    text = "printf '%s|' $HOME `id` \"a b\" *; touch x"
    done = hooks.run(hooks.parse(text), "pre-hook")
    assert done.output == "$HOME|`id`|a b|*;|touch|x|"


def test_both_outputs_are_kept_and_the_environment_is_given() -> None:
    done = hooks.run(
        ["sh", "-c", 'echo "$SIMGIT_RUN"; echo bad >&2; cat'], variables={"SIMGIT_RUN": "main"}
    )
    assert done.output == "main\nbad\n"  # and cat has nothing to read


def test_of_much_output_the_end_is_kept() -> None:
    done = hooks.run(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo end"])
    assert len(done.output) == hooks.TAIL
    assert done.output.endswith("xend\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "pre-hook must name a program, got ''"),
        ("echo 'a", "pre-hook 'echo 'a': no closing quotation"),
        ("no-such-program -v", "program 'no-such-program' not found"),
        ("if true", "program 'if' not found (no shell runs it"),
    ],
)
def test_a_hook_that_cannot_be_run_is_refused_at_once(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        hooks.parse(text, "pre-hook")
    assert said in str(caught.value)


def test_a_failing_hook_says_its_code_and_the_end_of_its_output() -> None:
    with pytest.raises(ClusterError) as caught:
        hooks.run(["sh", "-c", "echo one; echo two >&2; exit 7"], "post-hook")
    text = str(caught.value)
    assert text.startswith("post-hook 'sh -c ")
    assert text.endswith("exited with 7: one two")
    assert "\n" not in text
    assert (caught.value.code, caught.value.output) == (7, "one\ntwo\n")  # type: ignore[attr-defined]


def test_a_hook_that_a_signal_ends_says_which() -> None:
    with pytest.raises(ClusterError, match="was ended by SIGKILL"):
        hooks.run(["sh", "-c", "kill -9 $$"])


def test_a_program_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ClusterError, match=r"cannot start pre-hook '.*': permission denied"):
        hooks.run([str(tmp_path / "text")], "pre-hook")
    with pytest.raises(ClusterError, match=r"cannot start hook '.*': embedded null byte"):
        hooks.run(["echo", "a\0b"])


@pytest.mark.slow
def test_at_the_time_limit_the_whole_group_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "trap '' TERM; sleep 600 & echo $! >> pids; (trap '' TERM; sleep 600) & echo $! >> pids; "
        "echo waiting; wait; wait"
    )
    with pytest.raises(ClusterError) as caught:
        hooks.run(["sh", "-c", f"cd '{tmp_path}'; {script}"], seconds=0.3, grace=0.1)
    assert str(caught.value).endswith("took longer than 0.3 s and was ended: waiting")
    left = [int(each) for each in pids.read_text().split()]
    assert len(left) == 2
    _wait(lambda: not any(map(_alive, left)))


def test_a_failing_hook_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as caught:
        hooks.run(["sh", "-c", "sleep 600 & echo $!; exit 1"])
    pid = int(caught.value.output)  # type: ignore[attr-defined]
    _wait(lambda: not _alive(pid))


@pytest.mark.slow
def test_an_interrupt_ends_the_hook(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def interrupt() -> None:
        _wait(lambda: pid.exists() and pid.read_text().endswith("\n"))
        time.sleep(0.5)  # until Popen has noted the number that the hook has written already
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        hooks.run(["sh", "-c", f"echo $$ > '{pid}'; exec sleep 600"])
    thread.join()
    assert not _alive(int(pid.read_text()))


def test_what_a_successful_hook_left_in_the_background_goes_on(tmp_path: Path) -> None:
    done = hooks.run(["sh", "-c", "sleep 600 & echo $!"])
    pid = int(done.output)
    assert _alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_hooks_run_before_and_after_whatever_happens_between(tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = hooks.Hooks(*(("sh", "-c", f"echo {each} $N >> '{log}'") for each in ("pre", "post")))
    with both.around({"N": "1"}):
        assert log.read_text() == "pre 1\n"
    with pytest.raises(ZeroDivisionError), both.around({"N": "2"}):
        raise ZeroDivisionError
    assert log.read_text() == "pre 1\npost 1\npre 2\npost 2\n"


def test_after_a_failing_first_hook_nothing_more_is_run(tmp_path: Path) -> None:
    both = hooks.Hooks(("false",), ("touch", str(tmp_path / "post")))
    with pytest.raises(ClusterError, match="pre-hook 'false' exited with 1"), both.around():
        raise AssertionError
    assert not (tmp_path / "post").exists()


def test_a_failing_last_hook_is_an_error_and_after_another_error_a_warning() -> None:
    last = hooks.Hooks(post=("false",))
    with pytest.raises(ClusterError, match="post-hook 'false' exited with 1"), last.around():
        pass
    with (
        pytest.warns(SimgitWarning, match="post-hook 'false' exited with 1"),
        pytest.raises(ZeroDivisionError),
        last.around(),
    ):
        raise ZeroDivisionError
