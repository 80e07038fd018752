"""Where the files of an nginx configuration are: on disk, below the root of a process, or in a saved `nginx -T`."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, Protocol

from opsdoc.clients.rooted import Reader, listdir_below, open_below, stat_below

MOST_BYTES = 64 << 20  # of all files
MOST_FILES = 10_000
MAGIC = re.compile(r"[*?\[]")  # as ngx_conf_include


class Content(NamedTuple):
    """What a file holds, its size in bytes, and when it was changed (unix time) where that is known."""

    text: str
    size: int
    modified: float | None


class Files(Protocol):
    """Where the files of a configuration are; its errors are OSError."""

    def read(self, path: str, most: int) -> Content:
        """A file, if it has no more bytes than that."""
        ...

    def matching(self, pattern: str) -> list[str]:
        """The files that a pattern of `include` stands for, in the order of glob(3)."""
        ...


class Disk:
    """Files below a root, as the processes whose root it is find them; with a `reader`, as that user may."""

    def __init__(self, root: Path, reader: Reader | None = None) -> None:
        self.root = root
        self.reader = reader

    def read(self, path: str, most: int) -> Content:
        descriptor = open_below(self.root, path, self.reader)
        with os.fdopen(descriptor, "rb") as file:
            seen = os.fstat(descriptor)
            if seen.st_size > most:
                raise OSError(errno.EFBIG, f"more than {MOST_BYTES >> 20} MiB in all", path)
            # What says that it is empty is, or it is a file of the kernel, and some of these block.
            data = file.read(seen.st_size) if seen.st_size else b""
        return Content(data.decode("utf-8", "backslashreplace"), len(data), seen.st_mtime)

    def matching(self, pattern: str) -> list[str]:
        found, part = [""], ""
        for part in pattern.strip("/").split("/"):
            if MAGIC.search(part):
                found = [f"{folder}/{name}" for folder in found for name in self._names(folder) if _fits(name, part)]
            else:
                found = [f"{folder}/{part}" for folder in found]
            del found[MOST_FILES + 1 :]  # so that it is met, and told, that these are too many
        return sorted(found if MAGIC.search(part) else filter(self._exists, found))

    def _exists(self, path: str) -> bool:
        try:
            stat_below(self.root, path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _names(self, folder: str) -> list[str]:
        try:
            return listdir_below(self.root, folder or "/", self.reader)
        except (FileNotFoundError, NotADirectoryError):
            return []  # glob(3) passes over them, too


class Saved:
    """Files of a dump, by the names that nginx gave them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def read(self, path: str, most: int) -> Content:
        text = self.files.get(path)
        if text is None:
            raise FileNotFoundError(errno.ENOENT, "it is not in the dump", path)
        if len(text) > most:
            raise OSError(errno.EFBIG, f"more than {MOST_BYTES >> 20} MiB in all", path)
        return Content(text, len(text), None)

    def matching(self, pattern: str) -> list[str]:
        wanted = pattern.split("/")
        paths = ((path, path.split("/")) for path in self.files)
        return sorted(path for path, names in paths if len(names) == len(wanted) and all(map(_fits, names, wanted)))


def _fits(name: str, part: str) -> bool:
    """glob(3): a leading dot is matched only by a dot."""
    return fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


def reason(error: OSError) -> str:
    """Why a file could not be read, in a few words."""
    return "not permitted" if isinstance(error, PermissionError) else (error.strerror or str(error))
