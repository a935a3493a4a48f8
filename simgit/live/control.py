"""The control of a simulation: its settings, its recorder, and what people ask of it.

Everything is handled in the simulation's own thread, where it looks: in ``check``, in ``range``,
and at each step of its environment.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from simgit.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Stopped,
    TimedOut,
    shown,
    visible,
)
from simgit.live.channel import Listener, Message
from simgit.live.forms import checked_answer, defaults, form
from simgit.live.inputs import (
    ANSWER,
    CHECKPOINT,
    SET,
    Begin,
    Input,
    SettingsInForce,
    attachment_of,
    keep_input,
)
from simgit.objects.columns import ABSENT
from simgit.odb.clock import with_time
from simgit.recording.catch_up import CatchUp
from simgit.recording.recorder import RunRecorder
from simgit.refs.run_config import flat, is_within, nested

if TYPE_CHECKING:
    from simgit.gym.recording.recorder import Recorder
    from simgit.live.recorder import Last
    from simgit.live.registry import SimulationType
    from simgit.repository import Repository

LEVELS: Final = ("debug", "info", "warning", "error")
FLUSH_SECONDS: Final = 1.0
"""Seconds after which what a simulation has recorded can be seen."""
WATCHED_SECONDS: Final = 0.1
"""The same while somebody looks at the run."""
MOST_WATCHED: Final = 60.0
"""The longest time in seconds for which one request says that somebody looks."""
METRICS: Final = "metrics"
"""The last part of the name of the run that has the numbers beside a run's states."""


_ATTACH, _EVENTS = "attach", "events"
"""What threads of the simulation's own ask of it."""


@dataclass
class Question:
    """A question that waits for an answer."""

    number: int
    text: str
    form: dict[str, Any]
    deadline: float | None
    answer: dict[str, Any] | None = None
    by: str | None = None
    message: Message | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values; ``left`` is the time in seconds until its default is taken."""
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        return {"number": self.number, "text": self.text, "form": self.form, "left": left}


@dataclass
class Progress:
    """The progress of a simulation; ``total`` and ``stage`` may be unknown."""

    done: float = 0
    total: float | None = None
    stage: str | None = None
    since: float = field(default_factory=time.monotonic)
    first: float = 0

    def plain(self) -> dict[str, Any]:
        """Return it as plain values; ``left`` is an estimate of the seconds that remain."""
        left = None
        if self.total is not None and self.done > self.first:
            seconds = time.monotonic() - self.since
            left = seconds / (self.done - self.first) * max(0.0, self.total - self.done)
        return {"done": self.done, "total": self.total, "stage": self.stage, "left": left}


class Control:
    """The argument of a type's function.

    Attributes:
        repo: the repository.
        run: the run that is recorded.
        config: the settings in force: defaults < the run's own and inherited ones < those that were
            changed while it ran.
        seed: the run's seed.
        resumed: what ``checkpoint`` kept at the state at which this begins, None without one.
    """

    def __init__(
        self,
        repo: Repository,
        run: str,
        kind: SimulationType,
        begin: Begin,
        listener: Listener,
        note: Callable[..., None],
    ) -> None:
        """Join the parts; a type is given one, and ``simgit.live.attach`` makes one."""
        self.repo = repo
        self.run = run
        info = repo.runs[run]
        self.seed: Any = info.seed
        self._checkpoint = attachment_of(info, CHECKPOINT)
        self.resumed = begin.checkpoint
        self._kind = kind
        self._begin = begin
        self._settings = SettingsInForce(kind.defaults)
        for entry in begin.before:
            self._settings.apply(entry)
        self.config = self._settings.config
        self._due = list(begin.due)
        self._listener = listener
        self._waiting = listener.waiting
        self._note = note
        self._recorder: Recorder | RunRecorder | None = None
        self._metrics: Any = None
        self._logged = -2
        self._place: Any = _Place(begin.position - 1)
        self._looked_at = -2
        self._seen: tuple[Any, ...] = ()
        self._save: Callable[[], Any] | None = None
        self._questions: dict[int, Question] = {}
        self._asked = 0
        self._progress = Progress()
        self._looked = time.monotonic()
        self._began = time.monotonic()
        self._phase = "running"
        self._closing: list[Callable[[], None]] = []

    # --- how far it is ---

    @property
    def position(self) -> int:
        """The number of states on the way to the next one."""
        return int(self._place._count) + 1

    def progress(self, done: float, total: float | None = None, stage: str | None = None) -> None:
        """Say how far the simulation is.

        Args:
            done: how much is done, in any unit.
            total: how much there is to do, if that is known.
            stage: what it does at the moment, in a few words.
        """
        if stage != self._progress.stage or total != self._progress.total:
            self._progress = Progress(done, total, stage, first=done)
        self._progress.done = done

    def range(self, total: int | str, *, stage: str | None = None) -> Iterator[int]:
        """Count the steps of the simulation, from where its run stands; look at each.

        A step is a state with an action: a simulation that is continued counts on. One that counts
        anything else keeps it with ``checkpoint``.

        Args:
            total: how many steps; or the name of the setting that says so, which is read whenever
                settings change: a fork begins with those of its parent, before its branch point.
            stage: what it does meanwhile, in a few words.
        """
        number = self._begin.steps
        until, settings = self._total(total), self._settings
        version = settings.version
        self.progress(number, until, stage)
        mine = self._progress
        waiting, due = self._waiting, self._due
        while True:  # each line of it costs every step of every simulation
            if self._progress is mine:
                mine.done = number
            else:  # the simulation said something else in between
                self.progress(number, until, stage)
                mine = self._progress
            if waiting or due:  # this is ``check``, without the time, see ``note_look``
                self._look(may_keep=True)  # a fork's own settings come into force here
            self._looked_at = self._place._count
            if settings.version != version:
                version, until = settings.version, self._total(total)
                mine.total = until
            if number >= until:
                break
            yield number
            number += 1
        self.progress(until, until, stage)

    def _total(self, total: int | str) -> int:
        found = self.config.get(total) if isinstance(total, str) else total
        if type(found) is not int:
            raise InvalidInput(f"setting '{total}' must be a number of steps, got {shown(found)}")
        return found

    def check(self) -> None:
        """Look at what people ask: stop, pause, changed settings, queries.

        Between two calls nothing is noticed. Call it where the simulation could begin again from
        what ``checkpoint`` keeps and the environment's snapshot.

        Raises:
            Stopped: somebody stops it.
        """
        self._looked = time.monotonic()
        if self._waiting or self._due:
            self._look(may_keep=True)
        self._looked_at = self._place._count

    def _step(self) -> None:
        """Look before a step of the environment, for which the action is drawn already."""
        self._looked = time.monotonic()
        self._look(may_keep=False)
        self._looked_at = self._place._count

    def _look(self, may_keep: bool) -> None:
        here = self.position
        for each in [each for each in self._due if each.position <= here]:
            if each.kind != ANSWER:
                self._due.remove(each)
                self._settings.apply(each)
            elif each.position < here and not each.is_early:
                self._due.remove(each)
                question = shown(each.data.get("question"))
                self.log(f"the answer to {question} was not asked for again", "warning")
        while self._waiting:
            self._handle(self._waiting.popleft(), may_keep)

    def _handle(self, message: Message, may_keep: bool) -> None:
        try:
            if message.what in ("pause", "set", "query") and message.is_late:
                raise TimedOut("nobody waits for it any more")
            if message.what == "stop":
                self._note("stopping", by=message.request.get("by"))
                message.answer({"step": self.position - 1})
                try:
                    if may_keep:
                        self._keep()
                except Exception as error:
                    self.log(f"nothing is kept here: {type(error).__name__}: {error}", "warning")
                raise Stopped
            if message.what == "pause":
                self._pause(message, may_keep)
            elif message.what == "set":
                message.answer(self._set(message.request))
            elif message.what == "query":
                message.answer(self._query(message.request))
            elif message.what == _ATTACH:
                self._attach_file(message.request)
            elif message.what == _EVENTS:
                self._record_events(message.request)
            elif message.what == "resume":
                raise Conflict("the simulation is not paused")
            elif message.what == "answer":  # somebody else's came first
                raise Conflict("the question has been answered already")
            else:
                raise InvalidInput(f"unknown request '{message.what}'")
        except Exception as error:  # also what a user's query raises: who asked is told
            message.refuse(error)

    def _pause(self, message: Message, may_keep: bool) -> None:
        if self._phase == "paused":
            raise Conflict("the simulation is paused already")
        self.flush()
        if may_keep:
            self._keep()
        with self._during("paused", by=message.request.get("by")):
            message.answer({"step": self.position - 1})
            while True:
                found = self._next_message(None)
                assert found is not None
                if found.what == "resume":
                    found.answer({"step": self.position - 1})
                    return
                self._handle(found, may_keep)

    @contextmanager
    def _during(self, phase: str, **data: Any) -> Iterator[None]:
        """Be in a phase, and then again in the one before; one that is stopped in it ends in it."""
        before, self._phase = self._phase, phase
        self._note(phase, **data)
        yield
        self._phase = before
        self._note(before)

    def _next_message(self, timeout: float | None) -> Message | None:
        with self._listener.arrived:
            self._listener.arrived.wait_for(lambda: bool(self._waiting), timeout)
            self._looked = time.monotonic()
            return self._waiting.popleft() if self._waiting else None

    # --- settings and inputs ---

    def _set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        overrides = request.get("overrides")
        if not isinstance(overrides, Mapping) or not overrides:
            raise InvalidInput("a change of settings needs settings")
        if self._kind.is_fixed:
            raise InvalidInput(
                f"type '{self._kind.name}' reads its settings when it begins; fork the run with "
                "other settings"
            )
        changed, now = flat(nested(overrides)), flat(self._settings.config)
        for path in changed:
            if any(is_within(path, each) or is_within(each, path) for each in self._kind.imports):
                raise InvalidInput(f"setting '{path}' is read at the beginning: fork the run")
        here = self.position
        if self._recorder is not None and here == self._looked_at + 1:
            here += 1  # it would not be known again which of the looks at this place it was
        self._kind.check(overrides)
        data = {
            "overrides": nested(overrides), "by": request.get("by"),
            "before": {path: now[path] for path in changed if path in now},
        }  # fmt: skip
        entry = Input(max(here, self._begin.until), SET, data)
        self._keep_input(entry)
        if entry.position > self.position:
            self._due.append(entry)
        else:
            self._settings.apply(entry)
        return {"from": entry.position}

    def _keep_input(self, entry: Input) -> None:
        """Store an input, before it has any effect."""
        self.flush()
        keep_input(self.repo, self.run, entry)
        self._note("input", **{"kind": entry.kind, "step": entry.position - 1, **entry.data})

    def ask(
        self,
        text: str,
        example: Mapping[str, Any],
        default: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Ask people a question, and wait for the first answer.

        The answer is recorded: a simulation that is continued or forked before it gets it again.

        Args:
            text: the question.
            example: a value for each field of the answer, or a JSON Schema of an object.
            default: the answer if nobody has answered after ``timeout``; the example if None.
            timeout: in seconds; None to wait for ever.

        Raises:
            InvalidInput: there is no default for a question with a timeout, or it does not fit.
            Stopped: somebody stops the simulation.
        """
        schema = form(example)
        fallback = defaults(schema) if default is None else checked_answer(schema, default)
        if timeout is not None and fallback is None:
            raise InvalidInput("a question with a timeout needs a default for each field")
        self._looked = time.monotonic()
        self._look(may_keep=False)  # something may have been drawn since the newest state
        early = self._recorder is None
        for index, each in enumerate(self._due):
            if (
                each.kind == ANSWER
                and each.data.get("question") == text
                and (each.is_early if early else each.position == self.position)
            ):
                found: dict[str, Any] = dict(self._due.pop(index).data["value"])
                self._looked_at = self._place._count
                return found
        question = self._wait_for_answer(text, schema, fallback, timeout)
        data: dict[str, Any] = {"question": text, "value": question.answer, "by": question.by}
        if early:
            data["early"] = True
        self._keep_input(Input(self.position, ANSWER, data))
        if question.message is not None:
            question.message.answer({"value": question.answer})
        self._looked_at = self._place._count
        return dict(data["value"])

    def _wait_for_answer(
        self,
        text: str,
        schema: dict[str, Any],
        fallback: dict[str, Any] | None,
        timeout: float | None,
    ) -> Question:
        self.flush()  # who answers sees the state that the question is about
        self._asked += 1
        deadline = None if timeout is None else time.monotonic() + timeout
        question = Question(self._asked, text, schema, deadline)
        self._questions[question.number] = question
        with self._during("asking", question=text, number=question.number):
            while question.answer is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    assert fallback is not None
                    question.answer, question.by = fallback, "default"
                    break
                message = self._next_message(left)
                if message is not None and message.what == "answer":
                    self._take_answer(message)
                elif message is not None:
                    self._handle(message, may_keep=False)
        del self._questions[question.number]
        return question

    def _take_answer(self, message: Message) -> None:
        try:
            number = message.request.get("question") or self._asked
            question = self._questions.get(number) if isinstance(number, int) else None
            if question is None:
                raise Conflict("the question has been answered already")
            question.answer = checked_answer(question.form, message.request.get("value"))
            question.by = str(message.request.get("by") or "somebody")
            question.message = message
        except Exception as error:
            message.refuse(error)

    def _query(self, request: Mapping[str, Any]) -> Any:
        name = request.get("name")
        found = self._kind.queries.get(str(name))
        if found is None:
            known = ", ".join(self._kind.queries) or "none"
            raise NotFound(f"query '{name}' not found; known: {known}", name=name)
        return {"value": found(self, request.get("argument")), "step": self.position - 1}

    # --- what is recorded ---

    @property
    def folder(self) -> Path:
        """A directory for this run's own files, which is not part of the history."""
        found = self.shared / quote(self.run, safe="")
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def shared(self) -> Path:
        """A directory for files that simulations of this repository share."""
        assert self.repo.directory is not None
        found = self.repo.directory / "live" / "files"
        found.mkdir(parents=True, exist_ok=True)
        return found

    def env(self, id: Any, *, reset: bool = True, **options: Any) -> Recorder:
        """Return an environment that is recorded to the run.

        Where the run has states it is restored, exactly, to the one at which the simulation begins.
        Otherwise its action space is seeded and it is reset with the run's seed.

        Args:
            id: the id of a registered environment, after its module if it needs one; or an
                environment.
            reset: False to leave the first reset to the simulation.
            options: arguments of the environment; with an environment, of ``simgit.gym.Recorder``.

        Raises:
            NotFound, InvalidInput: see ``simgit.gym.Recorder`` and ``restore``.
        """
        from simgit.live.recorder import opened

        made = opened(
            self.repo, self.run, id, self._begin, options, seed=self.seed, reset=reset,
            flush_seconds=FLUSH_SECONDS,
        )  # fmt: skip
        self.follow(made, looks=True)
        self._closing.append(made.close)
        return made

    @property
    def last(self) -> Last | None:
        """The newest result of the environment, by name; None without one."""
        from simgit.live.recorder import Last

        found = getattr(self._recorder, "returned", None)
        if found is None:
            return None
        return Last(*found) if len(found) == 5 else Last(found[0], info=found[1])

    def recorder(self, **options: Any) -> RunRecorder:
        """Return a recorder of the run, for a simulator of your own; see ``Repository.recorder``.

        A simulation that begins before the run's newest state appends the states from there on
        again: up to the newest they are compared, and not recorded.

        Raises:
            Divergence: by ``append``: a state is not the recorded one.
        """
        begin = self._begin
        made: RunRecorder = self.repo.recorder(
            self.run, **{"flush_seconds": FLUSH_SECONDS, **options}
        )
        self._recorder, self._place = made, _AppendedPlace(begin.until, made)
        self._closing.append(made.close)
        if begin.position < begin.until:
            again = CatchUp(
                self.repo.trajectory(self.run), begin.position - 1, (), self.repo.attach
            )
            self._place = _AppendedPlace(begin.until, made, again)
            append, attach = made.append, made.attach

            def compare(*fields: Any, time: Any = None, **more: Any) -> None:
                for name in ("files", "message"):
                    more.pop(name, None)
                if time is not None:
                    more["info"] = with_time(more.get("info"), time)
                again.append(*fields, **more)
                if again.is_done:
                    self._place = _AppendedPlace(begin.until, made)
                    made.append, made.attach = append, attach  # type: ignore[method-assign]

            made.append, made.attach = compare, again.attach  # type: ignore[method-assign]
        return made

    def follow(self, recorder: Any, *, looks: bool = False) -> None:
        """Take a recorder of the run that was opened elsewhere, and is closed there.

        Args:
            recorder: it has ``step_count``, ``attach`` and ``flush``; or it is a recorder of a run.
            looks: True to look before each step of a ``simgit.gym.Recorder``.
        """
        self._recorder = recorder
        if isinstance(recorder, RunRecorder):
            self._place = _AppendedPlace(self._begin.until, recorder)
        else:
            self._place = _FollowedPlace(recorder)
        if looks:
            self._place = recorder
            recorder.look_before_steps(self._step, self._waiting, self._due)
            self._closing.append(lambda: recorder.look_before_steps(self._step))

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Record numbers beside the states, in the run ``RUN/metrics``: a loss, for instance.

        Raises:
            InvalidInput: one is named ``step``, which each has: the newest step of this run.
        """
        if "step" in values:
            raise InvalidInput(
                f"a metric cannot be named 'step', which is {self.position - 1} here: the newest "
                f"step of run '{self.run}'; give it another name", path="step",
            )  # fmt: skip
        recorder = self._metrics_recorder()
        if self.position - 1 <= self._logged:
            return  # an execution before this one has recorded them
        recorder.append(info={**values, "step": self.position - 1})

    def _metrics_recorder(self) -> Any:
        if self._metrics is None:
            name = f"{self.run}/{METRICS}"
            self._metrics = self.repo.recorder(name, flush_seconds=FLUSH_SECONDS)
            self._closing.append(self._metrics.close)
            tip = self.repo.runs[name].oid
            self._logged = -2 if tip is None else int(self.repo.state(tip).info["step"])
        return self._metrics

    def tensorboard(self, folder: str | PathLike[str], *, seconds: float = 1.0) -> None:
        """Record what is written to TensorBoard's event files in a folder while this runs.

        The numbers of a global step become a state of the run ``RUN/metrics``: its info has them by
        their tags (``train/loss`` as ``info.train.loss``), with ``global_step``, and ``step``, the
        newest step of this run. docs/simulations.md says what becomes of tags such as ``time/fps``
        and of global steps that begin again. Images, sounds and texts are attached to it. Event
        files of folders below count too; those that nobody has written to since the simulation
        began do not. What an execution before this one has recorded is not recorded again.

        Args:
            folder: the folder, which need not exist yet.
            seconds: the time between two readings.
        """
        from simgit.live.event_folder import EventFolder, MetricsOfEvents

        found = MetricsOfEvents(self.repo, f"{self.run}/{METRICS}", self._metrics_recorder())
        files = EventFolder(Path(folder), time.time() - (time.monotonic() - self._began))

        def read(is_last: bool) -> None:
            if news := files.read():
                self._listener.put({"do": _EVENTS, "to": found, "news": news})

        self._closing.append(lambda: self._record_events({"to": found}))
        self._in_background(read, seconds, "simgit-tensorboard")  # which ends before that

    def _in_background(self, work: Callable[[bool], None], seconds: float, name: str) -> None:
        """Call a function again and again in a thread, and once more at the end (True).

        What it puts into the queue is handled where the simulation looks, and at the end.
        """
        stopped = threading.Event()

        def run() -> None:
            is_last = False
            while not is_last:
                is_last = stopped.wait(seconds)
                try:
                    work(is_last)
                except Exception as error:  # such as a file that is damaged
                    self.log(f"{name}: {error}", "warning")

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()

        def close() -> None:
            stopped.set()
            thread.join(5.0)
            for message in list(self._waiting):
                if message.what in (_ATTACH, _EVENTS):
                    self._waiting.remove(message)
                    self._handle(message, may_keep=False)

        self._closing.append(close)

    def attach(
        self, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Attach data or a file to the newest state; see ``Repository.attach``.

        Raises:
            InvalidInput: nothing is recorded yet.
        """
        if self._recorder is None:
            raise InvalidInput(f"cannot attach '{name}': nothing is recorded yet", name=name)
        self._recorder.attach(name, data, path=path)

    def checkpoint(self, data: Any) -> None:
        """Keep what the simulation needs to begin again at the newest state.

        Args:
            data: plain data; or a function that returns them, which is called now, and again
                whenever the simulation is paused or stopped in ``range`` or ``check``.

        Raises:
            InvalidInput: nothing is recorded yet.
        """
        self._mark_checkpoints()
        if callable(data):
            self._save = data
            data = data()
        if self._recorder is None or self.position == self._begin.branched:
            return  # it begins anew, or from the run that it leaves
        self._recorder.attach(self._checkpoint, {"type": self._kind.name, "data": data})
        self._snapshot()

    def _mark_checkpoints(self) -> None:
        if not self._begin.has_checkpoints:
            self._begin.has_checkpoints = True
            self.repo.configure(self.run, metadata={CHECKPOINT: True})

    def _keep(self) -> None:
        """Keep what is needed to begin again here."""
        if self._recorder is None or self.position <= self._begin.until:
            return
        if self._save is not None:
            self._recorder.attach(self._checkpoint, {"type": self._kind.name, "data": self._save()})
        self._snapshot()
        self.flush()

    def _snapshot(self) -> None:
        snapshot = getattr(self._recorder, "snapshot", None)
        if snapshot is not None:
            snapshot()

    def flush(self) -> None:
        """Store what was recorded, so that everybody sees it."""
        if self._recorder is not None:
            self._recorder.flush()

    # --- what people see ---

    def log(self, text: object, level: str = "info") -> None:
        """Write a line to the simulation's log.

        Raises:
            InvalidInput: there is no such level.
        """
        if level not in LEVELS:
            raise InvalidInput(f"level must be one of {', '.join(LEVELS)}, got {shown(level)}")
        write_line(str(text), level, self.position - 1)

    def watch_folder(
        self,
        folder: str | PathLike[str],
        pattern: str = "*",
        *,
        step: Callable[[str], int] | None = None,
        seconds: float = 1.0,
    ) -> None:
        """Attach the files of a folder to the state that is the newest when they are complete.

        A file is complete when its size stays the same for ``seconds``; its name is that of the
        attachment (one that is too long is cut, and ends with a hash). Files that are there already
        count as known.

        Args:
            folder: the folder.
            pattern: which of its files.
            step: returns the step that a file belongs to by its name; its state is taken instead.
            seconds: between two looks.
        """
        place = Path(folder)
        known = {each.name for each in place.glob(pattern)} if place.is_dir() else set()
        sizes: dict[str, int] = {}

        def look(is_last: bool) -> None:  # then at once, for what was written last
            for each in sorted(place.glob(pattern)) if place.is_dir() else []:
                with suppress(OSError):
                    if each.name in known or not each.is_file():
                        continue
                    size = each.stat().st_size
                    if sizes.get(each.name) == size or is_last:
                        known.add(each.name)
                        self._listener.put(
                            {"do": _ATTACH, "path": str(each.resolve()), "step": step}
                        )
                    sizes[each.name] = size

        self._in_background(look, seconds, "simgit-folder")

    def _record_events(self, request: Mapping[str, Any]) -> None:
        to, step = request["to"], self.position - 1
        try:
            if "news" in request:
                to.record(request["news"], step)
            else:
                to.finish(step)
        except Exception as error:  # nobody waits for an answer
            self.log(f"something of TensorBoard's files is not recorded: {error}", "warning")

    def _attach_file(self, request: Mapping[str, Any]) -> None:
        from simgit.live.event_folder import usable_name

        path, step = Path(str(request.get("path"))), request.get("step")
        try:
            name = usable_name(path.stem, path.suffix)
            if callable(step):  # over the socket none can come
                self.flush()
                self.repo.attach(f"{self.run}@{step(path.name)}", name, path=path)
            else:
                self.attach(name, path=path)
        except Exception as error:  # also what a user's function raises
            self.log(f"'{path}' is not attached: {error}", "warning")

    # --- for the process that executes it ---

    def watched(self, seconds: float) -> None:
        """Let be seen sooner what is recorded in the next seconds, from any thread."""
        for each in (self._recorder, self._metrics):
            if each is not None:
                each.hasten(WATCHED_SECONDS, min(seconds, MOST_WATCHED))

    def note_look(self) -> int:
        """Note whether it has looked since this was called last, from any thread.

        ``range`` and the environment's steps take no note of the time themselves: that would cost
        them more than the look.

        Returns:
            The step of the newest state, -1 without one.
        """
        step = self.position - 1
        stepped = step if self._place is self._recorder else None  # an environment's
        seen = stepped, self._looked_at, self._progress.done
        if seen != self._seen:
            self._seen, self._looked = seen, time.monotonic()
        return step

    def status(self) -> dict[str, Any]:
        """Return what a viewer is shown, from any thread."""
        step = self.note_look()
        return {
            "phase": self._phase,
            "progress": self._progress.plain(),
            "questions": [each.plain() for each in list(self._questions.values())],
            "looked": time.monotonic() - self._looked,
            "queries": list(self._kind.queries),
            "step": step,
        }

    def close(self, *, soon: bool = False) -> None:
        """Store everything and release the run. Closing twice is fine.

        With ``soon`` nothing is waited for that can be done later.
        """
        if soon and (hurry := getattr(self._recorder, "hurry", None)) is not None:
            hurry()
        with ExitStack() as ends:  # all of them, also if one fails
            while self._closing:
                ends.callback(self._closing.pop(0))


class _Place:
    """The step of the newest state, before anything is recorded; recorders have the same."""

    def __init__(self, count: int) -> None:
        self._count = count


class _AppendedPlace:
    """The same, of a simulator of the user's own, which may be compared with what is recorded."""

    def __init__(self, first: int, recorder: RunRecorder, again: CatchUp | None = None) -> None:
        self._first, self._recorder, self._again = first, recorder, again

    @property
    def _count(self) -> int:
        if self._again is not None:
            return self._again.step
        return self._first + self._recorder.appended - 1


class _FollowedPlace:
    """The same, of a recorder that was opened elsewhere."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder

    @property
    def _count(self) -> int:
        return int(self._recorder.step_count)


_controls: list[Control] = []


def current() -> Control | None:
    """Return the control of the simulation that this process executes, None outside of one."""
    return _controls[-1] if _controls else None


def enter(control: Control) -> None:
    """Let ``current`` return a control from now on."""
    _controls.append(control)


def leave(control: Control) -> None:
    """Let ``current`` return the one before."""
    if control in _controls:
        _controls.remove(control)


def write_line(text: str, level: str, step: int) -> None:
    """Write lines of a log to stdout, with their time, level and step; none on a full disk.

    Whatever else cannot be stored there is told as what it is.
    """
    at = time.strftime("%H:%M:%S")
    for line in text.splitlines() or [""]:
        try:
            print(f"{at} {level:<7} {step:>7}  {visible(line)}", flush=True)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
