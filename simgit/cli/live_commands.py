"""``simgit kube preflight``, ``allow``, ``cleanup`` and ``nodes create``: a real cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    Nothing stays on the cluster: writes are sent as trials (dryRun). With SimKube, and if the
    context is allowed, a pod is created and removed again, to see that KWOK starts it.
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
    the label simgit.io/run, except nodes ('simgit kube nodes delete'). While a session runs on
    the cluster nothing is removed. Exits with 1 if something is left.
    """
    from simgit.kube.live.cleanup import Created, leftovers, remove
    from simgit.kube.live.lease import ClusterLease
    from simgit.repository import live_clusters

    with _connected(context, write=not dry_run) as api, app.output() as out:
        if every:
            created = Created(None, api.url)
            for row in leftovers(api):
                if row["kind"] not in ("Node", "Lease"):
                    created.note(row["path"], row["uid"])
        else:
            created = Created(live_clusters.leftovers(), api.url)
        paths = [entry["path"] for entry in created.entries()]
        left: list[str] = []
        if paths and not dry_run:
            with ClusterLease(api):
                left = remove(api, created, force=force)
        _write_cleanup(out, created, paths, left, dry_run=dry_run, as_json=as_json)
    if left:
        click.get_current_context().exit(1)


def _write_cleanup(
    out: Output,
    created: Created,
    paths: list[str],
    left: list[str],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    still = {entry["path"] for entry in created.entries()}
    if as_json:
        for path in paths:
            out.json({"path": path, "removed": path not in still})
        return
    for path in paths:
        if dry_run or path not in still:
            out.line(f"{'would remove' if dry_run else 'removed'} {clean(path)}")
    for told in left:
        out.line(out.paint(f"left {clean(told)}", "bad"))
    if not paths:
        out.line("nothing to remove")


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
    """Delete the virtual nodes that simgit created on a cluster."""
    from simgit.kube.live.nodes import delete_nodes

    with _connected(context, write=True) as api, app.output() as out:
        with api.within(60):
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
