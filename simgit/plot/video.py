"""Writing of films: MP4, GIF, or a directory of PNG files (which needs no package)."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.errors import AlreadyExists, InvalidInput, NotFound, StorageError, reason
from simgit.plot.notebook import Pixels, png

MISSING: Final = "films need imageio and Pillow: pip install 'simgit[video]'"
_GROWING: Final = (
    "-movflags", "empty_moov+default_base_moof", "-frag_duration", "500000", "-flush_packets", "1",
)  # fmt: skip
"""Options of ffmpeg: what players need comes first, then a fragment each half second of film."""
Write = Callable[[Path, Iterator[Pixels], float], None]


def write_growing(
    path: Path, frames: Iterable[Pixels], fps: float, begun: Callable[[], None]
) -> int:
    """Write frames as ``.mp4`` into a file that can be played while it grows; return their number.

    It is a fragmented MP4 (ISO/IEC 14496-12, 8.8). Where this raises, the file is a part of a film.

    Args:
        path: the file.
        frames: see ``write_film``.
        fps: frames per second.
        begun: called when there is a frame.

    Raises:
        InvalidInput, NotFound, StorageError: see ``write_film``.
    """
    count = 0

    def counted() -> Iterator[Pixels]:
        nonlocal count
        for frame in frames:
            count += 1
            yield frame
            if count == 1:
                begun()

    try:
        _write_mp4(path, counted(), fps, _GROWING)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {reason(error)}") from None
    if not count:
        raise InvalidInput("no frames to write")
    return count


def write_film(path: Path, frames: Iterable[Pixels], fps: float) -> int:
    """Write frames as ``.mp4``, ``.gif`` or else a directory, by the name; return their number.

    Frames have one shape (height, width, 3). The film is written atomically.

    Raises:
        InvalidInput: there are no frames, or ``fps`` is not above 0.
        AlreadyExists: the directory is there and not empty.
        NotFound: a package is not installed.
        StorageError: the film cannot be written.
    """
    if fps <= 0:
        raise InvalidInput(f"frames per second must be above 0, got {fps:g}")
    write = writer(path)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    count = 0

    def counted() -> Iterator[Pixels]:
        nonlocal count
        for frame in frames:
            count += 1
            yield frame

    try:
        write(partial, counted(), fps)
        if count:
            if partial.is_dir() and path.is_dir():
                path.rmdir()
            partial.replace(path)
            return count
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {reason(error)}") from None
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
    raise InvalidInput("no frames to write")


def writer(path: Path) -> Write:
    """Return the writer for a name; call it before any work is done, for its errors.

    Raises:
        AlreadyExists: it is a directory that is not empty.
        NotFound: a package is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".mp4":
        _imageio()
        return _write_mp4
    if suffix == ".gif":
        _pillow()
        return _write_gif
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AlreadyExists(
            f"directory '{path}' is not empty: name an empty one, or a .mp4 or .gif file"
        )
    return _write_pngs


def _write_pngs(path: Path, frames: Iterator[Pixels], fps: float) -> None:
    path.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        (path / f"{number:06}.png").write_bytes(png(frame))


def _write_gif(path: Path, frames: Iterator[Pixels], fps: float) -> None:
    image = _pillow()
    pictures = map(image.fromarray, frames)
    first = next(pictures, None)
    if first is not None:
        duration = max(20, round(1000 / fps))  # players slow down faster films
        with path.open("wb") as file:
            first.save(
                file, "GIF", save_all=True, append_images=pictures, duration=duration, loop=0
            )


def _write_mp4(
    path: Path, frames: Iterator[Pixels], fps: float, options: Sequence[str] = ()
) -> None:
    imageio = _imageio()
    first = next(frames, None)
    if first is None:
        return
    # the pixel format that all players show
    look: dict[str, Any] = {"codec": "libx264", "pixelformat": "yuv420p", "macro_block_size": 1}
    if options:
        look["output_params"] = list(options)
    with imageio.get_writer(path, format="FFMPEG", mode="I", fps=fps, **look) as film:
        for frame in itertools.chain([first], frames):
            film.append_data(_even(frame))


def _even(frame: Pixels) -> Pixels:
    """Repeat the last row or column of an odd size, which the codec refuses."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _imageio() -> Any:
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise NotFound(MISSING) from None
    return imageio.v2


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise NotFound(MISSING) from None
    return Image
