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
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.web import Process, serving

from . import generate, subject
from .case import Bench, Case, NotBuilt, at_most
from .measure import all_cores

CHROMIUM = os.environ.get("SIMGIT_CHROMIUM") or shutil.which("chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--enable-precise-memory-info",
]  # fmt: skip
RUNS: Final = 1000
ROWS: Final = 10_000
VIEWERS: Final = 5
SECONDS: Final = 20
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
  const look = () => {
    const row = [...document.querySelectorAll("[role=row]")].find((each) => each.textContent.includes("live"));
    const step = Number(row?.children[4].textContent.replaceAll(",", ""));
    const last = marks.shown[marks.shown.length - 1];
    if (step && step !== last?.[0]) marks.shown.push([step, performance.timeOrigin + performance.now()]);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
"""Notes in each frame which step the row of the run 'live' shows, and when."""
WRITER: Final = f"""
import sys, time
from simgit.repository import Repository
with Repository.open(sys.argv[1]) as repo, repo.recorder("live", flush_seconds=0.1) as recorder:
    begun = time.time()
    for step in range({RATE * SECONDS}):
        wait = begun + step / {RATE} - time.time()
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


def _branches(bench: Bench) -> Path:
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
        path, taken = _branches(bench), []
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
                    one |= _work(bench, page, server)
        medians = {name: statistics.median(one[name] for one in taken) for name in taken[0]}
        return {**taken[-1], **medians}

    return bench.keep("page-visits", build)


def _work(bench: Bench, page: Any, server: Process) -> dict[str, float]:
    return {
        "zoom": p95(page.evaluate(FRAMES, [200, "zoom"])),
        "inspector": p95(page.evaluate(STATES, [bench.size(200, 40), _length(bench)])),
        "tab": page.evaluate("performance.memory.usedJSHeapSize") / 2**20,
        "server": _resident(server.process.pid),
    }


def _resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


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


def _followed(bench: Bench) -> float:
    """Return the p95 of append → shown, of all viewers."""
    path = bench.folder("page-live")
    subject.record(path, generate.rows(100))
    with all_cores(), serving(path) as server, session() as found:
        pages = [found.open(server, wanted=1) for _ in range(VIEWERS)]
        for page in pages:
            page.evaluate(FOLLOW)
        command = [sys.executable, "-c", WRITER, str(path)]
        told = subprocess.run(
            command, env=subject.environment(), capture_output=True, text=True, check=True
        )
        time.sleep(1)
        at = {int(step): float(when) for step, when in map(str.split, told.stdout.splitlines())}
        shown = [pair for page in pages for pair in page.evaluate("marks.shown")]
        late = [when - at[int(step)] for step, when in shown if int(step) in at]
        if len(late) < 20 * VIEWERS:
            raise RuntimeError(f"only {len(late)} steps were shown")
        return p95(late)


def _case(name: str, what: str, unit: str, bound: float, figure: str, note: str = "") -> Case:
    case = Case(f"page-{name}", what, unit, at_most(bound), note)

    @case.side("simgit", repeat=1)
    def _(bench: Bench) -> float:
        return _visits(bench)[figure]

    return case


STORE: Final = "1 001 runs: branches of a run of 1 M states; server and browser started anew"
scroll = Case("page-scroll", "scroll 10 000 rows, p95 of a frame", "ms", at_most(16))
scroll.side("simgit", repeat=1)(_scrolled)
live = Case(
    "page-live", f"append to shown, {VIEWERS} viewers, p95", "ms", at_most(300),
    f"{RATE} states/s for {SECONDS} s, flushed every 0.1 s; scaled down from 20 viewers and 10 min",
)  # fmt: skip
live.side("simgit", repeat=1)(_followed)
CASES = [
    _case("paint", "first contentful paint", "ms", 800, "paint", STORE),
    _case("usable", "1 001 runs in the table", "ms", 1200, "usable", "since the navigation began"),
    _case("drawn", "ten curves of up to 1 M states drawn", "ms", 1600, "drawn", "since the navigation began"),
    _case("bytes", "first visit, all of it", "KiB", 250, "bytes", "compressed; without the shared worker's own"),
    _case("requests", "requests of the first visit", "", 45, "requests", "without the shared worker's own"),
    _case("zoom", "zoom by the brush at ten curves, p95 of a frame", "ms", 33, "zoom"),
    _case("inspector", "a state of 1 M asked for by the page, p95", "ms", 50, "inspector"),
    _case("tab", "heap of the tab", "MiB", 80, "tab", "after the rows above; not after 30 minutes"),
    _case("server", "memory of the server", "MiB", 250, "server", "with one viewer and 1 M states; scaled down from 20 and 10 M"),
    scroll,
    live,
]  # fmt: skip
