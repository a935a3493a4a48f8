"""What only real processes show: pipes, terminals, the pager, signals, what is imported."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simgit import Repository
from simgit.cli.commands import FLAT
from simgit.cli.root import guarded
from tests.cli.conftest import Call
from tests.support.patience import PATIENCE

HEAVY = ("rich", "torch", "gymnasium", "matplotlib", "kubernetes", "pandas")


@pytest.fixture
def long(directory: Path) -> Path:
    """A repository with a run of 5000 states."""
    with Repository.init(directory) as repo, repo.recorder("main") as recorder:
        for i in range(5000):
            recorder.append(i, 1, 1.0, i % 100 == 99)
    return directory


def in_terminal(
    environment: dict[str, str], *args: str, answer: bytes = b"", script: str = ""
) -> tuple[int, str]:
    """Return exit code and output of a command, or script, whose stdout is a terminal.

    With an ``answer`` its stdin is one too, and the answer is typed ahead.
    """
    main, other = pty.openpty()
    if answer:
        os.write(main, answer)
    what = ["-c", script] if script else ["-m", "simgit", *args]
    child = subprocess.Popen(
        [sys.executable, *what],
        stdin=other if answer else subprocess.DEVNULL, stdout=other, stderr=other, env=environment,
    )  # fmt: skip
    os.close(other)
    text = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(main)
    return child.wait(PATIENCE), text.decode(errors="replace")


@pytest.mark.slow
def test_what_is_executed_again_is_told_beforehand(directory, environment) -> None:
    import gymnasium

    from simgit.gym import Recorder

    with Repository.init(directory) as repo:
        env = Recorder(gymnasium.make("CartPole-v1"), repo, snapshots=50, self_check=False)
        env.reset(seed=1)
        for i in range(120):
            if any(env.step(i % 2)[2:4]):
                env.reset()
        env.close()
    code, text = in_terminal(environment, "verify", "main@71..80")
    assert code == 0
    # nothing vouches for its snapshots yet: from the beginning, and then the range
    assert "re-executing 81 actions, about a second or less" in text, text
    code, text = in_terminal(environment, "verify", "main@80..80")
    assert code == 128 and "fatal: 'main@80..80' has no states to re-execute" in text, text


@pytest.fixture
def doors(directory: Path) -> Path:
    """A repository of an environment whose snapshots hold pickles."""
    import gymnasium

    from simgit.gym import Recorder

    pytest.importorskip("minigrid")
    with Repository.init(directory) as repo:
        env = Recorder(
            gymnasium.make("minigrid:MiniGrid-Empty-5x5-v0"), repo, snapshots=10, self_check=False
        )
        env.reset(seed=1)
        for i in range(30):
            if any(env.step(i % 2)[2:4]):
                env.reset()
        env.close()
    return directory


QUESTION = "Trust this repository, with all that is in it now? [y/N]: "
WHAT_IF = ("what-if", "main@15", "--action", "0,1", "--horizon", "2", "--rollouts", "1")


@pytest.mark.slow
@pytest.mark.parametrize("command", [WHAT_IF, ("verify", "main@16..20")])
def test_trust_is_asked_and_the_cost_told_before_there_is_a_bar(
    doors, environment, command: tuple[str, ...]
) -> None:
    environment["SIMGIT_CONFIG_DIR"] = str(doors / "config")
    code, text = in_terminal(environment, *command, answer=b"n\n")
    assert code == 128 and text.count(QUESTION) == 1, text
    code, text = in_terminal(environment, *command, answer=b"y\n")
    assert code == 0, text
    assert text.count(QUESTION) == 1
    announced = text.index("re-executing ")
    assert text.index(QUESTION) < announced < text.index("0/", announced)
    assert "\x1b" not in text[:announced]


@pytest.mark.slow
def test_nobody_is_asked_to_trust_what_holds_no_pickle(directory, environment) -> None:
    import gymnasium

    from simgit.gym import Recorder

    with Repository.init(directory) as repo:
        env = Recorder(gymnasium.make("CartPole-v1"), repo, snapshots=5, self_check=False)
        env.reset(seed=1)
        for i in range(16):
            env.step(i % 2)
        env.close()
    environment["SIMGIT_CONFIG_DIR"] = str(directory / "config")
    for more in ((), ("--json",), ("--workers", "1")):
        code, text = in_terminal(environment, *WHAT_IF, *more, answer=b"n\n")
        assert code == 0, text
        assert "Trust" not in text


@pytest.mark.slow
def test_a_question_that_comes_late_takes_the_bar_away(doors, environment) -> None:
    environment["SIMGIT_CONFIG_DIR"] = str(doors / "config")
    script = """
from simgit import Repository
from simgit.cli.output import progress
from simgit.cli.permission import Asker
with progress("work") as tell:
    tell(1, 2)
    assert not Asker(Repository.open("."))()
    tell(2, 2)
"""
    code, text = in_terminal(environment, answer=b"n\n", script=script)
    assert code == 0, text
    before, _, after = text.partition("To do this, code that ")
    assert before.endswith("\x1b[2K"), before  # the line of the bar is erased
    assert "work" in before and "work" in after and "2/2" in after
    assert "\x1b" not in after[: after.index(QUESTION)]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["log --oneline", "export csv -"])
def test_a_pipe_that_closes_is_no_error(long, environment, command: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "simgit", *command.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    ) as child:  # fmt: skip
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode in (0, 141)


@pytest.mark.slow
def test_colour_only_in_a_terminal_that_wants_it(long, environment, process) -> None:
    environment["SIMGIT_PAGER"] = "cat"
    assert "\x1b[" not in process("log", "-n", 1).out
    assert "\x1b[33mstate " in in_terminal(environment, "log", "-n", "1")[1]
    assert "\x1b" not in in_terminal(environment | {"NO_COLOR": "1"}, "log", "-n", "1")[1]
    assert "\x1b" not in in_terminal(environment | {"TERM": "dumb"}, "log", "-n", "1")[1]


@pytest.mark.slow
def test_output_is_paged_in_a_terminal_only(long, environment, process) -> None:
    environment["SIMGIT_PAGER"] = "sed s/^/paged:/"
    assert "paged:" not in process("log", "-n", 1).out
    assert in_terminal(environment, "log", "-n", "1")[1].startswith("paged:")
    assert "paged:" not in in_terminal(environment, "--no-pager", "log", "-n", "1")[1]


@pytest.mark.slow
def test_leaving_the_pager_early_is_no_error(long, environment) -> None:
    environment["SIMGIT_PAGER"] = "head -n 1"
    code, text = in_terminal(environment, "log", "--oneline")
    assert code == 0 and len(text.splitlines()) == 1


@pytest.mark.slow
def test_a_missing_pager_is_done_without(long, environment) -> None:
    code, text = in_terminal(environment | {"PAGER": "no-such-pager -x"}, "log", "-n", "1")
    assert code == 0 and "Step:" in text


@pytest.mark.slow
def test_long_work_shows_a_bar_in_a_terminal_only(long, environment, process) -> None:
    assert process("fsck").err == process("gc").err == ""
    for command, last in (("fsck", "no damage"), ("gc", "on disk")):
        code, text = in_terminal(environment, command)
        assert code == 0 and f"{command} " in text and last in text


def test_an_error_leaves_stdout_empty(directory, process) -> None:
    found = process("log")
    assert (found.code, found.out) == (128, "") and found.err.startswith("fatal: not a simgit")
    assert "Traceback" not in found.err
    assert "Traceback" in process("--debug", "log").err


@pytest.mark.slow
def test_an_interrupted_stream_is_kept(run, environment) -> None:
    run("init")
    with subprocess.Popen(
        [sys.executable, "-m", "simgit", "commit", "--stdin", "--flush-every", "1"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    ) as child:  # fmt: skip
        assert child.stdin is not None and child.stderr is not None
        child.stdin.write(b'{"reward": 1}\n')
        child.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        while not run("log", "--json", code=None).out and time.monotonic() < deadline:
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == 130
        assert child.stderr.read() == b""
        child.stdin.close()
    info = run("run", "show", "--json").json
    assert (info["step"], info["status"]) == (0, "paused")


def test_log_imports_only_what_it_needs(long, environment) -> None:
    script = (
        "import sys\nfrom simgit.cli.root import cli\n"
        "try:\n    cli.main(['log', '-n', '10'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "print(sorted(n for n in sys.modules if n.startswith('simgit.cli.')), file=sys.stderr)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=environment, check=True
    )
    heavy, own = found.stderr.decode().splitlines()
    assert heavy == "[]"
    assert "simgit.cli.diff" not in own and "simgit.cli.branch" not in own


LIGHT = ("numpy", "lmdb", "blake3", "zstandard", "msgpack")


def imported(environment: dict[str, str], *words: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    script = (
        "import atexit, sys\nfrom simgit.cli import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\nmain()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, env=environment, check=False
    )
    return set(found.stderr.decode().splitlines()[-1].split())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("help",), ()])
def test_the_first_screen_imports_next_to_nothing(words, environment) -> None:
    loaded = imported(environment, *words)
    assert not loaded & {*LIGHT, "click"}
    assert {name for name in loaded if name.startswith("simgit.")} == {
        "simgit.cli", "simgit.cli.commands", "simgit.cli.entry", "simgit.cli.exits", "simgit.errors",
    }  # fmt: skip


def test_completion_of_options_does_without_click(environment) -> None:
    environment |= {"_SIMGIT_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    loaded = imported(environment | {"COMP_WORDS": "simgit log --on"})
    assert "simgit.cli.shell" in loaded and not loaded & {*LIGHT, "click"}


def one_after_another(environment: dict[str, str], before: str, lines: list[str]) -> list[Any]:
    """Call command lines in one process; return exit code, stdout, stderr and modules of each."""
    script = f"""
import contextlib, io, json, shlex, sys
{before}
from simgit.cli import main
for line in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(shlex.split(line))
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue(), sorted(sys.modules)]))
"""
    found = subprocess.run(
        [sys.executable, "-c", script, *lines],
        capture_output=True, text=True, env=environment, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.slow
def test_help_waits_for_no_library(environment) -> None:
    names = [name for name in FLAT if name != "completion"]
    found = one_after_another(environment, "", [f"{name} --help" for name in names])
    for name, (code, out, _, loaded) in zip(names, found, strict=True):
        assert code == 0 and out.startswith("Usage: simgit"), name
        assert not {*loaded} & {*LIGHT, *HEAVY}, name


BOOKKEEPING = [
    "branch", "branch -v", "branch --json", "branch -m main other", "branch -m other main",
    "status", "status --json", "tag", "tag v1 -m first", "tag -l --json", "config",
    "config main agent.lr=0.2", "config --json", "run list", "run list --json", "run show",
    "run pause", "run reopen", "run set main note=one", "reflog", "reflog --json", "op log",
    "op log --json", "op show", "lineage", "tree", "rev-parse main", "attachments", "trust",
]  # fmt: skip
"""Commands that show or change what is known of runs and refs, and no state."""


def test_bookkeeping_does_without_numpy(directory, environment) -> None:
    with Repository.init(directory) as repo, repo.recorder("main", config={"lr": 0.1}) as recorder:
        for i in range(100):
            recorder.append([float(i), 1.0], i % 2, 1.0, i % 10 == 9)
    environment["SIMGIT_CONFIG_DIR"] = str(directory / "config")
    found = one_after_another(environment, "", [*BOOKKEEPING, "log -n 1"])
    for line, (code, out, err, loaded) in zip(BOOKKEEPING, found, strict=False):
        assert (code, err) == (0, ""), (line, out, err)
        assert not {*loaded} & {"numpy", *HEAVY}, line
    assert "numpy" in found[-1][3], "a state is of arrays"


COLLECTOR = """
import atexit, gc, sys
before = gc.get_threshold()
atexit.register(lambda: print(gc.get_freeze_count() > 0, file=sys.stderr))  # the last
from simgit.cli import command, main
sys.argv[1:] = ["branch"]
for call in CALLS:
    try:
        call()
    except SystemExit:
        pass
print(gc.get_threshold() == before, file=sys.stderr)
kept = [[] for _ in range(100_000)]
print(gc.get_threshold() == before and gc.isenabled(), file=sys.stderr)
"""


@pytest.mark.parametrize(("loaded", "frozen"), [("sys", "True"), ("simgit.gym", "False")])
def test_the_collector_spares_modules_and_is_then_as_ever(
    directory, environment, loaded: str, frozen: str
) -> None:
    Repository.init(directory).close()
    script = COLLECTOR.replace("CALLS", "[command, command, lambda: main(['branch'])]")
    found = subprocess.run(
        [sys.executable, "-c", f"{script}\nsys.modules.setdefault({loaded!r}, sys)"],
        capture_output=True, text=True, env=environment, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert found.stderr.split() == ["False", "True", frozen]


def test_the_collector_of_a_program_that_calls_commands_is_left_alone(
    directory, environment
) -> None:
    Repository.init(directory).close()
    script = COLLECTOR.replace("CALLS", "[main, lambda: main(['branch'])]")
    script = script.replace("range(100_000)", "range(9)")
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment,
        timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert found.stderr.split() == ["True", "True", "False"]


def test_a_state_with_files_is_read_for_its_status(directory, environment) -> None:
    (directory / "a.txt").write_text("1")
    with Repository.init(directory) as repo:
        repo.commit(1, files={"a.txt": directory / "a.txt"})
    (directory / "a.txt").write_text("2")
    ((code, out, _, loaded),) = one_after_another(environment, "", ["status"])
    assert code == 0 and "modified:\n    a.txt\n" in out and "numpy" in loaded


@pytest.mark.slow
def test_the_first_lines_come_before_the_rest_is_read(long, environment) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "simgit", "log", "--graph", "--all", "--oneline"],
        stdout=subprocess.PIPE, env=environment,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        first = child.stdout.readline()
        rest = child.stdout.read()
    assert first.startswith(b"* ") and rest.count(b"\n") == 4999


@pytest.mark.slow
def test_what_needs_gymnasium_says_so(long, environment) -> None:
    lines = [
        "record CartPole-v1", "train", "train --agent greedy", "evaluate main",
        "doctor CartPole-v1", "verify main", "video main -o x.gif", "what-if main --action 1",
        "play main", "merge --average main main --run mean",
        "step --trace cpu-slight --agent heuristic",
    ]  # fmt: skip
    found = one_after_another(environment, "sys.modules['gymnasium'] = None", lines)
    for line, (code, out, err, _) in zip(lines, found, strict=True):
        told = f"fatal: '{line.split()[0]}' needs gymnasium: pip install 'simgit[gym]'\n"
        assert (code, out, err) == (128, "", told)


@pytest.mark.slow
def test_a_module_that_is_no_extra_is_an_error_of_the_program(long, environment) -> None:
    blocked = "import sys; sys.modules['simgit.maintenance.gc'] = None; from simgit.cli import main"
    found = subprocess.run(
        [sys.executable, "-c", f"{blocked}; main()", "gc"],
        capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert found.returncode == 128 and "internal error: ModuleNotFoundError" in found.stderr


@pytest.mark.slow
def test_what_an_encoding_lacks_is_replaced(run, environment, process) -> None:
    run("init")
    run("commit", "-o", 1, "--reset")
    run("commit", "-o", 2, "-r", 1, "-a", 1, "--terminated", "-m", "größer → 🙂")
    environment |= {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    for command, shown in (("log", "größer -> ?"), ("plot", "1 |."), ("gc", " on disk\n")):
        found = subprocess.run(
            [sys.executable, "-m", "simgit", command], capture_output=True, env=environment,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert found.returncode == 0 and found.stderr == b"", (command, found)
        assert shown in found.stdout.decode("latin-1")
    found = process("log", "--json", PYTHONIOENCODING="ascii")
    assert found.records[0]["message"] == "größer → 🙂"


def test_a_defect_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def call() -> None:
        raise ZeroDivisionError("of a kind")

    assert guarded(call) == 128
    said = "fatal: internal error: ZeroDivisionError: of a kind (--debug shows where)\n"
    assert capsys.readouterr().err == said
    assert guarded(call, debug=True) == 128
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_a_message_is_cut_where_the_terminal_ends(run, environment, process) -> None:
    environment |= {"SIMGIT_PAGER": "cat", "NO_COLOR": "1", "COLUMNS": "100"}
    run("trace", "generate", "cpu-slight", "-o", "a.sktrace")
    words = ("kube", "pods", "--trace", "a.sktrace")
    assert max(map(len, process(*words).lines)) > 120, "a pipe gets all of it"
    code, text = in_terminal(environment, *words)
    assert code == 0 and max(map(len, text.splitlines())) <= 100 and "…" in text


@pytest.mark.slow
def test_binary_bytes_in_a_terminal_are_told_of(long, environment) -> None:
    code, text = in_terminal(environment, "cat-file", "main")
    said = "warning: these bytes are binary; -p prints objects readably\r\n"
    assert code == 0 and text.endswith(said)
    piped = subprocess.run(
        [sys.executable, "-m", "simgit", "cat-file", "main"],
        env=environment, capture_output=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert piped.stdout and not piped.stderr


@pytest.mark.slow
def test_a_result_is_not_printed_into_the_line_of_a_bar(directory, environment) -> None:
    script = """\
from simgit.cli.output import Output, progress
import sys
out = Output(sys.stdout, False)
with progress("work") as tell:
    tell(1, 2)
    print("of the work")
    out.line("the result")
    out.json(["another"])
"""
    code, text = in_terminal(environment | {"TERM": "xterm"}, script=script)
    assert code == 0 and "work" in text
    for line in ("of the work", "the result", '["another"]'):
        before = text.split(line)[0]
        assert before.endswith(("\x1b[2K", "\n", "\r")), (line, text)  # the bar's line is cleared


def test_what_a_program_prints_goes_to_its_pipe_though_there_is_a_bar(environment) -> None:
    script = """\
from simgit.cli.output import progress
with progress("work") as tell:
    tell(1, 2)
    print("of the work")
"""
    main, other = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=other, env=environment | {"TERM": "xterm"}, timeout=PATIENCE,
    )  # fmt: skip
    os.close(other)
    os.close(main)
    assert done.stdout == b"of the work\n"


@pytest.mark.slow
def test_a_list_of_runs_fits_a_terminal_of_eighty_columns(directory, environment) -> None:
    plain = environment | {"COLUMNS": "80", "NO_COLOR": "1"}
    config = {f"agent.setting_{i}": i for i in range(18)}
    with Repository.init(directory) as repo:
        for name in ("walk/0", "walkhot/0", "train/cpu-slight-dqn-1"):
            with repo.recorder(name, config=config) as recorder:
                for i in range(1000):
                    recorder.append(i, 1, -1.4064541, reset={} if i == 0 else None)
    for words in (("run", "list"), ("branch", "-v"), ("run", "best")):
        code, text = in_terminal(plain, "--no-pager", *words)
        assert code == 0 and text, text
        assert all(len(line) <= 80 for line in text.splitlines()), text


@pytest.mark.slow
def test_wide_rows_of_a_query_stand_one_below_the_other_in_a_terminal(long, environment) -> None:
    pytest.importorskip("duckdb")
    plain = environment | {"COLUMNS": "80", "NO_COLOR": "1"}
    code, text = in_terminal(plain, "--no-pager", "sql", "select * from states limit 2")
    assert code == 0
    lines = text.split("\r\n")
    assert [line for line in lines if line.startswith("row ")] == ["row 1", "row 2"]
    assert all(len(line) <= 80 for line in lines), text
    code, text = in_terminal(plain, "--no-pager", "sql", "select step, reward from states limit 2")
    assert (code, text.splitlines()[0].split()) == (0, ["step", "reward"])


def test_a_program_that_is_missing_leaves_signals_as_they_were(run: Call) -> None:
    """A write to a pipe that nobody reads would end this process otherwise."""
    before = [signal.getsignal(each) for each in (signal.SIGPIPE, signal.SIGXFSZ)]
    run("worker", "run", "--remote", "r", "--name", "w", "--", "no-such-program", code=128)
    assert [signal.getsignal(each) for each in (signal.SIGPIPE, signal.SIGXFSZ)] == before
