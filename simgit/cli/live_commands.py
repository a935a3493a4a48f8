"""``simgit kube preflight``, ``allow``, ``cleanup`` and ``nodes create``: a real cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, CommandGroup, command, one_of
from simgit.cli.output import Output, clean
from simgit.cli.params import Choice, settings
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.kube.live.api import Api
    from simgit.kube.live.cleanup import Created

F = TypeVar("F", bound=Callable[..., Any])
DRIVERS: Final = ("simkube", "replayer")
NOT_READY: Final = 3
"""The exit code of a preflight with failures."""
_LEVELS: Final = {"ok": "good", "warning": "warn", "failed": "bad"}


class KubeGroup(CommandGroup):
    """A group with commands of two words, such as ``nodes create``, beside those of one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; two words are tried first."""
        if (both := " ".join(args[:2])) in self.commands:
            return both, self.commands[both], args[2:]
        return super().resolve_command(ctx, args)


def of_context(function: F) -> F:
    """Add ``--context``."""
    return click.option(
        "--context", metavar="NAME", help="Context of the kubeconfig (default: the current one)."
    )(function)


@contextmanager
def _connected(context: str | None, *, write: bool = False) -> Iterator[Api]:
    """Give the API server of a context; to ``write`` it has to be allowed."""
    from simgit.kube.live.api import Api
    from simgit.storage.allowed_clusters import check_allowed

    with Api(context, kubeconfig=os.environ.get("KUBECONFIG") or None) as api:
        if write:
            check_allowed(api.context, api.url)
        yield api


@command("preflight", example="""\
simgit kube preflight --context kind-sim
simgit kube preflight --driver simkube --set trace_path=/tmp/traces""", at_op=False)  # fmt: skip
@of_context
@click.option(
    "--driver", type=Choice(DRIVERS), default="replayer", show_default=True,
    help="Driver that is to replay traces.",
)  # fmt: skip
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Setting of the cluster.")
@click.option(
    "--nodes", type=click.IntRange(1), default=3, show_default=True,
    help="Number of nodes of 16 CPU and 32Gi that are wanted.",
)  # fmt: skip
def preflight(
    app: App, context: str | None, driver: str, pairs: tuple[str, ...], nodes: int, as_json: bool
) -> None:
    """Check whether a cluster is ready; exit with 3 if it is not.

    Writes are sent as trials (dryRun), which change nothing. With SimKube, and if the context is
    allowed, a pod is created and removed again, to see that KWOK starts it.
    """
    from simgit.kube.embedded import virtual_nodes
    from simgit.kube.live.driver import LiveSettings
    from simgit.kube.live.preflight import preflight as checks
    from simgit.storage.allowed_clusters import AllowedClusters

    failed = 0
    with _connected(context) as api, app.output() as out:
        given = {key.removeprefix("cluster."): value for key, value in settings(pairs).items()}
        live = LiveSettings.of({**given, "context": api.context, "driver": driver})
        allowed = AllowedClusters().entries().get(api.context) == api.url
        for check in checks(api, live, virtual_nodes(nodes), allowed=allowed):
            failed += check.level == "failed"
            if as_json:
                out.json(check.plain())
                continue
            level = out.paint(f"{check.level:7}", _LEVELS[check.level])
            out.line(f"{level}  {clean(check.what)}: {clean(check.found)}")
            for name, text in (("wanted", check.wanted), ("fix", check.fix)):
                if text and check.level != "ok":
                    out.line(f"         {name}: {clean(text)}")
        if not as_json:
            state = f"not ready: {plural(failed, 'failure')}" if failed else "ready"
            out.line(f"context '{api.context}' is {state}")
    if failed:
        click.get_current_context().exit(NOT_READY)


@command("allow", example="""\
simgit kube allow kind-sim
simgit kube allow --list
simgit kube allow --revoke kind-sim""", at_op=False)  # fmt: skip
@click.argument("context", required=False)
@click.option("--list", "listing", is_flag=True, help="List the contexts that are allowed.")
@click.option("--revoke", is_flag=True, help="Allow CONTEXT no longer.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, even if the name says production.")
def allow(
    app: App, context: str | None, listing: bool, revoke: bool, yes: bool, as_json: bool
) -> None:
    """Allow simgit to write to the cluster of a context.

    This is kept in your own configuration, with the URL of the API server: neither a copy of a
    repository nor another cluster under the same name is allowed by it.
    """
    from simgit.storage.allowed_clusters import AllowedClusters

    one_of(list=listing, revoke=revoke)
    if (context is None) != listing:
        raise click.UsageError("--list takes no CONTEXT" if listing else "name a CONTEXT")
    allowed = AllowedClusters()
    with app.output() as out:
        if context is None:
            for name, server in allowed.entries().items():
                if as_json:
                    out.json({"context": name, "server": server})
                else:
                    out.line(f"{clean(name)}  {clean(server)}")
            return
        if revoke:
            changed, server = allowed.forbid(context), ""
            said = "is no longer allowed" if changed else "was not allowed"
        else:
            with _connected(context) as api:
                server = api.url
            _ask(context, server, yes)
            changed = allowed.allow(context, server)
            said = f"{'is now' if changed else 'is already'} allowed ({server})"
        if as_json:
            out.json({"context": context, "allowed": not revoke, "changed": changed})
        else:
            out.line(f"context '{clean(context)}' {clean(said)}")


def _ask(context: str, server: str, yes: bool) -> None:
    """Ask once more about a cluster that seems to be one of production."""
    if yes or "prod" not in f"{context} {server}".lower():
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"'{context}' seems to be production: allow it with --yes")
    click.confirm(
        f"'{context}' ({server}) seems to be production. simgit will create and delete objects "
        "there.\nAllow it?",
        abort=True, err=True,
    )  # fmt: skip


@command("cleanup", example="""\
simgit kube cleanup --dry-run
simgit kube cleanup --all --context kind-sim""", at_op=False)  # fmt: skip
@of_context
@click.option("--all", "every", is_flag=True, help="What any session left, of other users too.")
@click.option("-n", "--dry-run", is_flag=True, help="List what would be removed.")
@click.option("--force", is_flag=True, help="Strip finalizers of what does not go away.")
def cleanup(
    app: App, context: str | None, every: bool, dry_run: bool, force: bool, as_json: bool
) -> None:
    """Remove what interrupted sessions left on a cluster.

    By default that is what your sessions noted; with --all it is every object with
    the label simgit.io/run, except nodes ('simgit kube nodes delete'). What does not exist any
    more is only forgotten. While a session runs on the cluster nothing is removed. Exits with 1 if
    something is left.
    """
    from simgit.kube.live.cleanup import look, remove
    from simgit.kube.live.lease import ClusterLease

    with _connected(context, write=not dry_run) as api, app.output() as out, ExitStack() as held:
        noted = _noted(api, every)
        if not dry_run and any(each.entries() for each in noted):
            held.enter_context(ClusterLease(api))
            noted = _noted(api, every)  # as it is when no other session runs
        entries = [entry for each in noted for entry in each.entries()]
        left: list[str] = []
        absent: dict[str, str] = {}
        if dry_run:
            looks = {entry["path"]: look(api, entry)[1] for entry in entries}
            absent = {path: why for path, why in looks.items() if why is not None}
        else:
            for each in noted:
                left += remove(api, each, force=force)
                absent |= each.absent
        still = {entry["path"] for each in noted for entry in each.entries()}
        for path in (entry["path"] for entry in entries):
            why, stays = absent.get(path), path in still
            if as_json:
                reason = {} if why is None else {"absent": why}
                out.json({"path": path, "removed": not stays and why is None, **reason})
            elif why is not None:
                out.line(f"{'would forget' if dry_run else 'forgot'} {clean(path)}: {why}")
            elif dry_run or not stays:
                out.line(f"{'would remove' if dry_run else 'removed'} {clean(path)}")
        if not as_json:
            for told in left:
                out.line(out.paint(f"left {clean(told)}", "bad"))
            if not entries:
                out.line("nothing to remove")
    if left:
        click.get_current_context().exit(1)


def _noted(api: Api, every: bool) -> list[Created]:
    """Return what the user's sessions noted, and if asked for what else has our label."""
    from simgit.kube.live.cleanup import Created, leftovers
    from simgit.repository import live_clusters

    found = [Created(live_clusters.leftovers(), api.url)]
    if every:
        found.append(Created(None, api.url))
        noted = {entry["path"] for entry in found[0].entries()}
        for row in leftovers(api):
            if row["kind"] not in ("Node", "Lease") and row["path"] not in noted:
                found[1].note(row["path"], row["uid"])
    return found


@command("nodes create", example="""\
simgit kube nodes create 3 --cpu 16 --memory 32Gi
simgit kube nodes create 10 --context kind-sim""", at_op=False)  # fmt: skip
@click.argument("count", type=click.IntRange(1), metavar="N")
@of_context
@click.option("--cpu", default="16", show_default=True, help="CPU of each.")
@click.option("--memory", default="32Gi", show_default=True, help="Memory of each.")
@click.option(
    "--pods", type=click.IntRange(1), default=110, show_default=True, help="Pods on each."
)
def nodes_create(
    app: App, count: int, context: str | None, cpu: str, memory: str, pods: int, as_json: bool
) -> None:
    """Create N virtual nodes on a cluster.

    They have the label type=virtual and the taint kwok-provider, so that only replayed pods are
    placed on them. No kubelet runs; the replayer keeps them alive while it runs.
    """
    from simgit.kube.live.nodes import create_nodes

    with _connected(context, write=True) as api, app.output() as out:
        with api.within(60):
            names = create_nodes(api, count, cpu, memory, pods)
        _write_nodes(out, names, "created", as_json)


@command("nodes delete", example="simgit kube nodes delete --context kind-sim", at_op=False)
@of_context
def nodes_delete(app: App, context: str | None, as_json: bool) -> None:
    """Delete the virtual nodes that simgit created, while no session runs there."""
    from simgit.kube.live.lease import ClusterLease
    from simgit.kube.live.nodes import delete_nodes

    with _connected(context, write=True) as api, app.output() as out:
        with ClusterLease(api), api.within(60):
            names = delete_nodes(api)
        _write_nodes(out, names, "deleted", as_json)


def _write_nodes(out: Output, names: list[str], what: str, as_json: bool) -> None:
    for name in names:
        if as_json:
            out.json({"node": name, what: True})
        else:
            out.line(f"{what} {clean(name)}")
    if not names and not as_json:
        out.line("no nodes of simgit's")
