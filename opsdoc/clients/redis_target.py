"""Which Redis, and who asks it: read from URL and options; the password stays where it is until it is sent.

A replay sends nothing, so that it needs no password; and whoever prints a target sees none.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from opsdoc.clients.accounts import Login
from opsdoc.clients.lines import Encryption
from opsdoc.model import Malformed, UsageError
from opsdoc.parsers.cache_url import redis_url


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
        login = Login.of(
            parts.user, parts.password, option=user, password_env=password_env, password_file=password_file
        )
        if private_key and not certificate:
            raise UsageError("with --tls-key goes --tls-cert FILE")
        if (ca or certificate) and not parts.tls:
            raise UsageError("--tls-ca and --tls-cert are for TLS: write rediss://HOST:PORT")
        encryption = Encryption(ca, certificate, private_key) if parts.tls else None
        return cls(parts.address, encryption, login, parts.database)

    def auth(self) -> tuple[str, ...]:
        """What follows AUTH; empty where nobody is named. Raises UsageError where the password is not there."""
        user, password = self.login.user, self.login.password()
        if password is None:  # `redis://secret@host`, as redis-cli reads it
            return (user,) if user else ()
        return (user, password) if user else (password,)

    def at(self, address: str) -> Target:
        """Another server that is spoken to in the same way, such as a node that this one told of."""
        return self._replace(address=address)
