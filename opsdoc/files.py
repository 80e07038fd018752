"""Files that opsdoc writes: whole or not at all, for the owner only, never through a symlink."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from opsdoc.model import UsageError


def abandon_stdout() -> None:
    """Let what is still buffered for standard output, which nobody can take any more, go nowhere without complaint."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def check_writable(path: Path) -> None:
    """Raise UsageError, before any work is done, if `write_atomically` could not write there."""
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: {folder} is not a directory")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    if mode is not None and stat.S_ISLNK(mode):
        raise UsageError(f"cannot write {path}: it is a symlink, and opsdoc does not write through one")
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"cannot write {path}: it is not a regular file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: no permission to create a file in {folder}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 under a temporary name and rename it into place. Raises UsageError."""
    check_writable(path)
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def write_folder(path: Path, parts: Mapping[str, bytes]) -> None:
    """Write named parts into a new or empty folder with mode 0700. Raises UsageError."""
    check_folder(path)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        for name, data in parts.items():
            part = path / name
            part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(part, data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def check_folder(path: Path) -> None:
    """Raise UsageError if `write_folder` could not write there."""
    if path.is_symlink():
        raise UsageError(f"cannot write {path}: it is a symlink, and opsdoc does not write through one")
    if path.exists() and not path.is_dir():
        raise UsageError(f"cannot write {path}: it exists and is not an empty directory")
    place = path if path.exists() else path.parent
    if not (place.is_dir() and os.access(place, os.R_OK | os.W_OK | os.X_OK)):
        raise UsageError(f"cannot write {path}: no permission to create files in {place}")
    if path.exists() and any(path.iterdir()):
        raise UsageError(f"cannot write {path}: it exists and is not an empty directory")
