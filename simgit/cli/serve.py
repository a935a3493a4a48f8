"""``simgit serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.output import say

if TYPE_CHECKING:
    from simgit.server.serving import Address


@command(
    "serve",
    example="""\
simgit serve --open
simgit serve --demo --open
simgit serve --host 0.0.0.0 --allow-host lab.example.org --tls-cert lab.pem
curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8877/v1/runs""",
    at_op=False,
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8877, show_default=True,
              metavar="N", help="Port to listen on; 0 for a free one.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Refuse everything that writes.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME",
              help="Further name of this host.")  # fmt: skip
@click.option("--allow-origin", "origins", multiple=True, metavar="URL",
              help="Other origin whose pages may ask.")  # fmt: skip
@click.option("--tls-cert", "certificate", type=click.Path(path_type=Path), metavar="FILE",
              help="Certificate and key (PEM), to answer over HTTPS.")  # fmt: skip
@click.option("--no-token", is_flag=True, help="Ask for no token; on loopback only.")
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Simulations of the queue that run at once.")  # fmt: skip
@click.option("--request-timeout", "seconds", type=click.FloatRange(0, min_open=True), default=30,
              show_default=True, metavar="SECONDS",
              help="Time that a long request may take; then it is refused.")  # fmt: skip
@click.option("--no-page", is_flag=True, help="Serve the API only, not the page in the browser.")
@click.option("--open", "opens", is_flag=True, help="Open the address in a browser.")
@click.option("--demo", "is_demo", is_flag=True,
              help="Serve a new repository with a pendulum; remove it at the end.")  # fmt: skip
def serve(
    app: App,
    host: str,
    port: int,
    read_only: bool,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    certificate: Path | None,
    no_token: bool,
    workers: int,
    seconds: float,
    no_page: bool,
    opens: bool,
    is_demo: bool,
    as_json: bool,
) -> None:
    """Serve the repository over HTTP, until Ctrl-C.

    The first address that is printed has a token that may do everything, the second one a token
    that only reads; they are for browsers. Programs find address and tokens in .simgit/serve.json
    while the server runs. The API is described in docs/http-api.md, and by /v1/openapi.json.

    With --demo no repository is needed, and none is touched: everything that is done there is
    removed at Ctrl-C. 'simgit clone' keeps it while it is served.
    """
    from simgit.live.demo import demo
    from simgit.server.gate import is_loopback
    from simgit.server.serving import Options, redirect, serve

    options = Options(
        host, port, read_only, hosts, origins,
        None if certificate is None else app.path(certificate), not no_token, workers,
        not no_page, seconds,
    )  # fmt: skip
    if not (is_loopback(host) or certificate):
        say("warning: tokens and data are not encrypted; --tls-cert FILE does that")

    def ready(address: Address) -> None:
        with app.output() as out:
            if as_json:
                out.json({"url": address.url, "tokens": address.tokens})
            else:
                out.line(address.link())
                if is_demo and repo.directory is not None:
                    out.line(f"demo in {repo.directory.parent}, removed at Ctrl-C")
                if address.tokens:
                    out.line(f"read only: {address.link('view')}")
        if opens:
            import webbrowser

            # not as an argument of the browser, which every user of the machine can read
            webbrowser.open(redirect(repo.directory, address).as_uri())

    with demo() if is_demo else app.repository() as repo:
        serve(repo, options, ready)
