"""Which MySQL or MariaDB server, and who asks it: from the DSN, options and `~/.my.cnf`, which is read when dialling.

A replay dials nobody, so that it needs neither a password nor that file; and whoever prints a target sees no secret.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from opsdoc.clients.accounts import Login
from opsdoc.model import Malformed, UsageError
from opsdoc.parsers.dsn import mysql_dsn
from opsdoc.parsers.my_cnf import client_options

CAP = 1 << 16  # bytes of an option file
FILE = "~/.my.cnf"
PORT = 3306
SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108 - of packages

Tls = Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"]  # as `mysql --ssl-mode` has them


class Place(NamedTuple):
    """Where to dial, and how to log in: all that DSN, options and files say. Whoever prints it sees no secret."""

    address: str  # `host:port` or `unix:/path`
    user: str
    password: str
    database: str | None
    tls: Tls
    ca: Path | None

    def __repr__(self) -> str:
        return f"Place({self.address!r})"


class Target(NamedTuple):
    """A server, `host:port` or `unix:/path`; `~/.my.cnf` where that file says it."""

    address: str
    login: Login = Login()
    database: str | None = None
    tls: Tls | None = None
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
        """The target that a DSN and options name; options go before what the DSN says. Raises UsageError."""
        text = dsn[:]  # options.Url shows itself without its password, but for this
        try:
            parts = mysql_dsn(text)
        except Malformed as error:
            raise UsageError(f"bad --dsn: {error.detail}: {error.hint}") from None
        login = Login.of(
            parts.user, parts.password, option=user, password_env=password_env, password_file=password_file
        )
        words = {name.replace("_", "-"): value for name, value in parts.parameters.items()}
        given = words.get("ssl-ca")
        tls = _tls(words.get("ssl-mode") or words.get("sslmode"))
        if ca is not None and tls == "disabled":
            raise UsageError("--tls-ca is for TLS, which ssl-mode=DISABLED forbids")
        address = FILE if _names_no_place(text) else parts.address
        return cls(address, login, parts.database, tls, ca or (Path(given) if given else None))

    def place(self) -> Place:
        """Where to dial, with what files say where nothing else did. Raises UsageError where a password is missing."""
        said = client_options(_option_file())
        address = _address_by(said) if self.address == FILE else self.address
        user = self.login.user or said.get("user") or _login_name()
        password = self.login.password()
        if password is None and user == said.get("user", user):  # else it is another's
            password = said.get("password")
        if password is None:
            password = os.environ.get("MYSQL_PWD", "")
        ca = self.ca or (Path(said["ssl-ca"]).expanduser() if said.get("ssl-ca") else None)
        tls = self.tls or _tls(said.get("ssl-mode")) or ("preferred" if ca is None else "verify_ca")
        return Place(address, user, password, self.database or said.get("database"), tls, ca)


def _names_no_place(dsn: str) -> bool:
    """Whether a DSN leaves it to the option file where the server is."""
    authority = dsn.strip().partition("://")[2].partition("/")[0].partition("?")[0]
    return not dsn.strip() or ("://" in dsn and not authority.rpartition("@")[2] and "socket=" not in dsn)


def _tls(mode: str | None) -> Tls | None:
    if not mode:
        return None
    for known in get_args(Tls):
        if mode.lower().replace("-", "_") == known:
            return known  # type: ignore[no-any-return]
    raise UsageError("ssl-mode is DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")


def _address_by(said: dict[str, str]) -> str:
    """As `mysql` takes it: the socket of this machine unless a host, or a port, is named."""
    host, port = said.get("host", ""), said.get("port", "")
    if host in ("", "localhost") and not port:
        path = said.get("socket") or next((one for one in SOCKETS if os.path.exists(one)), "")
        if path:
            return f"unix:{path}"
    host = host or "localhost"
    return f"[{host}]:{port or PORT}" if ":" in host else f"{host}:{port or PORT}"


def _option_file() -> str:
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: nobody knows where home is
        path = Path(FILE).expanduser()
        if path.is_file():
            with path.open("rb") as file:
                return file.read(CAP).decode("utf-8", "surrogateescape")
    return ""


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "root"
