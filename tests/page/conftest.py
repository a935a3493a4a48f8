"""A real browser before a real server: each story is one page that a person works with."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from simgit.repository import Repository
from tests.support.web import Process, serving

CHROMIUM = (
    os.environ.get("SIMGIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
STATUS = re.compile(r"status of (\d+)")
NO_IMAGE = {403, 404, 409, 504}
"""What a server answers for the image of a state that cannot be rendered (docs/http-api.md)."""
AGAIN = """async () => (await axe.run({resultTypes: ["violations"]})).violations.map(
    each => [each.id, each.nodes.slice(0, 3).map(node => node.html.slice(0, 120))])"""
SHOTS = os.environ.get("SIMGIT_SHOTS")
"""A directory in which each story leaves pictures, for people to look at."""


class Visitor:
    """A person with a browser: what is shown, and that nothing went wrong while it was."""

    def __init__(self, browser: Any, server: Process, level: str, **options: Any) -> None:
        self.server = server
        options = {"viewport": {"width": 1280, "height": 860}} | options
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(15_000)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.expected: dict[str, set[int]] = {"frames/": NO_IMAGE}
        self.context.route("**/*", self._pass)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda each: self.errors.append(str(each)))
        token = server.address["tokens"].get(level)
        self.page.goto(server.address["url"] + (f"#token={token}" if token else ""))
        self.page.get_by_role("banner").get_by_text("● live").wait_for()

    def _note(self, message: Any) -> None:
        """Keep an error; what a story expects to be refused is none."""
        if message.type != "error":
            return
        address = message.location.get("url", "")
        status = STATUS.search(message.text)
        for path, statuses in self.expected.items():
            if f"/v1/{path}" in address and status and int(status[1]) in statuses:
                return
        self.errors.append(f"{address}: {message.text}")

    def expects(self, path: str, *statuses: int) -> None:
        """Expect that requests below a path of the API are refused with one of the statuses."""
        self.expected[path] = {*statuses}

    def _pass(self, route: Any) -> None:
        """Let pass what goes to the server, and nothing else."""
        if route.request.url.startswith((self.server.address["url"], "data:", "blob:")):
            route.continue_()
        else:
            self.strangers.append(route.request.url)
            route.abort()

    def visit(self, address: str) -> Any:
        """Go to an address below the server's; return the page."""
        self.page.goto(self.server.address["url"] + address.lstrip("/"))
        self.page.get_by_role("banner").get_by_text("● live").wait_for()
        return self.page

    def look(self, name: str) -> None:
        """Check with axe what is shown, light and dark; keep a picture where one is wanted."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        told = [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found]
        assert not told, f"{name}, light: {told}"
        self._keep(f"{name}-light")
        self.page.emulate_media(color_scheme="dark")
        self._keep(f"{name}-dark")
        told = self.page.evaluate(AGAIN)  # which is in the page already
        assert not told, f"{name}, dark: {told}"
        self.page.emulate_media(color_scheme="light")

    def _keep(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png")

    def close(self) -> None:
        """End the visit; nothing may have gone wrong, and nobody else been asked."""
        self.context.close()
        assert not self.strangers
        assert not self.errors


@pytest.fixture(scope="package")  # its event loop would be in the way of other tests'
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: stories of the page are not run")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visitor]]:
    """Return what serves a repository in a process of its own, and opens its page."""
    with ExitStack() as stack:

        def open_page(
            where: Path | Process, *options: str, level: str = "full", **more: Any
        ) -> Visitor:
            server = (
                where
                if isinstance(where, Process)
                else stack.enter_context(serving(where, *options))
            )
            visitor = Visitor(browser, server, level, **more)
            stack.callback(visitor.close)
            return visitor

        yield open_page


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a tree of runs; stories that write take a copy of it."""
    from simgit.gym import Recorder

    where = tmp_path_factory.mktemp("recorded")
    with Repository.init(where) as repo:
        import gymnasium as gym

        env = Recorder(gym.make("CartPole-v1", render_mode="rgb_array"), repo, run="main")
        env.reset(seed=1)
        env.action_space.seed(1)
        for _ in range(300):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        env.close()
        repo.branch("high-lr", "main@200", overrides={"agent": {"lr": 0.01}})
        repo.branch("gentle", "main@100", overrides={"push": 0.5})
        repo.tag("start", "main@0")
    return where


@pytest.fixture(scope="package")
def served(recorded: Path) -> Iterator[Process]:
    """One server for all stories that only read."""
    with serving(recorded) as server:
        yield server


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """Return a copy of the recorded repository, to be written to."""
    return Path(shutil.copytree(recorded, tmp_path / "copied"))
