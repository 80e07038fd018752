"""Who asks RocketMQ: a user with the place of its password, or a file with the credentials of an ACL."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients.accounts import CAP, Login, small_file, too_large
from opsdoc.model import Malformed, UsageError
from opsdoc.parsers import rocketmq_acl
from opsdoc.parsers.rocketmq_acl import Credentials


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
        self.login()

    def login(self) -> Login:
        """The user with the password; without one where both stand in a file."""
        return Login.of(self.user, None, password_env=self.password_env, password_file=self.password_file)


@functools.lru_cache(maxsize=8)
def _credentials(account: Account) -> Credentials:
    if account.config is None:
        return Credentials(account.user or "", account.login().password() or "")
    data = small_file(account.config)
    if len(data) > CAP:
        raise too_large(account.config)
    try:
        return rocketmq_acl.credentials(data.decode("utf-8", "replace"))
    except Malformed as error:
        raise UsageError(f"cannot read {account.config}: {error.detail}; {error.hint}") from None
