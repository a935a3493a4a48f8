"""The process of its own in which recorded runs are checked: what starts it, and what it does.

It has another hash seed than this process, and the same modules within reach; it never runs this
process's script. It ends when this process ends, or its time is over. What environments print is
discarded. Each check is made in a fork of it, so that none sees what another one left behind in a
class, a module or a library, and one that hangs or crashes takes nothing with it.

Torch, which most scripts have for their agents alone, takes longer to load than all else together:
it is loaded only after a check in which it was, or which failed without it; that one is made again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any, Final

from simgit.errors import SimgitError, StorageError
from simgit.gym.drivers import choose, randomness
from simgit.gym.restoring.checks import Opened, RunCheck
from simgit.gym.restoring.run_notes import NOT_CHECKED, UNKNOWN, Verdict
from simgit.objects.coerce import check_number
from simgit.recording.verdicts import Outcome
from simgit.repository import Repository

SECONDS: Final = 60.0
"""The time that a check may take while a run is recorded."""
LONGEST: Final = 86400.0 * 30
"""Nobody waits longer for a check, and no system call takes any number of seconds."""
_SLOW: Final = ("torch", "mujoco", "ale_py", "minigrid")
"""Libraries that are imported once, and not in each fork, where this process has imported them."""
_TORCH: Final = "torch"
_needs_torch = False
"""True once an environment of this process was found to need torch."""
_CAN_FORK: Final = hasattr(os, "fork")
_GONE: Final = "the process that started it has ended"


class CheckProcess:
    """A process that checks runs of a repository; its verdicts are fetched when they are there."""

    def __init__(
        self,
        repo: Repository,
        runs: Mapping[str, int | None],
        *,
        seconds: float = SECONDS,
        **how: Any,
    ) -> None:
        """Start the process.

        Args:
            repo: the repository; what is to be checked is stored.
            runs: the runs, each with the number of its first states that are checked (None: all).
            seconds: the time for all.
            how: further arguments of ``RunCheck``.

        Raises:
            StorageError: no process can be started here.
        """
        self._runs = list(runs)
        self._text = b""
        self._bundle: Path | None = None
        if not sys.executable:
            raise StorageError("cannot start a process: the interpreter has no path")
        job = {
            "runs": dict(runs), "seconds": seconds, "how": how,
            "engines": choose.importable(), "repository": str(repo.directory),
            "modules": [name for name in _SLOW if name in sys.modules],
            "torch": _needs_torch,
        }  # fmt: skip
        try:
            if repo.directory is None:
                job["bundle"] = str(self._bundled(repo))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", *["-O"] * sys.flags.optimize, "-c",
                 _COMMAND.format(path=list(map(str, sys.path)))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
            self._write(job)
        except (OSError, ValueError) as error:
            self._tidy()
            raise StorageError(f"cannot start a process: {error}") from error

    def _bundled(self, repo: Repository) -> Path:
        """Return a file with the runs of a repository in memory, which no other process can see."""
        with tempfile.NamedTemporaryFile(prefix="simgit-check-", delete=False) as file:
            self._bundle = Path(file.name)
        repo.create_bundle(self._bundle, self._runs)
        return self._bundle

    def _write(self, job: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()  # it stays open: its end is the end of the process

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for the end of the process, at most so long; return True if it has ended."""
        assert self._process.stdout is not None
        out, until = self._process.stdout, monotonic() + seconds
        while True:
            left = max(0.0, until - monotonic())
            if not select.select([out], [], [], left)[0]:
                return False
            data = os.read(out.fileno(), 1 << 16)
            if not data:
                self.stop()
                return True
            self._text += data

    def stop(self) -> None:
        """End the process, with all that it started."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._tidy()

    def _tidy(self) -> None:
        if self._bundle is not None:
            self._bundle.unlink(missing_ok=True)

    def verdicts(self, missing: str) -> dict[str, Verdict]:
        """Return the verdicts that came; ``missing`` is the reason for the others."""
        global _needs_torch
        found = dict.fromkeys(self._runs, Verdict(NOT_CHECKED, None, {"reason": missing}))
        for line in self._text.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # the last one may be cut off
                data = json.loads(line)
                found[data["run"]] = Verdict.from_json(data["verdict"])
                _needs_torch = _needs_torch or data["torch"]
        return found


_COMMAND: Final = (
    "import sys; sys.path[:] = {path!r}; "
    "from simgit.gym.restoring.check_process import main; main()"
)


def _environment() -> dict[str, str]:
    given = os.environ.get("PYTHONHASHSEED", "random")
    other = int.from_bytes(os.urandom(4), "little")
    # what draws on a screen draws nowhere
    quiet = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "agg"}
    seed = str(other if str(other) != given else other ^ 1)
    return {**quiet, **os.environ, "PYTHONHASHSEED": seed}


# --- in the process ------------------------------------------------------------------------------


def main() -> None:
    """Check the runs that standard input names, and write a line for each to standard output."""
    out = os.dup(1)  # environments print to the other one
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    job = json.loads(_line(0))
    if hasattr(signal, "alarm"):
        signal.alarm(int(job["seconds"] * 1.5) + 5)  # whatever happens
    warnings.simplefilter("ignore")
    for name in job["modules"]:
        if name != _TORCH or job["torch"]:
            with contextlib.suppress(Exception):
                import_module(name)
    for name in job["engines"]:
        with contextlib.suppress(Exception):
            module, _, kind = name.partition(":")
            choose.register(getattr(import_module(module), kind)())
    if _TORCH not in sys.modules:
        randomness.leave_torch(is_missed=_TORCH in job["modules"])
    opened = _opener(job)
    until = monotonic() + job["seconds"]
    for i, (run, stop) in enumerate(job["runs"].items()):
        left = len(job["runs"]) - i
        begun = monotonic()
        try:
            verdict = _verdict(opened, run, stop, (until - begun) / left, job["how"])
        except NeedsTorch:
            with contextlib.suppress(Exception):
                randomness.load_torch()
            until += monotonic() - begun
            verdict = _verdict(opened, run, stop, (until - monotonic()) / left, job["how"])
        facts = {"run": run, "verdict": verdict.to_json(), "torch": _TORCH in sys.modules}
        line = json.dumps(facts).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            os.write(out, line)
    os._exit(0)


class NeedsTorch(Exception):
    """A check has to be made again with torch loaded, as it was where the run was recorded."""


def _verdict(
    opened: Opened, run: str, stop: int | None, seconds: float, how: Mapping[str, Any]
) -> Verdict:
    """Return the verdict on a run.

    Raises:
        NeedsTorch: torch was left out, and may be needed.
    """
    try:
        return RunCheck(opened, run, stop=stop, seconds=seconds, **how).verdict(apart)
    except NeedsTorch:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, SimgitError) else f"{type(error).__name__}: {error}"
        return Verdict(UNKNOWN, None, {"reason": text[:1000]})


def _line(source: int) -> bytes:
    """Return a line from a file, read without a buffer: the end of input is waited for later."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(source, 1 << 16)
        if not part:
            os._exit(1)
        data += part
    return data


def _opener(job: Mapping[str, Any]) -> Opened:
    if "bundle" not in job:
        return partial(Repository.open, job["repository"], read_only=True)
    repo = Repository.init(":memory:")
    repo.import_bundle(job["bundle"])
    Path(job["bundle"]).unlink(missing_ok=True)
    return lambda: contextlib.nullcontext(repo)


def apart(check: Callable[[], Outcome], start: int, seconds: float) -> Outcome:
    """Return the result of a check that is made in a fork, if the system has forks.

    Raises:
        NeedsTorch: torch was left out, and may be needed.
    """
    if not _CAN_FORK:
        found = check()
        if _may_need_torch(found):
            raise NeedsTorch
        return found
    source, target = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(source)
        _work(check, target, seconds)
    os.close(target)
    try:
        data, why = _collected(source, monotonic() + seconds)
    finally:
        os.close(source)
        for kill in (partial(os.killpg, pid), partial(os.kill, pid)):
            with contextlib.suppress(OSError):
                kill(signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    if why == _GONE:
        os._exit(1)
    if not data and why is None:
        why = f"its process ended: {_status(status)}"
    if why is not None:
        return Outcome(start, ended=why)
    result = json.loads(data)
    if result.pop(_TORCH):
        raise NeedsTorch
    return Outcome(**result)


def _may_need_torch(found: Outcome) -> bool:
    """Return True if torch was left out, and this process loaded it, or the check failed."""
    is_fine = not (found.differs or found.unmade)
    return randomness.misses_torch() and (_TORCH in sys.modules or not is_fine)


def _result(found: Outcome) -> bytes:
    return json.dumps({**found.to_json(), _TORCH: _may_need_torch(found)}, default=str).encode()


def _work(check: Callable[[], Outcome], target: int, seconds: float) -> None:
    """Make a check, write the result, and end this process without a trace."""
    try:
        os.setpgid(0, 0)  # what the environment starts ends with it
        signal.alarm(int(seconds) + 5)
        data = _result(check())
        while data:
            data = data[os.write(target, data) :]
    except BaseException as error:
        with contextlib.suppress(BaseException):
            found = Outcome(0, unmade=f"{type(error).__name__}: {error}"[:1000])
            os.write(target, _result(found))
    finally:
        os._exit(0)


def _collected(source: int, until: float) -> tuple[bytes, str | None]:
    """Return what a fork writes; or the reason why not all of it came."""
    data = b""
    while True:
        left = until - monotonic()
        ready = select.select([source, 0], [], [], max(0.0, left))[0]
        if 0 in ready:
            return b"", _GONE
        if source in ready:
            part = os.read(source, 1 << 16)
            if not part:
                return data, None
            data += part
        elif left <= 0:
            return b"", "its re-execution took too long"


def _status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def check_run(repo: Repository, run: str, *, seconds: float = SECONDS, **how: Any) -> Verdict:
    """Check a run in a process of its own, wait for the verdict, and return it.

    Args:
        repo: the repository.
        run: the run.
        seconds: the greatest time to wait.
        how: further arguments of ``RunCheck``.

    Raises:
        InvalidInput: no time can be so long.
    """
    seconds = min(check_number(seconds, "seconds"), LONGEST)
    try:
        process = CheckProcess(repo, {run: None}, seconds=seconds, **how)
    except StorageError as error:
        return Verdict(NOT_CHECKED, None, {"reason": str(error)})
    try:
        has_ended = process.wait(seconds * 1.5 + 5)
        why = "its process ended without a result" if has_ended else "it took too long"
        return process.verdicts(why)[run]
    finally:
        process.stop()
