"""Which PostgreSQL, and who asks it: read from DSN and options; the password stays where it is until it is sent."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients.accounts import Login
from opsdoc.clients.addresses import name_of
from opsdoc.clients.postgresql_line import driver
from opsdoc.clients.sql import LOCK, STATEMENT, WITHIN
from opsdoc.model import Malformed, UsageError
from opsdoc.parsers.dsn import postgresql_dsn

NAME = "opsdoc"  # of our sessions, in pg_stat_activity and in the server's log
_SETTINGS = {
    "statement_timeout": round(STATEMENT * 1000),
    "lock_timeout": round(LOCK * 1000),
    "idle_in_transaction_session_timeout": round(WITHIN * 1000),
    "search_path": "pg_catalog",  # else a function of somebody's could stand for one of the server's
    "DateStyle": "ISO",
    "jit": "off",
}
_WRONG_OPTION = re.compile(r'invalid (?:URI query parameter|connection option)[: ]+"(\w{1,40})"')


class Target(NamedTuple):
    """A server, or several of which libpq takes one, and who asks. Whoever prints it sees no secret."""

    address: str
    dsn: str
    login: Login = Login()
    ca: Path | None = None

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"Target({self.address!r})"

    @classmethod
    def of(
        cls,
        dsn: str,
        *,
        user: str | None = None,
        password_env: str | None = None,
        password_file: Path | None = None,
        ca: Path | None = None,
    ) -> Target:
        """The server that a DSN and options name; options go before what the DSN says. Raises UsageError."""
        dsn = dsn[:]  # options.Url shows itself without its password, but for this
        try:
            address = postgresql_dsn(dsn, os.environ).address
        except Malformed as error:
            raise UsageError(f"bad --dsn: {error.detail}: {error.hint}") from None
        login = Login.of(None, None, option=user, password_env=password_env, password_file=password_file)
        return cls(address, dsn, login, ca)

    @property
    def names(self) -> list[str]:
        """The names of hosts that have to be looked up; libpq itself looks for the host of a service."""
        return [] if self._at_service else [name for one in self.address.split(",") if (name := name_of(one))]

    @property
    def _at_service(self) -> bool:
        return self.address.startswith("service=")

    def conninfo(self, found: Mapping[str, Sequence[str]]) -> str:
        """What libpq is told, with the addresses that were found for names.

        Raises UsageError for what it cannot read, without repeating what may be a secret.
        """
        driver()
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        try:
            words: dict[str, Any] = conninfo_to_dict(self.dsn)
        except ProgrammingError as error:
            wrong = _WRONG_OPTION.search(str(error))
            detail = f"libpq knows no parameter {wrong[1]}" if wrong else "libpq cannot read it"
            raise UsageError(f"bad --dsn: {detail}") from None
        password = self.login.password() or words.get("password")
        words |= {"user": self.login.user or words.get("user"), "password": password}
        if self.ca is not None:
            words |= {"sslrootcert": str(self.ca), "sslmode": words.get("sslmode") or "verify-ca"}
        if not self._at_service and not words.get("hostaddr"):
            words |= self._places(found)
        given = words.get("options") or os.environ.get("PGOPTIONS", "")
        ours = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        words |= {"application_name": NAME, "client_encoding": "UTF8", "options": f"{given} {ours}".strip()}
        words.pop("replication", None)
        return make_conninfo(**{name: value for name, value in words.items() if value is not None})

    def _places(self, found: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Each place as libpq has it: a host, one of its addresses (none for a folder of sockets), a port."""
        places: list[tuple[str, str, str]] = []
        for one in self.address.split(","):
            host, _, port = one.removeprefix("unix:").rpartition(":")
            host, name = host.strip("[]"), name_of(one)
            if name is not None:
                places += [(host, address, port) for address in found.get(name, ())]
            else:
                places.append((host, "" if one.startswith("unix:") else host, port))
        return dict(zip(("host", "hostaddr", "port"), map(",".join, zip(*places, strict=True)), strict=True))

    def asked_for(self) -> tuple[str, str]:
        """The role and the database, as libpq has them where nothing names them."""
        dsn = postgresql_dsn(self.dsn)
        user = self.login.user or dsn.user or os.environ.get("PGUSER") or getpass.getuser()
        return user, dsn.database or os.environ.get("PGDATABASE") or user
