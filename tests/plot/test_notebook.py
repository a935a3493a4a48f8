"""What notebooks show of repositories, runs, states and trajectories."""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simgit import Repository
from simgit.plot import notebook


def decoded(data: bytes) -> np.ndarray:
    """Return what another program reads from a PNG file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


def pictures(text: str) -> list[np.ndarray]:
    return [decoded(b64decode(found)) for found in re.findall(r"base64,([^']+)'", text)]


def well_formed(text: str) -> ElementTree.Element:
    closed = re.sub(r"(<img [^>]*)>", r"\1/>", text)
    return ElementTree.fromstring(f"<div>{closed}</div>")


@given(st.integers(1, 4).flatmap(
    lambda channels: arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(channels)))
))  # fmt: skip
def test_a_png_has_the_pixels_that_were_given(pixels: np.ndarray) -> None:
    assert np.array_equal(decoded(notebook.png(pixels)).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 30), (20, 30, 1)), ((20, 30, 1), (20, 30, 1)), ((20, 30, 3), (20, 30, 3)),
        ((20, 30, 4), (20, 30, 4)), ((3, 20, 30), (20, 30, 3)), ((4, 84, 84), (84, 84, 1)),
        ((7, 7, 3), None), ((20,), None), ((2, 20, 30, 3), None), ((20, 30, 9), None),
    ],
)  # fmt: skip
def test_which_arrays_are_images(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    found = notebook.as_pixels(np.zeros(shape, np.uint8))
    assert expected == (None if found is None else found.shape)
    assert notebook.as_pixels(np.zeros(shape, np.float32)) is None


def test_the_newest_frame_of_a_stack_is_shown() -> None:
    stack = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 84, 84), np.uint8)
    found = notebook.as_pixels(stack)
    assert found is not None and (found == 3).all()


def test_a_thumbnail_is_small_but_can_be_seen() -> None:
    (large,) = pictures(notebook.image(np.zeros((1000, 500, 3), np.uint8)))
    assert max(large.shape) <= 160
    small = notebook.image(np.zeros((20, 20, 3), np.uint8))
    assert "height='160'" in small and pictures(small)[0].shape == (20, 20, 3)


def test_cells_are_escaped() -> None:
    assert notebook.escaped("<a href='x'>&amp;\"") == html.escape("<a href='x'>&amp;\"")
    assert "<b>" not in notebook.table([("<b>", notebook.code("<b>"))], ("<b>",))


@pytest.fixture
def repo():
    with Repository.init(":memory:") as repo, repo.recorder("main") as recorder:
        for i in range(10):
            frame = np.full((20, 30, 3), i, np.uint8)
            recorder.append({"rgb": frame, "pos": i}, 1, 0.5, message="<script>")
        recorder.flush()
        yield repo


def test_a_state_shows_its_image(repo: Repository) -> None:
    text = repo.state("main@7")._repr_html_()
    assert (pictures(text)[0] == 7).all() and "observation.rgb" in text and "<script>" not in text
    assert well_formed(text).find(".//table") is not None


def test_a_trajectory_shows_some_of_its_images(repo: Repository) -> None:
    text = repo["main"]._repr_html_()
    assert [int(found[0, 0, 0]) for found in pictures(text)] == [0, 1, 3, 5, 7, 9]
    assert "title='step 9'" in text and "reward" in text


def test_a_trajectory_without_images_shows_its_fields_only(repo: Repository) -> None:
    with repo.recorder("plain") as recorder:
        recorder.append(np.zeros(4))
    well_formed(repo["plain"]._repr_html_())
    assert not pictures(repo["plain"]._repr_html_()) and not pictures(
        repo["main"][:0]._repr_html_()
    )


def test_a_run_shows_how_it_stands(repo: Repository) -> None:
    repo.branch("try", "main@3", overrides={"lr": "<0.1>"})
    cells = [cell.text for cell in well_formed(repo.runs["try"]._repr_html_()).iter("td")]
    assert cells[:4] == ["run", "try", "status", "active"] and "main" in cells
    assert "&lt;0.1&gt;" in repo.runs["try"]._repr_html_()


def test_a_repository_lists_its_newest_runs(repo: Repository) -> None:
    for i in range(21):
        repo.branch(f"try-{i}", "main@3")
    text = repo._repr_html_()
    rows = [row[0].text for row in well_formed(text).iter("tr")]
    assert rows[:2] == ["run", "try-20"] and len(rows) == 21
    assert "in memory" in text and "HEAD main" in text and "and 2 more runs" in text


@pytest.mark.slow
def test_showing_loads_nothing_heavy() -> None:
    program = (
        "import sys, simgit; r = simgit.Repository.init(':memory:'); r.commit([1.0]);"
        "r._repr_html_(), r.head_run._repr_html_(), r.state()._repr_html_(), r['main']._repr_html_();"
        "print([m for m in ('matplotlib', 'PIL', 'gymnasium', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
