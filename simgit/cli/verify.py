"""``simgit verify``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import Output, progress
from simgit.cli.params import REVISION
from simgit.cli.permission import Asker
from simgit.cli.restore_estimate import announce
from simgit.errors import SimgitError, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simgit.recording.verdicts import Verdict, Verification
    from simgit.repository import Repository


@command("verify", example="""\
simgit verify main
simgit verify 'sweep/*'
simgit verify main@ep5
simgit verify main@100..200""")  # fmt: skip
@click.argument("revisions", nargs=-1, required=True, type=REVISION, metavar="RUN|RANGE…")
def verify(app: App, revisions: tuple[str, ...], as_json: bool) -> None:
    """Re-execute recorded actions, and compare the result with the recorded states.

    RUN may be a pattern; of several, one that cannot be verified does not keep the others from it.
    A range or an episode begins with a restore of the state before it. Of a whole run, at most
    twelve snapshots, evenly spread, are tried too: each is restored in a new process, and continued
    up to the next of them. Where there are none, as many later episodes are re-executed alone, from
    their resets, to see whether these forget what was before. The verdict is noted with the run;
    snapshots that were found wrong are not used for it again. Exits with 1 if a state or a snapshot
    differs, and names step and field.
    What was recorded on a live cluster need not repeat: 'live: not re-executed', and no failure.

    Of a simulator the hooks that its run notes are imported, if you trust the repository.
    """
    with app.repository() as repo, app.output() as out:
        found = repo.runs.matching(*revisions)
        if len(found) == 1:
            exact = _verify(repo, out, found[0], "", as_json)
        else:
            every = [_of_several(repo, out, each, as_json) for each in found]
            exact = all(every)
    if not exact:
        answer_no()


def _of_several(repo: Repository, out: Output, revision: str, as_json: bool) -> bool:
    """Verify one of several, and say which; what stops it is said, and does not stop the others."""
    try:
        return _verify(repo, out, revision, revision, as_json)
    except SimgitError as error:
        if as_json:
            out.json({"revision": revision, "exact": None, "error": str(error)})
        else:
            out.line(f"{revision}: not verified: {error}")
        return False


def _verify(repo: Repository, out: Output, revision: str, name: str, as_json: bool) -> bool:
    """Verify a revision, and print the result under a name; return whether all is equal."""
    if _is_simulator(repo, revision):
        with progress("verify", not as_json) as tell:
            found = repo.verify_simulator(revision, progress=tell)
    else:
        found = _re_executed(repo, revision, as_json)
    if as_json:
        out.json({"revision": revision} | found.to_json())
    else:
        _write(out, found, f"{name}: " if name else "")
    return found.is_exact or found.is_live


def _re_executed(repo: Repository, revision: str, as_json: bool) -> Verification:
    """Re-execute the states of an environment, and note the verdict on a run."""
    from simgit.gym.restoring.verify import note
    from simgit.gym.restoring.verify import verify as re_execute

    trust = Asker(repo)
    if not as_json:
        announce(repo, revision, whole=True, trust=trust)
    with progress("verify", not as_json) as tell:
        found = re_execute(repo, revision, trust=trust, progress=tell)
    if revision in repo.runs and not repo.read_only:
        note(repo, revision, found)
    return found


def _is_simulator(repo: Repository, revision: str) -> bool:
    """Return True if a revision is of a run that notes hooks, and of no environment."""
    from simgit.refs.runs import HOOKS

    name = re.split(r"[@~^:]|\.\.", revision.removeprefix("runs/"), maxsplit=1)[0]
    if name not in repo.runs or repo.runs[name].oid is None:
        return False
    noted = any(HOOKS in each.metadata for each in repo.lineage(name))
    return noted and "environment" not in repo.origin(name)


def _write(out: Output, found: Verification, head: str) -> None:
    if found.is_live:
        out.line(f"{head}live: not re-executed")
        return
    count = plural(found.stop - found.start, "state")
    if found.divergence is None:
        out.line(f"{head}{out.paint('exact', 'good')}: {count} replayed")
    else:
        out.line(f"{head}{out.paint('differs', 'bad')}: {found.divergence}")
        out.line(f"{count} before it replayed exactly")
    if found.verdict is not None:
        _write_verdict(out, found.verdict)


def _write_verdict(out: Output, verdict: Verdict) -> None:
    """Write what became of the snapshots, or of resets where there are none."""
    known, counted = verdict.details, verdict.details.get("snapshots")
    if "from" in known:
        out.line(
            f"{out.paint('snapshots differ', 'bad')}: continued from step {known['from']}, "
            f"{_where(known)}; snapshots of driver '{verdict.driver}' are not used for this run"
        )
    elif counted and counted["checked"]:
        text = f"{counted['checked']} of {plural(counted['of'], 'snapshot')}"
        out.line(f"{out.paint('exact', 'good')}: {text} restored and continued ({verdict.driver})")
    elif known.get("why") or known.get("reason"):
        out.line(f"snapshots were not checked: {known.get('why') or known.get('reason')}")
    for kind, name in (("resets", "seeded"), ("unseeded_resets", "unseeded")):
        if kind in known:
            _write_resets(out, known[kind], name)


def _write_resets(out: Output, found: Mapping[str, Any], name: str) -> None:
    """Write what re-execution from resets gave."""
    if found["forget"]:
        text = f"{found['episodes']} of {plural(found['of'], f'later {name} reset')}"
        states = plural(found["steps"], "state")
        out.line(f"{out.paint('exact', 'good')}: {text} re-executed alone, {states}")
        return
    is_known = found["forget"] is False
    told = f"{name} resets do not forget" if is_known else f"not known if {name} resets forget"
    more = " differs" if "reason" not in found else ""
    out.line(
        f"{out.paint(told, 'warn')}: re-executed alone from step {found['from']}, "
        f"{_where(found)}{more}"
    )


def _where(found: Mapping[str, Any]) -> str:
    """Return the step and the field that differ, or the reason why it could not continue."""
    why = found.get("reason")
    return f"step {found['step']}, {found['field']}" if why is None else str(why)
