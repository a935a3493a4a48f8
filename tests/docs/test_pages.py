"""The pages do what they show: their commands and Python run, and their links lead somewhere.

``python -m tests.docs.test_pages README.md`` puts what the commands print now into a page, and the
pictures that its commands draw into its images.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import simgit
from simgit.kube.task.actions import ACTIONS
from simgit.kube.task.reward import REWARDS
from simgit.kube.task.scenarios import SCENARIOS
from simgit.kube.task.vectors import VECTORS
from simgit.process import process_start
from simgit.recording.recorder import RunRecorder
from simgit.recording.vector_recorder import LaneRecorder
from tests.support.golden_plugin import plugin_arguments
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUNNING = (
    "README.md",
    "docs/index.md",
    "docs/tutorial.md",
    "docs/trajectories.md",
    "docs/datasets.md",
    "docs/python-api.md",
    "docs/simkube.md",
    "docs/pictures.md",
    "docs/recording.md",
    "docs/sb3.md",
    "docs/simulations.md",
    "docs/simulators.md",
    "docs/agents/dqn.md",
    "docs/environments.md",
    "docs/golden.md",
    "docs/formats.md",
    "docs/database-gym.md",
    "docs/earlier-systems.md",
    "docs/sql.md",
    "docs/torch.md",
)
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}"), "TIME"),
    (re.compile(r"[\d.]+ (bytes|KiB|MiB)"), "SIZE"),
    (re.compile(r"(?<=steps, )[\d.]+ s$", re.MULTILINE), "SECONDS"),
    (re.compile(r"\S*/\.simgit"), "DIRECTORY/.simgit"),
    (re.compile(r"\(process \d+\)"), "PROCESS"),
    (re.compile(r"[\d:]+ left"), "LEFT"),
)


class Block(NamedTuple):
    """A fenced block of a page: its language, its text, and where the text begins."""

    language: str
    text: str
    start: int


def blocks(page: str) -> Iterator[Block]:
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        yield Block(match[1], match[2], match.start(2))


MARK: Final = "PAGE_OF_DOCS"
"""The variable that tells which processes a page has started."""


class Shell:
    """Runs a page's blocks in a directory, as a reader would who types them one after another."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "home"
        self.directory.mkdir()
        shim = directory / "bin" / "simgit"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simgit "$@"\n')
        shim.chmod(0o755)
        tests = shim.with_name("pytest")
        words = " ".join(["-p no:cacheprovider", *plugin_arguments()])
        tests.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pytest {words} "$@"\n')
        tests.chmod(0o755)
        kept = {  # trust is the user's, in the shell and in Python
            name: value for name, value in os.environ.items()
            if not name.startswith("SIMGIT") or name == "SIMGIT_CONFIG_DIR"
        }  # fmt: skip
        self.environment = kept | {
            "PATH": f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self.environment[MARK] = str(directory)
        self.names: dict[str, Any] = {"__name__": "page"}

    def end(self) -> None:
        """End every process that the page has left running; simulations are to outlive a command."""
        mark = f"{MARK}={self.environment[MARK]}".encode()
        place = os.fsencode(self.environment[MARK])
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_marked = mark in (each / "environ").read_bytes().split(b"\0")
                words = (each / "cmdline").read_bytes()
                if is_marked or (b"simgit.live.child" in words and place in words):
                    os.kill(int(each.name), signal.SIGKILL)

    def run(self, command: str) -> str:
        """Return what a command prints; a failure is one of the page."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.directory, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        refused = done.returncode == 128 and done.stdout.startswith("fatal: ")
        assert done.returncode == 0 or refused, f"$ {command}\n{done.stdout}"
        # `cd` lasts: the page's next command begins where this one ended
        where = re.match(r"cd (\S+)$", command)
        if where:
            self.directory = (self.directory / where[1]).resolve()
        return done.stdout

    def python(self, text: str) -> str:
        """Return what Python prints; names stay from block to block."""
        out = io.StringIO()
        with contextlib.chdir(self.directory), contextlib.redirect_stdout(out):
            exec(compile(text, "page", "exec"), self.names)
        return out.getvalue()

    def console(self, text: str) -> str:
        """Return a console block with what its commands print now; ``…`` lines stay."""
        shown = []
        for command, output in commands(text):
            printed = self.run(command.replace("\n> ", "\n")).rstrip("\n")
            agrees = matches(output, printed)
            shown.append(f"$ {command}\n" + (output if agrees else printed + "\n" * bool(printed)))
        return "".join(shown)


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def masked(text: str) -> str:
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def matches(shown: str, printed: str) -> bool:
    """Whether an output is what the page shows; a line of ``…`` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^…$", masked(shown), flags=re.MULTILINE)]
    return re.fullmatch(".*".join(parts), masked(printed), re.DOTALL) is not None


def renewed(page: str, directory: Path) -> str:
    """Return a page with the outputs that its commands have now."""
    shell = Shell(directory)
    out, at = [], 0
    try:
        for block in blocks(page):
            out.append(page[at : block.start])
            at = block.start + len(block.text)
            if block.language == "console":
                out.append(shell.console(block.text))
            else:
                out.append(block.text)
                if block.language == "python":
                    # so that a traceback names the page's line
                    above = page.count("\n", 0, block.start)
                    shell.python("\n" * above + block.text)
    finally:
        shell.end()
    return "".join([*out, page[at:]])


def test_a_page_that_fails_leaves_no_process(tmp_path: Path) -> None:
    page = "```console\n$ sleep 600 > /dev/null 2>&1 & echo $! > pid\n$ false\n```\n"
    with pytest.raises(AssertionError, match="false"):
        renewed(page, tmp_path)
    pid, deadline = int((tmp_path / "home" / "pid").read_text()), time.monotonic() + PATIENCE
    while process_start(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def registries_as_they_were() -> Iterator[None]:
    """Forget the actions and rewards that a page adds: other tests count what there is."""
    kept = [(each, dict(each._functions)) for each in (ACTIONS, REWARDS, VECTORS, SCENARIOS)]
    yield
    for registry, functions in kept:
        registry._functions = functions


LONG = (
    "README.md", "docs/agents/dqn.md", "docs/database-gym.md", "docs/datasets.md",
    "docs/earlier-systems.md", "docs/environments.md",
    "docs/formats.md", "docs/golden.md", "docs/pictures.md",
    "docs/recording.md", "docs/sb3.md", "docs/simkube.md", "docs/simulations.md",
    "docs/sql.md", "docs/torch.md", "docs/tutorial.md",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LONG))
        for name in RUNNING
        if (ROOT / name).exists()
    ],
)
def test_the_blocks_of_a_page_print_what_it_shows(name: str, tmp_path: Path) -> None:
    page = (ROOT / name).read_text()
    assert renewed(page, tmp_path) == page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"


def test_the_code_of_the_page_on_scripts_stands_in_the_examples() -> None:
    scripts = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    shown = [block.text for block in blocks((ROOT / "docs/training-scripts.md").read_text())]
    assert shown
    for text in shown:
        assert any(text in script for script in scripts), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_make_target_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`((?:simgit|tests|docs|examples|traces|\.ci)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists() and "-v0" not in name] == []
    targets = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)} <= {*targets}


def test_every_test_that_a_page_names_is_there() -> None:
    paths = list((ROOT / "tests").rglob("*.py"))
    files = {path.name for path in paths}
    functions = {name for path in paths for name in re.findall(r"def (test_\w+)", path.read_text())}
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"`[\w/]*?(test_\w+\.py)`", text)) <= files, page
        assert set(re.findall(r"`(test_\w+)`", text)) <= functions, page


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made from their text."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.replace(" ", "-") for head in plain}


def public(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]


@pytest.mark.skipif(not (ROOT / "docs/python-api.md").exists(), reason="not written yet")
@pytest.mark.parametrize(
    "kind", [simgit.Repository, RunRecorder, LaneRecorder, simgit.Trajectory, simgit.State]
)
def test_every_public_name_of_a_class_is_on_the_page_of_the_api(kind: type) -> None:
    page = (ROOT / "docs/python-api.md").read_text()
    missing = [name for name in public(kind) if not re.search(rf"\b{name}\b", page)]
    assert not missing


def test_the_page_of_the_architecture_shows_the_layers_and_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    page = (ROOT / "docs/architecture.md").read_text()
    picture = page.split("```text\n")[1].split("```")[0]
    shown = [re.split(r"\s{3,}", line.strip())[0] for line in picture.splitlines()]
    assert [line for line in shown if line in layers] == layers
    packages = {each.stem for each in (ROOT / "simgit").iterdir() if not each.stem.startswith("_")}
    table = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert table == packages - {"py"}


def script(name: str) -> Any:
    """Return a script of docs/scripts as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/scripts/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    layers = script("layers")
    assert layers.PICTURE.read_text() == layers.picture(layers.layers())


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="other.html">', "no file 'other.html'"),
        ('<img src="image.png">', "no file 'image.png'"),
        ('<h1 id="here"><a href="#there">', "no anchor '#there'"),
        ('<script src="https://example.org/a.js">', "loads 'https://example.org/a.js'"),
    ],
)
def test_the_check_of_the_site_finds_what_is_wrong(html: str, said: str, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    problems = script("check_site").problems
    page.write_text('<h1 id="here"><a href="#here"><a href="https://example.org/">')
    assert list(problems(tmp_path)) == []
    page.write_text(html)
    assert [problem.partition(": ")[2] for problem in problems(tmp_path)] == [said]


def test_every_package_says_what_is_in_it() -> None:
    for path in (ROOT / "simgit").rglob("__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text()))
        assert said and "TODO" not in said, path


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            written = renewed(Path(argument).read_text(), Path(scratch))
            for image in re.findall(r"\]\((images/[^)]+)\)", written):
                for made in Path(scratch).rglob(Path(image).name):
                    shutil.copy(made, Path(argument).parent / image)
        Path(argument).write_text(written)
