"""The page in the browser: a real Chromium before a real server, from a fresh start of both.

One session is measured for all rows of a store, since it takes half a minute. What is scaled down
says so in its row.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.web import Process, serving

from . import generate, subject
from .case import Bench, Case, NotBuilt, at_most, row_of
from .measure import all_cores

CHROMIUM = os.environ.get("SIMGIT_CHROMIUM") or shutil.which("chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--enable-precise-memory-info",
]  # fmt: skip
RUNS: Final = 1000
ROWS: Final = 10_000
VIEWERS: Final = 20
MINUTES: Final = int(os.environ.get("SIMGIT_BENCH_MINUTES") or 10)
RATE: Final = 1000
ROUNDS: Final = 5

WATCH: Final = """
const marks = (window.marks = { shown: [] });
const look = () => {
  if (!marks.usable && document.querySelectorAll("[role=grid] .body [role=row]").length > 5) marks.usable = performance.now();
  const values = [...document.querySelectorAll(".legend li b")];
  if (!marks.drawn && values.length >= WANTED && values.every((each) => each.textContent !== "–"))
    requestAnimationFrame(() => requestAnimationFrame(() => (marks.drawn ??= performance.now())));
};
new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
"""
"""Notes when rows and curves are there, by the page's own clock."""
FRAMES: Final = """([count, act]) => new Promise((resolve) => {
  const step = { zoom: (index) => {
    const handle = document.querySelector('[aria-label="First step shown"]');
    handle.dispatchEvent(new KeyboardEvent("keydown", { key: index % 40 < 20 ? "ArrowRight" : "ArrowLeft", bubbles: true }));
  }, scroll: () => { document.querySelector(".table").scrollTop += 90; } }[act];
  const taken = []; let before = performance.now();
  const next = () => {
    const now = performance.now();
    taken.push(now - before); before = now;
    if (taken.length > count) return resolve(taken.slice(1));
    step(taken.length); requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""
"""Does something before each frame, and returns the times between frames, in ms."""
STATES: Final = """async ([count, length]) => {
  const taken = [];
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    await (await fetch(`/v1/states/main@${Math.floor((i * 7919) % length)}`)).json();
    taken.push(performance.now() - begun);
  }
  return taken;
}"""
FOLLOW: Final = """() => {
  const grid = document.querySelector("[role=grid] .body");
  const look = () => {
    const row = [...grid.querySelectorAll("[role=row]")].find((each) => each.textContent.includes("live"));
    const step = Number(row?.children[4].textContent.replaceAll(",", ""));
    const last = marks.shown[marks.shown.length - 1];
    if (step && step !== last?.[0]) marks.shown.push([step, performance.timeOrigin + performance.now()]);
  };
  new MutationObserver(look).observe(grid, { childList: true, subtree: true, characterData: true });
}"""
"""Notes which steps the row of the run 'live' shows, and when."""
WRITER: Final = """
import sys, time
from simgit.repository import Repository
rate, seconds = int(sys.argv[2]), int(sys.argv[3])
with Repository.open(sys.argv[1]) as repo, repo.recorder("live", flush_seconds=0.1) as recorder:
    begun = time.time()
    for step in range(rate * seconds):
        wait = begun + step / rate - time.time()
        if wait > 0.001:
            time.sleep(wait)
        print(step, time.time() * 1e3, flush=False)
        recorder.append(float(step), reward=1.0)
"""


def p95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


class Session:
    """A browser that is started anew."""

    def __init__(self) -> None:
        """Start Chromium.

        Raises:
            NotBuilt: there is none, or no playwright.
        """
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            raise NotBuilt from None
        if CHROMIUM is None:
            raise NotBuilt
        self._playwright = sync_playwright().start()
        self.browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)

    def open(self, server: Process, wanted: int = 10, path: str = "") -> Any:
        """Return a page of a new context, once it is live; ``wanted`` curves are drawn."""
        page = self.browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
        page.set_default_timeout(120_000)
        page.add_init_script(WATCH.replace("WANTED", str(wanted)))
        address = server.address
        page.goto(f"{address['url']}{path}#token={address['tokens']['full']}")
        page.get_by_text("● live").wait_for()
        return page

    def close(self) -> None:
        """End it."""
        self.browser.close()
        self._playwright.stop()


@contextmanager
def session() -> Iterator[Session]:
    """Start a browser while the block runs."""
    found = Session()
    try:
        yield found
    finally:
        found.close()


def until(page: Any, what: str) -> float:
    """Return when something was there, in ms since the navigation began."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = page.evaluate(f"marks.{what} ?? 0")
        if found:
            return float(found)
        time.sleep(0.05)
    raise TimeoutError(what)


def _length(bench: Bench) -> int:
    return bench.size(1_000_000, 50_000)


def branches(bench: Bench) -> Path:
    """Return a repository of a long run with a thousand branches: so many curves, one copy."""

    def build() -> Path:
        length, path = _length(bench), bench.folder("page-branches")
        shutil.copytree(subject.recorded(bench, length), path, dirs_exist_ok=True)
        with subject.store().open(path) as repo, repo.transaction("branches"):
            for i in range(RUNS):
                at = length - 1 - i * (length // (2 * RUNS))
                repo.branch(f"sweep/{i:04}", f"main@{at}", overrides={"agent": {"lr": i / RUNS}})
        return path

    return bench.keep("page-branches", build)


def _visits(bench: Bench) -> dict[str, float]:
    """Return the figures of first visits, and of one page that is worked with."""

    def build() -> dict[str, float]:
        path, taken = branches(bench), []
        for _ in range(bench.size(ROUNDS, 2)):
            with all_cores(), serving(path) as server, session() as found:
                page = found.open(server)
                one = {"usable": until(page, "usable"), "drawn": until(page, "drawn")}
                entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
                one["paint"] = page.evaluate(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
                one["bytes"] = (
                    page.evaluate(f"{entries}.reduce((sum, each) => sum + each.transferSize, 0)")
                    / 1024
                )
                one["requests"] = page.evaluate(f"{entries}.length")
                taken.append(one)
                if len(taken) == bench.size(ROUNDS, 2):
                    one |= _work(bench, page)
        medians = {name: statistics.median(one[name] for one in taken) for name in taken[0]}
        return {**taken[-1], **medians}

    return bench.keep("page-visits", build)


def _work(bench: Bench, page: Any) -> dict[str, float]:
    return {
        "zoom": p95(page.evaluate(FRAMES, [200, "zoom"])),
        "inspector": p95(page.evaluate(STATES, [bench.size(200, 40), _length(bench)])),
        "tab": _heap(page),
    }


def _anonymous(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024


def _scrolled(bench: Bench) -> float:
    path = bench.folder("page-rows")
    subject.record(path, generate.rows(1000))
    with subject.store().open(path) as repo, repo.transaction("branches"):
        for i in range(ROWS - 1):
            repo.branch(f"row/{i:05}", f"main@{i % 1000}")
    with all_cores(), serving(path) as server, session() as found:
        page = found.open(server, path="runs")
        until(page, "usable")
        return p95(page.evaluate(FRAMES, [200, "scroll"]))


def _followed(bench: Bench) -> dict[str, float]:
    """Return the figures of many viewers of a run that grows, while its server ends twice."""

    def build() -> dict[str, float]:
        path, length = bench.folder("page-live"), bench.size(10_000_000, 50_000)
        viewers, seconds = bench.size(VIEWERS, 3), bench.size(60 * MINUTES, 20)
        shutil.copytree(subject.recorded(bench, length), path, dirs_exist_ok=True)
        told = path / "told"
        with all_cores(), ExitStack() as open_:
            server = open_.enter_context(serving(path))
            found = open_.enter_context(session())
            pages = [found.open(server, wanted=1) for _ in range(viewers)]
            for page in pages:
                page.evaluate(FOLLOW)
            with told.open("w") as out:
                command = [sys.executable, "-c", WRITER, str(path), str(RATE), str(seconds)]
                begun = time.monotonic()
                writer = subprocess.Popen(command, env=subject.environment(), stdout=out)
                open_.callback(writer.kill)
            port, heaps = server.address["url"].rpartition(":")[2].strip("/"), []
            for part in range(1, 4):
                pages[0].wait_for_timeout((begun + part * seconds / 3 - time.monotonic()) * 1e3)
                heaps.append(_heap(pages[0]))
                if part < 3:
                    server.end()
                    server = open_.enter_context(serving(path, "--port", port))
                    _sign_in(pages, server)
            if writer.wait(60):
                raise RuntimeError("the writer failed")
            time.sleep(3)
            memory = _anonymous(server.process.pid)
            at = dict(line.split() for line in told.read_text().splitlines())
            late = []
            for page in pages:
                shown = page.evaluate("marks.shown")
                steps = [step for step, _ in shown]
                if steps != sorted(steps) or steps[-1] != RATE * seconds - 1:
                    raise RuntimeError(f"shown: {len(steps)} steps, the last {steps[-1]}")
                late += [when - float(at[str(step)]) for step, when in shown]
            if len(late) < seconds * viewers:
                raise RuntimeError(f"only {len(late)} steps were shown")
        return {
            "late": p95(late),
            "heap": max(heaps),
            "growth": heaps[-1] - heaps[0],
            "server": memory,
        }

    return bench.keep("page-live-figures", build)


def _sign_in(pages: list[Any], server: Process) -> None:
    """Give pages the token of a server that was started anew."""
    token = server.address["tokens"]["full"]
    give = """token => fetch("/v1/session", { method: "POST", headers:
      { "Content-Type": "application/json" }, body: JSON.stringify({ token }) })"""
    for page in pages:
        page.evaluate(give, token)


def _heap(page: Any) -> float:
    """Return the memory of a page's objects that are in use, in MiB."""
    found = page.context.new_cdp_session(page)
    found.send("HeapProfiler.collectGarbage")
    used: float = found.send("Runtime.getHeapUsage")["usedSize"]
    found.detach()
    return used / 2**20


STORE: Final = "1 001 runs: branches of a run of 1 M states; server and browser started anew"
scroll = Case("page-scroll", "scroll 10 000 rows, p95 of a frame", "ms", at_most(16))
scroll.side("simgit", repeat=1)(_scrolled)
WATCHED: Final = (
    f"{RATE} states/s for {MINUTES} min, flushed every 0.1 s, beside 10 M states; the server ends "
    "and is started again after each third; SIMGIT_BENCH_MINUTES is another time"
)
CASES = [
    row_of(_visits, "paint", "page-paint", "first contentful paint", "ms", 800, STORE),
    row_of(_visits, "usable", "page-usable", "1 001 runs in the table", "ms", 1200, "since the navigation began"),
    row_of(_visits, "drawn", "page-drawn", "ten curves of up to 1 M states drawn", "ms", 1600, "since the navigation began"),
    row_of(_visits, "bytes", "page-bytes", "first visit, all of it", "KiB", 250, "compressed; without the shared worker's own"),
    row_of(_visits, "requests", "page-requests", "requests of the first visit", "", 45, "without the shared worker's own"),
    row_of(_visits, "zoom", "page-zoom", "zoom by the brush at ten curves, p95 of a frame", "ms", 33),
    row_of(_visits, "inspector", "page-inspector", "a state of 1 M asked for by the page, p95", "ms", 50),
    row_of(_visits, "tab", "page-tab", "heap of the tab", "MiB", 80, "after the rows above; not after 30 minutes"),
    scroll,
    row_of(_followed, "late", "page-live", f"append to shown, {VIEWERS} viewers, p95", "ms", 300, WATCHED),
    row_of(_followed, "heap", "page-heap", "heap of a tab meanwhile, the most of three", "MiB", 80),
    row_of(_followed, "growth", "page-growth", "its growth from the first third to the end", "MiB", 5),
    row_of(_followed, "server", "page-server", "memory of the server then, without pages of the mapped store", "MiB", 250),
]  # fmt: skip
