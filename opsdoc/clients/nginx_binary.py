"""What stands in the binary that an nginx runs from: read as bytes, for to run it would be to trust it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from opsdoc.clients import Live
from opsdoc.parsers.nginx_process import Build, build

CAP = 64 << 20  # bytes: OpenResty has 20 MiB with its symbols
BLOCK = 1 << 20


class Binaries:
    """The binaries of one look; one that several processes run from is read once."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._read: dict[tuple[int, int], Build] = {}

    def of(
        self, pid: int, words: Sequence[str], container: str | None, unknown: dict[str, str]
    ) -> tuple[Build, str | None, bool]:
        """What is in the binary of a process, its path, and whether the one at that path is another by now.

        `/proc/PID/exe` leads to it in a container, too, and when it was deleted. Who may not read that is shown the
        file that the command line begins with, where it is on our file system; else `unknown` is told. Raises OSError
        when the process has ended.
        """
        link = f"{self._live.proc}/{pid}/exe"
        try:
            path = os.readlink(link)
            return self._build(link), path.removesuffix(" (deleted)"), path.endswith(" (deleted)")
        except PermissionError:
            named = words[0] if words and words[0].startswith("/") else None
        if named is not None and container is None and not self._live.foreign_proc:
            with contextlib.suppress(OSError):
                return self._build(named), named, False
        unknown["version"] = f"not permitted to read {link}"
        return Build(), named, False

    def _build(self, path: str) -> Build:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            seen = os.fstat(descriptor)
            identity = (seen.st_dev, seen.st_ino)
            if identity not in self._read:
                self._read[identity] = build(self._blocks(descriptor))
            return self._read[identity]
        finally:
            os.close(descriptor)

    def _blocks(self, descriptor: int) -> Iterator[bytes]:
        for offset in range(0, CAP, BLOCK):
            self._live.remaining()
            block = os.pread(descriptor, BLOCK, offset)
            if not block:
                return
            yield block
