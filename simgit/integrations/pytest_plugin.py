"""The pytest plugin: golden runs as a simulator's own tests; see docs/golden.md.

pytest loads this module in every session of an environment that has simgit, so nothing else of
simgit is imported before a test asks for the fixture, or there is a bundle to re-execute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from simgit.errors import SimgitError
    from simgit.integrations.golden import Golden
    from simgit.repository import Repository

_PROPERTY: Final = "simgit_golden"
_LONGEST: Final = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("simgit", "golden runs of simulators (simgit)")
    group.addoption(
        "--simgit-golden",
        metavar="DIR",
        help="directory of golden runs (default: 'golden' beside each test file); the runs of all "
        "*.bundle in it are re-executed as tests",
    )
    group.addoption(
        "--simgit-update",
        action="store_true",
        help="record golden runs anew, where they differ, instead of comparing",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the directory of golden runs too, unless files were named on the command line."""
    directory = _directory(config)
    if directory is None:
        return
    if not directory.is_dir() and not config.getoption("simgit_update"):
        raise pytest.UsageError(f"--simgit-golden: directory '{directory}' not found")
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    covered = any(
        directory.is_relative_to((config.invocation_params.dir / arg).resolve())
        for arg in config.args
    )
    if directory.is_dir() and not named and not covered:
        config.args.append(str(directory))


def _directory(config: pytest.Config) -> Path | None:
    given = config.getoption("simgit_golden")
    if given is None:
        return None
    here: Path = (config.invocation_params.dir / given).resolve()
    return here if here.exists() else (config.rootpath / given).resolve()


# --- the fixture ---------------------------------------------------------------------------------


class GoldenFixture:
    """The golden runs of one test: call it with an environment, or record a simulator's states."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._node = request.node
        # xdist adds the group of a test to its id
        self._id = f"{self._node.parent.nodeid}::{self._node.name}"
        self._directory = _directory(request.config)
        self._update = bool(request.config.getoption("simgit_update"))
        self._names: set[str] = set()

    def __call__(
        self,
        make: Any,
        *,
        seeds: Sequence[int] = (0,),
        steps: int = 200,
        policy: Callable[[Any], Any] | None = None,
        ignore: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        """Compare an environment with its golden run; see ``simgit.integrations.golden``.

        Args:
            make: an environment's id, a function that makes one, or an environment; it is closed.
            seeds: the seeds of the resets.
            steps: the actions after each of them.
            policy: returns the action for an observation; random actions if None.
            ignore: paths of fields that are not compared, such as ``info.seconds``.
            name: tells several golden runs of one test apart (default: their number).
        """
        with self._golden(name) as golden, self._failing():
            golden.environment(make, seeds=seeds, steps=steps, policy=policy, ignore=ignore)

    def simulator(
        self,
        *,
        rebuild: Callable[..., Any],
        advance: Callable[..., Any],
        observe: Callable[..., Any] | None = None,
        seeds: Sequence[int] = (0,),
        steps: int = 200,
        policy: Callable[[Any], Any] | None = None,
        ignore: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        """Compare a simulator that is no environment with its golden run, by its hooks.

        Args:
            rebuild: returns a new simulator for the ``seed`` of a reset.
            advance: moves a simulator, given it and an action; may return what to record.
            observe: returns what to record of a simulator, such as ``{"observation": …}``.
            seeds: the seeds of its resets.
            steps: the steps after each of them; fewer if it says that it has ended.
            policy: returns the action for an observation; without it there are no actions.
            ignore: as in a call.
            name: likewise.
        """
        with self._golden(name) as golden, self._failing():
            golden.simulator(
                rebuild=rebuild, advance=advance, observe=observe, seeds=seeds, steps=steps,
                policy=policy, ignore=ignore,
            )  # fmt: skip

    @contextmanager
    def recorder(
        self, name: str | None = None, *, ignore: Sequence[str] = (), **options: Any
    ) -> Iterator[Any]:
        """Yield a recorder for the states of any simulator, and compare them when the block ends.

        Args:
            name: as in a call.
            ignore: likewise.
            options: see ``Repository.recorder``.
        """
        from simgit.repository import Repository

        with Repository.init(":memory:") as repo:
            with repo.recorder("run", **options) as recorder:
                yield recorder
            self.compare(repo, "run", name=name, ignore=ignore)

    def compare(
        self, repo: Repository, *runs: str, name: str | None = None, ignore: Sequence[str] = ()
    ) -> None:
        """Compare runs that the test has recorded in a repository of its own.

        Args:
            repo: the repository.
            runs: the names of the runs.
            name: as in a call.
            ignore: likewise.
        """
        with self._golden(name) as golden, self._failing():
            golden.compare(repo, *runs, ignore=ignore)

    @contextmanager
    def _golden(self, name: str | None) -> Iterator[Golden]:
        from simgit.integrations.golden import Golden

        if name is None:
            name = str(len(self._names) + 1) if self._names else ""
        if name in self._names:
            pytest.fail(f"golden run '{name}' stands twice in this test", pytrace=False)
        self._names.add(name)
        path, top = self._path(name), self._node.config.rootpath
        title = str(path.relative_to(top) if path.is_relative_to(top) else path)
        golden = Golden(path, title=title, update=self._update)
        yield golden
        if golden.done is not None:
            self._node.user_properties.append((_PROPERTY, f"{golden.done} {title}"))

    def _path(self, name: str) -> Path:
        file: Path = self._node.path
        top = self._node.config.rootpath
        if self._directory is None:
            folder = file.parent / "golden"
        else:
            inside = file.parent.is_relative_to(top)
            folder = self._directory / (file.parent.relative_to(top) if inside else "")
        test = self._id.partition("::")[2]
        return folder / file.stem / f"{file_name(test.replace('::', '.'), name)}.golden"

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Fail the test, with a few lines and no traceback, for an error of a golden run."""
        from simgit.errors import SimgitError

        try:
            yield
        except SimgitError as error:
            told = "\n".join(_told(error, self._id, self._update))
            raise pytest.fail.Exception(told, pytrace=False) from None


def file_name(test: str, name: str) -> str:
    """Return the name of a file for a test and one of its golden runs; each has its own."""
    whole = f"{test}.{name}" if name else test
    usual = whole if name else re.sub(r"\[(.*)\]", r"-\1", whole)  # 'a[b]', '2' is not 'a[b.2]'
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", usual)
    if plain == usual and len(plain) <= _LONGEST:
        return plain
    import hashlib  # takes longer than the rest of this module

    return f"{plain[:_LONGEST]}-{hashlib.sha256(whole.encode(errors='replace')).hexdigest()[:8]}"


def _told(error: SimgitError, test: str, update: bool) -> Iterator[str]:
    """Yield the lines about an error, and how to record anew if that helps."""
    from simgit.errors import NotFound, visible

    yield from getattr(error, "report", (str(error),))
    again = f"pytest '{visible(test)}' --simgit-update"
    if isinstance(error, NotFound) and hasattr(error, "path"):
        yield f"record it: {again}"
    elif not update and not isinstance(error, NotFound):
        yield f"if the change is meant, record it anew: {again}"


@pytest.fixture
def simgit_golden(request: pytest.FixtureRequest) -> GoldenFixture:
    """Golden runs of this test: ``simgit_golden(env)`` re-executes and compares them."""
    return GoldenFixture(request)


# --- bundles as tests ----------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the bundles in the directory of golden runs."""
    directory = _directory(parent.config)
    if directory is None or file_path.suffix != ".bundle" or directory not in file_path.parents:
        return None
    return GoldenBundle.from_parent(parent, path=file_path)


class GoldenBundle(pytest.File):
    """A bundle of recorded environments; each of its runs is a test."""

    def collect(self) -> Iterator[GoldenItem]:
        """Yield the tests."""
        from simgit.errors import SimgitError
        from simgit.integrations.golden.bundles import bundled_runs

        try:
            names = bundled_runs(self.path)
        except SimgitError as error:
            raise self.CollectError(str(error)) from None
        for name in names:
            yield GoldenItem.from_parent(self, name=name)


class GoldenItem(pytest.Item):
    """A run of a bundle, re-executed in a new environment and compared."""

    def runtest(self) -> None:
        """Re-execute the run.

        Raises:
            Divergence: it differs.
        """
        from simgit.integrations.golden.bundles import check_bundled

        check_bundled(self.path, self.name)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the few lines that show a difference, for an error of simgit."""
        from simgit.errors import SimgitError

        if not isinstance(excinfo.value, SimgitError):
            return super().repr_failure(excinfo, style)
        told = getattr(excinfo.value, "report", (str(excinfo.value),))
        return "\n".join((*told, "if the change is meant: record it anew, 'simgit bundle create'"))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the file and the name of the run."""
        return self.path, None, f"{self.path.name}::{self.name}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List what was recorded anew, and what had not changed."""
    told = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for key, value in getattr(report, "user_properties", ())
        if key == _PROPERTY and report.when == "call"
    ]
    if told:
        terminalreporter.section("golden runs")
        for line in sorted(told):
            terminalreporter.write_line(line)
