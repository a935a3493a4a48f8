"""The process of its own in which recorded runs are checked: what starts it, and what it does.

It has another hash seed than this process, and the same modules within reach; it never runs this
process's script. It ends when this process ends, when nobody needs it any more, or when nothing was
asked of it for a minute. What environments print is discarded.

One process makes all checks that are asked for in that time: of the lanes of a vector, of the
recorders of a script. To start it and to import what environments need takes longer than most
checks. Each run is checked in a fork of it, which forks for each part of the check, so that none
sees what another one left behind in a class, a module or a library, and one that hangs or crashes
takes nothing with it.

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
import threading
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
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
IDLE: Final = 60.0
"""The seconds after which the process ends by itself if nothing is asked of it."""
_MARGIN: Final = 15.0
"""So many seconds before that it is taken as ended: a busy machine takes its time."""
_LOADING: Final = 95
"""The most seconds for loading what takes long."""
_SLICE: Final = 0.1
"""The longest wait for an answer while other threads cannot ask."""
_AT_ONCE: Final = max(2, min(4, os.cpu_count() or 1))
"""Runs that are checked at a time: one that hangs does not hold up the others."""
_SLOW: Final = ("torch", "mujoco", "ale_py", "minigrid")
"""Libraries that are imported once, and not in each fork, where this process has imported them."""
_TORCH: Final = "torch"
_needs_torch = False
"""True once an environment of this process was found to need torch."""
_CAN_FORK: Final = hasattr(os, "fork")
_GONE: Final = "the process that started it has ended"


class CheckProcess:
    """A check of runs of a repository; its verdicts are fetched when they are there.

    The process that makes it is the one that others of this process are made in at that time.
    """

    def __init__(
        self,
        repo: Repository,
        runs: Mapping[str, int | None],
        *,
        seconds: float = SECONDS,
        **how: Any,
    ) -> None:
        """Start the check.

        Args:
            repo: the repository; what is to be checked is stored.
            runs: the runs, each with the number of its first states that are checked (None: all).
            seconds: the time for all.
            how: further arguments of ``RunCheck``.

        Raises:
            StorageError: no process can be started here.
        """
        self._runs = list(runs)
        self._found: dict[str, Verdict] = {}
        self._is_lost = False
        self._bundle: Path | None = None
        job = {
            "runs": dict(runs), "seconds": seconds, "how": how,
            "engines": choose.importable(), "repository": str(repo.directory),
            "modules": [name for name in _SLOW if name in sys.modules],
            "torch": _needs_torch,
        }  # fmt: skip
        try:
            if repo.directory is None:
                job["bundle"] = str(self._bundled(repo))
            self._process, self._number = CheckHost.ask(self, job)
        except (OSError, ValueError) as error:
            self._tidy()
            raise StorageError(f"cannot start a process: {error}") from error
        except StorageError:
            self._tidy()
            raise

    def _bundled(self, repo: Repository) -> Path:
        """Return a file with the runs of a repository in memory, which no other process can see."""
        with tempfile.NamedTemporaryFile(prefix="simgit-check-", delete=False) as file:
            self._bundle = Path(file.name)
        repo.create_bundle(self._bundle, self._runs)
        return self._bundle

    def take(self, reply: Mapping[str, Any]) -> None:
        """Take the verdict on a run."""
        global _needs_torch
        self._found[reply["run"]] = Verdict.from_json(reply["verdict"])
        _needs_torch = _needs_torch or reply["torch"]

    def lose(self) -> None:
        """Note that the process has ended before the check."""
        self._is_lost = True

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for the end of the check, at most so long; return True if it has ended."""
        return self._process.wait(self._number, seconds)

    def stop(self) -> None:
        """End the check, with all that it started."""
        self._process.cancel(self._number)
        self._tidy()

    def _tidy(self) -> None:
        if self._bundle is not None:
            self._bundle.unlink(missing_ok=True)

    def verdicts(self, missing: str) -> dict[str, Verdict]:
        """Return the verdicts that came; ``missing`` is the reason for the others."""
        reason = "the process that checks ended before" if self._is_lost else missing
        without = Verdict(NOT_CHECKED, None, {"reason": reason})
        return {run: self._found.get(run, without) for run in self._runs}


class CheckHost:
    """The process in which checks are made, as many as are asked for, one beside the other.

    It is started anew where what it has from this process is not the same any more.
    """

    _now: CheckHost | None = None
    _parents: CheckHost | None = None
    _holders: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
    _one = threading.RLock()

    def __init__(self, given: tuple[Any, ...]) -> None:
        """Start it; ``given`` is what it has from this process."""
        if not sys.executable:
            raise StorageError("cannot start a process: the interpreter has no path")
        self._given = given
        self._pid = os.getpid()
        self._checks: dict[int, CheckProcess] = {}
        self._count = 0
        self._text = b""
        self._is_over = False
        self._used = monotonic()
        self._lock = threading.RLock()  # a handler of a signal may flush
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", *["-O"] * sys.flags.optimize, "-c",
             _COMMAND.format(path=list(map(str, sys.path)))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @classmethod
    def ask(cls, check: CheckProcess, job: Mapping[str, Any]) -> tuple[CheckHost, int]:
        """Ask for a check; return the process that makes it, and its number there.

        Raises:
            StorageError, OSError, ValueError: no process can be started here.
        """
        given = os.getpid(), sys.executable, _directory(), (*sys.path,), dict(os.environ)
        with cls._one:
            now = cls._now
            if now is None or now._given != given or not now._is_ready():
                former, now = now, cls(given)
                cls._now = now
                if former is not None and not former._checks:
                    former.stop()
            with now._lock:
                now._count += 1
                now._checks[now._count] = check
                now._write({**job, "job": now._count})
                return now, now._count

    @classmethod
    def hold(cls, holder: Any) -> None:
        """Keep the process for what ``holder`` will ask for, while it is used now and then."""
        cls._holders.add(holder)

    @classmethod
    def release(cls, holder: Any = None) -> None:
        """Hold it no longer; without holders and checks it ends."""
        with cls._one:
            if holder is not None:
                cls._holders.discard(holder)
            now = cls._now
            if now is not None and not cls._holders and not now._checks:
                cls._now = None
                now.stop()

    @classmethod
    def tidy(cls) -> None:
        """Let go of the process if it has ended by itself."""
        now = cls._now
        if now is not None and not now._checks and now._process.poll() is not None:
            with cls._one:
                if cls._now is now:
                    cls._now = None
                    now.stop()

    @classmethod
    def leave_to_parent(cls) -> None:
        """Know of no process in a child that was forked, nor of who holds one."""
        cls._parents = cls._now  # it is not to be finalized here
        cls._now, cls._one = None, threading.RLock()
        cls._holders.clear()

    def _is_ready(self) -> bool:
        """Return True if it takes more: it ends by itself when it had nothing to do for long."""
        is_used = bool(self._checks) or monotonic() - self._used < IDLE - _MARGIN
        return is_used and not self._is_over and self._process.poll() is None

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._used = monotonic()
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and says so
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()  # it stays open: its end is the end of the process

    def wait(self, number: int, seconds: float) -> bool:
        """Wait for the end of a check, at most so long; return True if it has ended."""
        until = monotonic() + seconds
        while number in self._checks and self._pid == os.getpid():
            left = max(0.0, until - monotonic())
            if not self._lock.acquire(timeout=left):
                break
            try:  # other threads wait for other checks
                has_come = self._read(min(left, _SLICE))
            finally:
                self._lock.release()
            if not has_come and not left:
                break
        return number not in self._checks

    def _read(self, seconds: float) -> bool:
        """Take what has come; wait for it, at most so long."""
        assert self._process.stdout is not None
        if self._is_over or not select.select([self._process.stdout], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._process.stdout.fileno(), 1 << 16)
        except BlockingIOError:  # the handler of a signal has taken it
            return False
        self._used = monotonic()
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            reply = json.loads(line)
            check = self._checks.get(reply["job"])
            if check is not None and "run" in reply:
                check.take(reply)
            elif check is not None:
                del self._checks[reply["job"]]
        if not data:
            self._is_over = True
            for check in self._checks.values():
                check.lose()
            self._checks.clear()
        return True

    def cancel(self, number: int) -> None:
        """End a check, and the process if nobody needs it any more."""
        if self._pid != os.getpid():
            return  # it is another process's
        with self._lock:
            if self._checks.pop(number, None) is not None:
                self._write({"cancel": number})
        if self is not CheckHost._now and not self._checks:
            self.stop()
        CheckHost.release()

    def stop(self) -> None:
        """End the process, with all that it started."""
        if self._pid != os.getpid():
            return
        self._is_over = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


if _CAN_FORK:
    os.register_at_fork(after_in_child=CheckHost.leave_to_parent)


def _directory() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return None


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
    """Make the checks that standard input asks for, and write the verdicts to standard output."""
    out = os.dup(1)  # environments print to the other one
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    warnings.simplefilter("ignore")
    CheckDesk(out).serve()
    os._exit(0)


@dataclass
class _Request:
    """A check that was asked for: of some runs of a repository."""

    number: int
    asked: Mapping[str, Any]
    opened: Opened
    left: set[str]
    has_torch: bool = False  # or cannot have it


@dataclass
class _RunPart:
    """The check of one run, in a process of its own while it is under way."""

    job: _Request
    run: str
    pid: int = 0
    source: int = -1  # what it writes
    life: int = -1  # it ends when this is closed
    until: float = 0.0
    data: bytes = b""


class CheckDesk:
    """Takes what is asked for, and makes the checks of some runs at a time.

    Each is made in a fork, which forks for its parts: what happens in it costs no other one.
    """

    def __init__(self, out: int) -> None:
        self._out = out
        os.set_blocking(out, False)  # nobody may read for long, and checks go on meanwhile
        self._replies = b""
        self._text = b""
        self._waiting: deque[_RunPart] = deque()
        self._running: dict[int, _RunPart] = {}
        self._idle_from = monotonic()

    def serve(self) -> None:
        """Work until the process that asks has ended, or has asked for nothing for long."""
        while self._is_busy() or monotonic() - self._idle_from < IDLE:
            while (part := self._next()) is not None:
                self._waiting.remove(part)
                self._begin(part)
            ends = [part.until for part in self._running.values()]
            until = min(ends, default=self._idle_from + IDLE)
            left = None if self._replies and not ends else max(0.0, until - monotonic())
            told = [self._out] if self._replies else []
            ready, may_tell, _ = select.select([0, *self._running], told, [], left)
            if 0 in ready and not self._listen():
                break
            if may_tell:
                self._tell()
            for source in ready:
                if source in self._running:
                    self._collect(self._running[source])
            for part in [p for p in self._running.values() if monotonic() > p.until]:
                self._end(part, "its re-execution took too long")
        for part in list(self._running.values()):
            self._leave(part)

    def _is_busy(self) -> bool:
        return bool(self._running or self._waiting or self._replies)

    def _next(self) -> _RunPart | None:
        """Return the run whose check begins now, None if there is none.

        Checks take turns: one whose runs hang holds up no other one, which may begin beyond the
        usual number.
        """
        under_way = Counter(part.job.number for part in self._running.values())
        part = min(self._waiting, key=lambda part: under_way[part.job.number], default=None)
        if part is None:
            return None
        most = _AT_ONCE if under_way[part.job.number] else 2 * _AT_ONCE
        return part if len(self._running) < most else None

    def _listen(self) -> bool:
        """Take what is asked for; return False at the end of it."""
        data = os.read(0, 1 << 16)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if "cancel" in asked:
                self._cancel(asked["cancel"])
            else:
                self._take(asked)
        return bool(data)

    def _take(self, asked: Mapping[str, Any]) -> None:
        with _alarm(_LOADING):
            _prepare(asked)
            try:
                opened = _opener(asked)
            except Exception as error:
                opened = partial(_raise, error)
        job = _Request(asked["job"], asked, opened, set(asked["runs"]))
        self._waiting += [_RunPart(job, run) for run in asked["runs"]]

    def _cancel(self, number: int) -> None:
        self._waiting = deque(part for part in self._waiting if part.job.number != number)
        for part in [p for p in self._running.values() if p.job.number == number]:
            self._leave(part)
        self._idle_from = monotonic()

    def _begin(self, part: _RunPart) -> None:
        """Begin the check of a run."""
        asked = part.job.asked
        seconds = asked["seconds"] / len(asked["runs"])
        if not _CAN_FORK:
            part.data = _checked(part, seconds)
            self._finish(part, None)
            return
        (source, target), (other, life) = os.pipe(), os.pipe()
        try:
            pid = os.fork()
        except OSError as error:  # there are too many processes
            for fd in (source, target, other, life):
                os.close(fd)
            self._finish(part, f"cannot start a process: {error}")
            return
        if pid == 0:
            for fd in (source, life, self._out, *(p.life for p in self._running.values())):
                os.close(fd)  # so that each ends with this process
            os.dup2(other, 0)
            os.close(other)
            _make(part, target, seconds)
        os.close(target)
        os.close(other)
        # it ends by itself; each of at most five parts may take some seconds more than it has
        part.pid, part.source, part.life = pid, source, life
        part.until = monotonic() + 1.5 * seconds + 30
        self._running[source] = part

    def _collect(self, part: _RunPart) -> None:
        data = os.read(part.source, 1 << 16)
        part.data += data
        if not data or data.endswith(b"\n"):
            self._end(part, None)

    def _end(self, part: _RunPart, why: str | None) -> None:
        """End the check of a run, with what it has written; or with the reason why it has not."""
        status = self._leave(part)
        if not part.data and why is None:
            why = f"its process ended: {_status(status)}"
        self._finish(part, why)

    def _leave(self, part: _RunPart) -> int:
        """End the process of a check; return its status."""
        del self._running[part.source]
        os.close(part.life)
        os.close(part.source)
        until = monotonic() + 1.0
        while True:
            pid, status = os.waitpid(part.pid, os.WNOHANG)
            if pid:
                return status
            if monotonic() > until:
                os.kill(part.pid, signal.SIGKILL)
                return os.waitpid(part.pid, 0)[1]
            sleep(0.002)

    def _finish(self, part: _RunPart, why: str | None) -> None:
        """Say what came out."""
        verdict: Any = None
        if why is None:
            try:
                verdict = json.loads(part.data)
            except ValueError:
                why = "its process ended in the middle of its result"
        if why is not None:
            verdict = Verdict(NOT_CHECKED, None, {"reason": why}).to_json()
        if verdict == _TORCH:
            part.job.has_torch = True
            with contextlib.suppress(Exception), _alarm(_LOADING):
                randomness.load_torch()
            self._waiting.appendleft(_RunPart(part.job, part.run))
            return
        job, facts = part.job, {"verdict": verdict, "torch": _TORCH in sys.modules}
        self._say({"job": job.number, "run": part.run, **facts})
        job.left.discard(part.run)
        if not job.left:
            self._say({"job": job.number})
        self._idle_from = monotonic()

    def _say(self, reply: Mapping[str, Any]) -> None:
        self._replies += json.dumps(reply).encode() + b"\n"
        self._tell()

    def _tell(self) -> None:
        """Write what is to be said, as far as there is room for it."""
        try:
            self._replies = self._replies[os.write(self._out, self._replies) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._replies = b""


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    """End this process if the block takes longer, whatever a module does that is imported."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
    try:
        yield
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def _raise(error: Exception) -> Any:
    raise error


def _prepare(asked: Mapping[str, Any]) -> None:
    """Import what the process that asks has imported, and takes long."""
    for name in asked["modules"]:
        if name != _TORCH or asked["torch"]:
            with contextlib.suppress(Exception):
                import_module(name)
    known = choose.importable()
    engines = [name for name in asked["engines"] if name not in known]
    if engines and _survives(partial(_register, engines)):
        _register(engines)


def _register(engines: Sequence[str]) -> None:
    for name in engines:
        with contextlib.suppress(Exception):
            module, _, kind = name.partition(":")
            choose.register(getattr(import_module(module), kind)())


def _survives(act: Callable[[], None]) -> bool:
    """Return False if code of a user's, which all checks would wait for, ends its process."""
    if not _CAN_FORK:
        return True
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            with _alarm(_LOADING // 2):
                act()
            os._exit(0)
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _make(part: _RunPart, target: int, seconds: float) -> None:
    """Check a run, write the verdict, and end this process without a trace."""
    try:
        signal.alarm(int(1.5 * seconds) + 60)
        data = _checked(part, seconds)
        while data:
            data = data[os.write(target, data) :]
    finally:
        os._exit(0)


def _checked(part: _RunPart, seconds: float) -> bytes:
    """Return the verdict on a run; or that it needs torch."""
    asked = part.job.asked
    if _TORCH not in sys.modules and not part.job.has_torch:
        randomness.leave_torch(is_missed=_TORCH in asked["modules"])
    try:
        found = _verdict(part.job.opened, part.run, asked["runs"][part.run], seconds, asked["how"])
    except NeedsTorch:
        return json.dumps(_TORCH).encode() + b"\n"
    return json.dumps(found.to_json(), default=str).encode() + b"\n"


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
