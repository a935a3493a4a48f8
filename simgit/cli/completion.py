"""``simgit completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from simgit.cli.app import App, command
from simgit.cli.params import Choice


@command("completion", example="""\
source <(simgit completion bash)
simgit completion fish > ~/.config/fish/completions/simgit.fish""")  # fmt: skip
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
def completion(app: App, shell: str, as_json: bool) -> None:
    """Print a script that completes commands, options, runs and tags in a shell."""
    from simgit.cli.root import cli

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(cli, {}, "simgit", "_SIMGIT_COMPLETE")
    script = made.source_template % made.source_vars()
    with app.output() as out:
        out.json({"shell": shell, "script": script}) if as_json else out.line(script)
