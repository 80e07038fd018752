"""Who asks: named by the command line, read from where the secret stands when it is needed, and never kept.

A replay asks nobody, so that it needs none of the files; and what is never an answer is in no recording.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from opsdoc.model import UsageError

CAP = 1 << 16  # bytes: a file with credentials has a few lines


class Login(NamedTuple):
    """A user, and a password as it was given with an address, or where it stands: a variable, or a file's first line.

    Whoever prints it sees nothing of it.
    """

    user: str | None = None
    given: str | None = None
    password_env: str | None = None
    password_file: Path | None = None

    def __repr__(self) -> str:
        return "Login(…)"

    @classmethod
    def of(
        cls,
        user: str | None,
        password: str | None,
        *,
        option: str | None = None,
        password_env: str | None = None,
        password_file: Path | None = None,
    ) -> Login:
        """Who an address names, unless options (`option` is --user) say otherwise. Raises UsageError."""
        if password_env and password_file:
            raise UsageError("--password-env and --password-file exclude each other")
        return cls(option or user, None if password_env or password_file else password, password_env, password_file)

    def password(self) -> str | None:
        """The password, read now; None where nothing says one. Raises UsageError where it is not where it should be."""
        if self.password_file is not None:
            found, where = _first_line(self.password_file), str(self.password_file)
        elif self.password_env is not None:
            found, where = os.environ.get(self.password_env, ""), f"the variable {self.password_env}"
        else:
            return self.given
        if not found:
            raise UsageError(f"no password in {where}")
        return found


def _first_line(path: Path) -> str:
    data = small_file(path)
    line, newline, _ = data.partition(b"\n")
    if len(data) > CAP and not newline:
        raise too_large(path)
    return line.rstrip(b"\r").decode("utf-8", "surrogateescape")


def small_file(path: Path) -> bytes:
    """The bytes of a file with credentials, or a byte more than CAP. Raises UsageError."""
    try:
        if not path.is_file():
            raise UsageError(f"cannot read {path}: {'not a regular file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            return file.read(CAP + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def too_large(path: Path) -> UsageError:
    """What to say of a file that is no list of credentials."""
    return UsageError(f"cannot read {path}: it is larger than 64 KiB")
