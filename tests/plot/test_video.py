"""Films: what is written can be read again, and is there whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simgit.errors import AlreadyExists, InvalidInput, NotFound, StorageError
from simgit.plot.video import write_film


def frames(count: int = 5, shape: tuple[int, int] = (41, 60)) -> Iterator[np.ndarray]:
    """Yield a white square that moves to the right over black."""
    for i in range(count):
        frame = np.zeros((*shape, 3), np.uint8)
        frame[10:20, 8 * i : 8 * i + 10] = 255
        yield frame


def test_a_directory_has_a_png_for_each_frame(tmp_path: Path) -> None:
    from PIL import Image

    assert write_film(tmp_path / "frames", frames(), 10) == 5
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{i:06}.png" for i in range(1, 6)]
    for path, frame in zip(sorted((tmp_path / "frames").iterdir()), frames(), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), frame)


def test_a_gif_has_the_frames_and_their_time(tmp_path: Path) -> None:
    from PIL import Image

    assert write_film(tmp_path / "a.gif", frames(), 10) == 5
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.info["duration"]) == (5, 100)
        film.seek(3)
        assert np.array_equal(np.asarray(film.convert("RGB")), list(frames())[3])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the reader
def test_an_mp4_can_be_played_also_with_an_odd_height(tmp_path: Path) -> None:
    import imageio.v2

    assert write_film(tmp_path / "a.mp4", frames(8), 4) == 8
    with imageio.v2.get_reader(tmp_path / "a.mp4") as film:
        assert film.get_meta_data()["fps"] == 4 and film.get_meta_data()["size"] == (60, 42)
        shown = [np.asarray(frame) for frame in film]
    assert len(shown) == 8
    for seen, frame in zip(shown, frames(8), strict=True):
        assert abs(seen[:41].astype(int) - frame).mean() < 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_a_film_that_fails_half_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames(3)
        raise RuntimeError("the environment broke")

    with pytest.raises(RuntimeError):
        write_film(tmp_path / name, broken(), 10)
    with pytest.raises(InvalidInput, match="no frames"):
        write_film(tmp_path / name, iter(()), 10)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_mixed_with_new_frames(tmp_path: Path) -> None:
    write_film(tmp_path / "a", frames(), 10)
    with pytest.raises(AlreadyExists, match="name an empty one"):
        write_film(tmp_path / "a", frames(), 10)
    (tmp_path / "empty").mkdir()
    assert write_film(tmp_path / "empty", frames(2), 10) == 2
    write_film(tmp_path / "a.gif", frames(2), 10)
    assert write_film(tmp_path / "a.gif", frames(4), 10) == 4


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for name in ("a.gif", "a.mp4"):
        with pytest.raises(StorageError, match=f"cannot write '.*{name}'"):
            write_film(tmp_path / "gone" / name, frames(2), 10)
    with pytest.raises(InvalidInput, match="must be above 0, got 0"):
        write_film(tmp_path / "a.gif", frames(2), 0)


@pytest.mark.parametrize(("name", "package"), [("a.mp4", "imageio.v2"), ("a.gif", "PIL")])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotFound, match=r"pip install 'simgit\[video\]'"):
        write_film(tmp_path / name, frames(2), 10)
