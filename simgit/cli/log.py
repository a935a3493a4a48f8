"""``simgit log``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.fields import write_fields
from simgit.cli.graph import Graph
from simgit.cli.output import Output, clean, counted, number, when
from simgit.cli.params import REVISION
from simgit.errors import is_long

if TYPE_CHECKING:
    from simgit.history.log import LogLine
    from simgit.repository import Repository

Render = Callable[["LogLine"], list[str]]


@command("log", example="""\
simgit log -n 10 --oneline
simgit log --graph --all --simplify
simgit log --episodes main
simgit log main..try --json
simgit log --since yesterday --fields time,step,reward,info.lives
simgit log --json --fields all""")  # fmt: skip
@click.argument("revisions", nargs=-1, type=REVISION)
@click.option(
    "-n", "--max-count", "limit", type=click.IntRange(0), help="Number of states at most."
)
@click.option("--oneline", is_flag=True, help="One line per state.")
@click.option("--graph", is_flag=True, help="Draw forks and merges.")
@click.option("--simplify", is_flag=True, help="Only tips, tags, forks, merges and roots.")
@click.option("--all", "every", is_flag=True, help="Begin at all runs and tags, and at HEAD.")
@click.option("--episodes", is_flag=True, help="One line per episode.")
@click.option(
    "--where", metavar="CONDITION", help="Only states for which it is true, as in 'reward > 0'."
)
@click.option("--since", metavar="TIME", help="Only states recorded then or later.")
@click.option("--until", metavar="TIME", help="Only states recorded then or earlier.")
@click.option(
    "--fields", metavar="FIELD,…", help="Columns to print: time, step, info.lives, …; or all."
)
@click.option("--reverse", is_flag=True, help="Oldest first.")
def log(
    app: App,
    revisions: tuple[str, ...],
    limit: int | None,
    oneline: bool,
    graph: bool,
    simplify: bool,
    every: bool,
    episodes: bool,
    where: str | None,
    since: str | None,
    until: str | None,
    fields: str | None,
    reverse: bool,
    as_json: bool,
) -> None:
    """Show the states that lead to REVISIONS (default: HEAD), newest first.

    The range a..b has the states of b that are not in a, a...b those in only one of them; ^a
    leaves out a and its history. 'sweep/*' stands for the runs that it matches.

    A CONDITION compares fields, with and, or, not, + - * / and numbers: action == 1, info.lives <
    3, observation[2] > 0.5, step % 100 == 0, 'goal' in message, episode in (1, 2).

    'time' in a CONDITION is the simulator's clock, where states have one.

    A TIME is such as '2026-11-28 12:00', 'yesterday' or '2 hours ago'. Each flush and each commit
    notes when it was; no oid depends on that.
    """
    one_of(episodes=episodes, graph=graph)
    one_of(reverse=reverse, graph=graph)
    one_of(reverse=reverse, simplify=simplify)
    outlines = {"--episodes": episodes, "--simplify": simplify}
    for option, given in (*outlines.items(), ("--graph", graph)):
        if where and given:
            raise click.UsageError(f"--where and {option} cannot be used together")
    for limits, value in (("--since", since), ("--until", until), ("--fields", fields)):
        for option, given in outlines.items():
            if value and given:
                raise click.UsageError(f"{limits} and {option} cannot be used together")
    one_of(fields=fields, graph=graph)
    one_of(fields=fields, oneline=oneline)
    with app.repository() as repo, app.output(page=True) as out:
        if episodes:
            _episodes(repo, out, revisions, limit, reverse, as_json)
            return
        found: Iterable[LogLine]
        if simplify:
            found = repo.outline(*revisions, every=every, limit=limit)
        else:
            found = repo.log(
                *revisions, every=every, limit=limit, reverse=reverse, where=where, since=since,
                until=until,
            )  # fmt: skip
        if fields is not None:
            write_fields(repo, out, found, fields, as_json)
            return
        if as_json:
            for line in found:
                out.json(line)
            return
        render = _Renderer(repo, out).oneline if oneline or simplify else _Renderer(repo, out).full
        _print(out, graphed(out, found, render) if graph else _flat(found, render))


def _print(out: Output, lines: Iterator[str]) -> None:
    """Write lines in batches, the first at once."""
    held, most = [], 64
    for line in lines:
        held.append(line)
        if len(held) >= most:
            out.lines(held)
            held, most = [], 4096
    if held:
        out.lines(held)


def _flat(found: Iterable[LogLine], render: Render) -> Iterator[str]:
    for line in found:
        yield from render(line)


def graphed(out: Output, found: Iterable[LogLine], render: Render) -> Iterator[str]:
    """Yield the lines of a log with its graph before them."""
    graph = Graph()
    rest: list[str] = []
    for line in found:
        if not rest or rest[-1]:  # paragraphs are parted anyway
            yield from (_tinted(out, text) for text in graph.gap(line.oid))
        first, *rest = render(line)
        yield _tinted(out, graph.row(line.oid, line.parents)) + first
        for text in rest:
            yield (_tinted(out, graph.padding) + text).rstrip()
        for text in graph.after():
            yield _tinted(out, text)


_COLUMN_STYLES = ("bad", "good", "warn", "hunk")


def _tinted(out: Output, drawn: str) -> str:
    if not out.color:
        return drawn
    return "".join(
        c if c in " *" else out.paint(c, _COLUMN_STYLES[i // 2 % len(_COLUMN_STYLES)])
        for i, c in enumerate(drawn)
    )


class _Renderer:
    """Renders log lines as text."""

    def __init__(self, repo: Repository, out: Output) -> None:
        self.out = out
        self.digits = repo.abbreviation
        self.refs = {
            oid: ", ".join(decoration(out, name) for name in names)
            for oid, names in repo.decorations().items()
        }

    def oneline(self, line: LogLine) -> list[str]:
        """Return a state on one line, and the number of states left out below it."""
        oid = line.oid
        short = oid.hex()[: self.digits]
        if self.out.color:
            short = self.out.paint(short, "oid")
        refs = f" ({self.refs[oid]})" if oid in self.refs else ""
        text = (
            f"{short}{refs} step {line.step} ep{counted(line.episode)}.{counted(line.episode_step)}"
        )
        if line.clock is not None:
            text += f" t={number(line.clock)}"
        if line.reset:
            text += " reset"
        if line.action is not None:
            text += f" action {_action(line.action)}"
        if line.reward is not None:
            text += f" reward {line.reward:.6g}"
        if line.terminated:
            text += " terminated"
        if line.truncated:
            text += " truncated"
        if line.message:
            text += f": {clean(line.message.partition(chr(10))[0])}"
        if line.skipped:
            return [text, self.out.paint(f"    … {line.skipped} more", "dim")]
        return [text]

    def full(self, line: LogLine) -> list[str]:
        """Return a state as a paragraph."""
        out = self.out
        lines = [out.paint(f"state {line.oid.hex()}", "oid")]
        if line.oid in self.refs:
            lines.append(f"Refs:    {self.refs[line.oid]}")
        if len(line.parents) > 1:
            lines.append("Merge:   " + " ".join(p.short(self.digits) for p in line.parents))
        place = "its reset" if line.reset else f"state {counted(line.episode_step)}"
        lines.append(f"Step:    {line.step} (episode {counted(line.episode)}, {place})")
        if line.time is not None:
            lines.append(f"Time:    {when(line.time)}")
        if line.clock is not None:
            lines.append(f"Clock:   {number(line.clock)}")
        if line.action is not None:
            lines.append(f"Action:  {_action(line.action)}")
        if line.reward is not None:
            lines.append(f"Reward:  {number(line.reward)}")
        ended = [flag for flag in ("terminated", "truncated") if getattr(line, flag)]
        if ended:
            lines.append(f"Ended:   {' and '.join(ended)}")
        if line.message:
            lines += ["", *("    " + text for text in clean(line.message).splitlines())]
        return [*lines, ""]


def _action(value: Any) -> str:
    from simgit.history.state import shown

    if type(value) is float:
        return f"{value:.6g}"
    return str(value) if type(value) is int and not is_long(value) else clean(shown(value))


def decoration(out: Output, name: str) -> str:
    """Return a ref as listings show it: ``HEAD -> main``, ``tag: v1``, ``origin/main``."""
    if name.startswith("HEAD -> "):
        return out.paint("HEAD -> ", "head") + out.paint(name[len("HEAD -> runs/") :], "run")
    if name.startswith("tags/"):
        return out.paint(f"tag: {name[5:]}", "tag")
    if name.startswith("remotes/"):
        return out.paint(name[8:], "remote")
    return out.paint(name, "head") if name == "HEAD" else out.paint(name[5:], "run")


def _episodes(
    repo: Repository,
    out: Output,
    revisions: tuple[str, ...],
    limit: int | None,
    reverse: bool,
    as_json: bool,
) -> None:
    if len(revisions) > 1:
        raise click.UsageError(f"--episodes takes one revision, got {len(revisions)}")
    found = repo.episodes(*revisions, limit=limit)
    if reverse:
        found.reverse()
    if as_json:
        for line in found:
            out.json(line)
        return
    rows: list[list[Any]] = [
        [f"ep{e.number}", str(e.steps), number(e.return_), e.end, f"{e.start}..{e.stop - 1}"]
        for e in found
    ]
    out.table(
        [[(c, "bold") for c in ("episode", "steps", "return", "end", "states")], *rows], (1, 2)
    )
