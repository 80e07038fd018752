"""Which Redis, and who asks it: read from URL and options; the password stays where it is until it is sent.

A replay sends nothing, so that it needs no password; and whoever prints a target sees none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients.lines import Encryption
from opsdoc.model import Malformed, UsageError
from opsdoc.parsers.cache_url import redis_url

CAP = 1 << 16  # bytes of a file with a password


class Login(NamedTuple):
    """A user, and a password or where it stands: a variable of the environment, or the first line of a file."""

    user: str | None = None
    password: str | None = None
    password_env: str | None = None
    password_file: Path | None = None

    def __repr__(self) -> str:
        return "Login(…)"

    def words(self) -> tuple[str, ...]:
        """What follows AUTH; empty where nobody is named. Raises UsageError where the password is not there."""
        password = self.password
        if self.password_file is not None:
            password = _first_line(self.password_file)
        elif self.password_env is not None:
            password = os.environ.get(self.password_env)
        if self.password_file is not None or self.password_env is not None:
            if not password:
                raise UsageError(f"no password in {self.password_file or f'the variable {self.password_env}'}")
        elif password is None:  # `redis://secret@host`, as redis-cli reads it
            return (self.user,) if self.user else ()
        return (self.user, password or "") if self.user else (password or "",)


class Target(NamedTuple):
    """A server, `host:port` or `unix:/path`, and how it is spoken to."""

    address: str
    encryption: Encryption | None = None
    login: Login = Login()
    database: int = 0  # where keys are sampled

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"Target({self.address!r})"

    @classmethod
    def of(
        cls,
        url: str,
        *,
        user: str | None = None,
        password_env: str | None = None,
        password_file: Path | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        private_key: Path | None = None,
    ) -> Target:
        """The target that a URL and options name; options go before what the URL says. Raises UsageError."""
        try:
            parts = redis_url(url)
        except Malformed as error:
            raise UsageError(f"bad --url: {error.detail}: {error.hint}") from None
        if password_env and password_file:
            raise UsageError("--password-env and --password-file exclude each other")
        if private_key and not certificate:
            raise UsageError("with --tls-key goes --tls-cert FILE")
        if (ca or certificate) and not parts.tls:
            raise UsageError("--tls-ca and --tls-cert are for TLS: write rediss://HOST:PORT")
        encryption = Encryption(ca, certificate, private_key) if parts.tls else None
        password = None if password_env or password_file else parts.password
        login = Login(user or parts.user, password, password_env, password_file)
        return cls(parts.address, encryption, login, parts.database)

    def at(self, address: str) -> Target:
        """Another server that is spoken to in the same way, such as a node that this one told of."""
        return self._replace(address=address)


def _first_line(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"cannot read {path}: {'not a regular file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            data = file.read(CAP)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return data.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "surrogateescape")
