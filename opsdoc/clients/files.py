"""Files that the user names: saved dumps and logs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live
from opsdoc.model import UsageError
from opsdoc.redact import Redactor

CAP = 256 << 20  # bytes


class SavedFile(NamedTuple):
    """The content of a saved file. Raises UsageError where it cannot be read: the user named it."""

    path: Path

    def key(self) -> str:
        return f"file {self.path.name}"

    def answer(self, live: Live) -> bytes:  # noqa: ARG002 - the protocol's signature
        try:
            if not self.path.is_file():
                problem = "it is not a regular file" if self.path.exists() else "no such file"
                raise UsageError(f"cannot read {self.path}: {problem}")
            if self.path.stat().st_size > CAP:
                raise UsageError(f"cannot read {self.path}: it is larger than 256 MiB")
            return self.path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from None

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)
