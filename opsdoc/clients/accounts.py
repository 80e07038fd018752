"""Who asks: named by the command line, read from where the secret stands when a request is signed, and never kept.

A replay signs nothing, so that it needs none of the files; and what is never an answer is in no recording.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

from opsdoc.model import Malformed, UsageError
from opsdoc.parsers import rocketmq_acl
from opsdoc.parsers.rocketmq_acl import Credentials

CAP = 1 << 16  # bytes: a file with credentials has a few lines


class Account(NamedTuple):
    """Where the credentials stand: a file with both, or a user with the variable or the file of the password."""

    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    config: Path | None = None

    def credentials(self) -> Credentials:
        """What requests are signed with. Raises UsageError for what is missing or cannot be read."""
        return _credentials(self)

    def check(self) -> None:
        """Raise UsageError where the options do not belong together."""
        passwords = [self.password_env, self.password_file]
        if self.config is not None and (self.user or any(passwords)):
            raise UsageError(
                "--client-config names the user already: leave --user, --password-env and --password-file out"
            )
        if self.config is None and bool(self.user) != any(map(bool, passwords)):
            raise UsageError(
                "with --user goes --password-env NAME or --password-file FILE"
                if self.user
                else "with --password-env or --password-file goes --user ACCESSKEY"
            )
        if all(map(bool, passwords)):
            raise UsageError("--password-env and --password-file exclude each other")


@functools.lru_cache(maxsize=8)
def _credentials(account: Account) -> Credentials:
    if account.config is not None:
        try:
            return rocketmq_acl.credentials(_text(account.config))
        except Malformed as error:
            raise UsageError(f"cannot read {account.config}: {error.detail}; {error.hint}") from None
    if account.password_file is not None:
        password = _text(account.password_file).partition("\n")[0].rstrip("\r")
        where = str(account.password_file)
    else:
        password = os.environ.get(account.password_env or "", "")
        where = f"the variable {account.password_env}"
    if not password:
        raise UsageError(f"no password in {where}")
    return Credentials(account.user or "", password)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"cannot read {path}: {'not a regular file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            data = file.read(CAP + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > CAP:
        raise UsageError(f"cannot read {path}: it is larger than 64 KiB")
    return data.decode("utf-8", "replace")
