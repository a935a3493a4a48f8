"""``simgit video``."""

from __future__ import annotations

import os

import click

from simgit.cli.app import App, command
from simgit.cli.output import progress
from simgit.cli.params import REVISION
from simgit.cli.permission import Asker
from simgit.cli.restore_estimate import announce
from simgit.errors import plural


@command(
    "video",
    example="""\
simgit video main@ep5 --output episode.mp4
simgit video main@100..400 --every 2 --output part.gif
simgit video main@ep5 --output frames/""",
)
@click.argument("revision", default="HEAD", type=REVISION, metavar="[RUN|RANGE]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="File to write: a .mp4, a .gif, or a directory of .png.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="Frames per second (default: the environment's).",
)
@click.option(
    "--every", type=click.IntRange(1), default=1, metavar="N", help="States per frame (default 1)."
)
def video(
    app: App, revision: str, output: str, fps: float | None, every: int, as_json: bool
) -> None:
    """Render recorded states as a film; recording them needed no rendering.

    The environment is restored and the recorded actions are re-executed; each state is compared
    with the recorded one.
    """
    from simgit.gym.tools.film import Film
    from simgit.plot.video import write_film, writer

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # frames need no window, and no screen
    path = app.path(output)
    writer(path)
    with app.repository() as repo:
        trust = Asker(repo)
        if not as_json:
            announce(repo, revision, whole=True, trust=trust)
        with progress("video", not as_json) as tell:
            film = Film(repo, revision, every=every, trust=trust, progress=tell)
            speed = film.fps if fps is None else fps
            count = write_film(path, film, speed)
        with app.output() as out:
            if as_json:
                out.json({"file": output, "frames": count, "fps": speed})
            else:
                out.line(f"wrote {output}: {plural(count, 'frame')}, {count / speed:.1f} s")
