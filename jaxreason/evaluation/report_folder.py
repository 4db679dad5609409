"""The folder of a report, put in place whole."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jaxreason.errors import InputError, disk_errors
from jaxreason.paths import is_local


def check_folder(folder: Path) -> None:
    """Tries whether a report can be written, before the work for it; leaves nothing behind.

    Raises:
        InputError: the folder, or what should hold it, is a file.
        FailureError: the disk refuses.
    """
    if not is_local(folder):
        _try_object(folder)
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"report folder {folder}: {there} is a file; name another folder")
    with disk_errors(str(folder)), tempfile.TemporaryDirectory(dir=there, prefix=".report-"):
        pass


def _try_object(folder: Path) -> None:
    if folder.is_file():
        raise InputError(f"report folder {folder} is a file; name another folder")
    trial = folder / ".report-trial"
    with disk_errors(str(folder)):
        trial.write_bytes(b"")
        trial.unlink()


def put_in_place(
    folder: Path,
    page: str,
    html: str,
    texts: Mapping[str, str],
    images: Mapping[str, bytes],
    stale: str | None = None,
) -> Path:
    """Writes a report so that a half-written one never stands as complete.

    Files of an earlier report are replaced, other files in the folder are left alone.

    Args:
        folder: made if need be.
        page: file name of the page, put in place last.
        html: its text.
        texts: other files by name.
        images: PNGs by name without suffix.
        stale: pattern of earlier files to remove.

    Returns:
        The path of the page.

    Raises:
        FailureError: the disk refuses.
    """
    if not is_local(folder):
        return _put_objects(folder, page, html, texts, images, stale)
    with disk_errors(str(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Inside the folder where there is one: it may be on a disk of its own.
        place = folder if folder.is_dir() else folder.parent
        with tempfile.TemporaryDirectory(dir=place, prefix=".report-") as name:
            fresh = Path(name)
            for image, data in images.items():
                (fresh / f"{image}.png").write_bytes(data)
            for file, text in {**texts, page: html}.items():
                (fresh / file).write_text(text)
            folder.mkdir(exist_ok=True)
            for old in (*(folder.glob(stale) if stale else ()), folder / page):
                old.unlink(missing_ok=True)
            # The page goes last: while it is there, all it stands for is.
            for path in sorted(fresh.iterdir(), key=lambda path: path.name == page):
                os.replace(path, folder / path.name)
    return folder / page


def _put_objects(
    folder: Path,
    page: str,
    html: str,
    texts: Mapping[str, str],
    images: Mapping[str, bytes],
    stale: str | None,
) -> Path:
    """The same in an object store, where each file is put whole: the page last."""
    with disk_errors(str(folder)):
        for old in (folder / page, *(folder.glob(stale) if stale else ())):
            old.unlink(missing_ok=True)
        for image, data in images.items():
            (folder / f"{image}.png").write_bytes(data)
        for file, text in texts.items():
            (folder / file).write_text(text)
        (folder / page).write_text(html)
    return folder / page
