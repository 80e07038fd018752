"""Why PostgreSQL made no session, from what libpq says of it, and who it is that answers in its place.

libpq tells errors as text alone, in the language of the server. For one that is not known here the server is asked
once more, by hand, for the code of its error.
"""

from __future__ import annotations

import re
import shlex
import struct

from opsdoc.clients import Live
from opsdoc.clients.lines import Kept, Line, Protocol
from opsdoc.clients.sql import Refusal
from opsdoc.model import Denied, Malformed, ProbeError, Unreachable, Unsupported

POOLER = (
    "name the server itself, not the pooler before it: a pooler shares sessions, so that settings of ours would leak"
)
FULL, STARTING = "53300", "57P03"  # too_many_connections, cannot_connect_now
LONGEST = 300  # characters of an error
MOST = 8192  # bytes of an error
ASKED = 0.7  # seconds for a stranger to say who it is

_PROTOCOL = Protocol(
    "a PostgreSQL server",
    "PostgreSQL listens at port 5432 by default",
    "add sslmode=require to the DSN",
    "add sslmode=disable to the DSN",
)
_HERE = re.compile(r'connection to server (?:at|on socket) "[^"]*"(?: \([^)]*\))?(?:, port \d+)? failed: ')
_ROLE = re.compile(r'(?:user|role) "([^"]{1,63})"')
_STRANGE = re.compile(r"invalid response|unexpected|expected authentication|lost synchronization")
_DATABASE = re.compile(r'database "([^"]{1,63})"')


class Foreign(Malformed):
    """Words of a server that are not known here, perhaps for they are of another language."""


def explained(address: str, text: str, *, connected: bool) -> ProbeError | Refusal:
    """What libpq's words mean, which are masked: a `Refusal` where the server is there and lets nobody in.

    Malformed is for a server that does not speak as PostgreSQL does, Foreign for one whose words are not known here.
    """
    said = " ".join(_HERE.sub("", text).replace("FATAL: ", "").partition("Is the server running")[0].split())[:LONGEST]
    for pattern, code in _REFUSALS:
        if re.search(pattern, text):
            return Refusal(code, said)
    for pattern, kind, hint in _REASONS:
        if re.search(pattern, text):
            return kind(f"{address}: {said}", _filled(hint, text, address))
    if not connected:
        return Unreachable(f"{address}: {said}")
    if said and not _STRANGE.search(text):
        return Foreign(f"{address}: {said}", _PROTOCOL.ports)
    return Malformed(f"{address}: {said or 'it closes the connection without a word'}", _PROTOCOL.ports)


def coded(address: str, user: str, database: str, error: Foreign, live: Live) -> ProbeError | Refusal:
    """What the code of the server's error means; `error`, which libpq's text came to, where it tells none.

    That is asked as a driver does, with a first message of the protocol; an error before the login is its answer.
    """
    words = {"user": user, "database": database, "application_name": "opsdoc"}
    first = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in words.items()) + b"\0"
    codes: list[str] = []

    def ask(line: Line) -> None:
        line.send(struct.pack("!II", len(first) + 8, 3 << 16) + first)
        came = line.receive()
        while came[:1] == b"E" and len(came) < min(5 + MOST, 1 + int.from_bytes(came[1:5], "big")):
            came += line.receive()
        codes.extend(field[1:].decode("ascii", "replace") for field in came[5:].split(b"\0") if field[:1] == b"C")

    try:
        Kept(_socket(address), None, _PROTOCOL).talk(ask, live, ASKED)
    except ProbeError:
        return error
    code = codes[0] if codes else ""
    if code in (FULL, STARTING):
        return Refusal(code, error.detail.removeprefix(f"{address}: "))
    return Denied(error.detail, _LOGIN) if code.startswith("28") else error


def stranger(address: str, error: ProbeError, live: Live) -> ProbeError:
    """Who answers at an address that does not speak as PostgreSQL does; `error` again where that is not to be known."""
    if "," in address or "=" in address:
        return error

    def ask(line: Line) -> None:
        line.send(b"opsdoc\r\n")  # which is no command anywhere; how it is refused tells who does
        line.receive()
        raise Malformed("it does not speak as PostgreSQL does", _PROTOCOL.ports)

    try:
        Kept(_socket(address), None, _PROTOCOL).talk(ask, live, ASKED)
    except Malformed as known:
        return known
    except ProbeError:
        pass
    return error


def _socket(address: str) -> str:
    """The address as lines know it: of a unix socket, the file."""
    folder, _, port = address.rpartition(":")
    return f"{folder}/.s.PGSQL.{port}" if address.startswith("unix:") else address


def _filled(hint: str, text: str, address: str) -> str:
    role, database = _ROLE.search(text), _DATABASE.search(text)
    host, _, port = address.removeprefix("unix:").rpartition(":")
    return hint.format(
        role=f'"{role[1]}"' if role else "ROLE",
        database=f'"{database[1]}"' if database else "DATABASE",
        host=shlex.quote(host),
        port=port,
    )


_REFUSALS = (
    (
        r"sorry, too many clients|remaining connection slots are reserved|too many connections for (?:role|database)",
        FULL,
    ),
    (r"the database system is (?:starting up|shutting down|in recovery mode|not (?:yet )?accepting)", STARTING),
)
_LOGIN = "check --user, and what --password-env NAME, --password-file FILE or ~/.pgpass (of mode 0600) hold"
_NO_NAME = "getent hosts {host}"
_REASONS: tuple[tuple[str, type[ProbeError], str], ...] = (
    (r"unsupported startup parameter|no such database: |no more connections allowed|pgbouncer", Unsupported, POOLER),
    (r"password authentication failed|no password supplied|empty password|SASL|SCRAM", Denied, _LOGIN),
    (
        r"pg_hba\.conf .*(?:no encryption|SSL off)",
        Denied,
        "add sslmode=require to the DSN, if it is TLS that is wanted; else add a line to pg_hba.conf of the server",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        Denied,
        "add a line for {role} and this machine to pg_hba.conf of the server",
    ),
    (
        r"(?:Peer|Ident|GSSAPI|LDAP|PAM|RADIUS|certificate) authentication failed",
        Denied,
        "name another user: --user ROLE",
    ),
    (
        r"requires a valid client certificate|certificate required",
        Denied,
        "add sslcert=FILE and sslkey=FILE to the DSN",
    ),
    (r'role "[^"]*" does not exist', Denied, "CREATE ROLE {role} LOGIN; GRANT pg_monitor TO {role}"),
    (r"is not permitted to log in", Denied, "ALTER ROLE {role} LOGIN"),
    (r"permission denied for database", Denied, "GRANT CONNECT ON DATABASE {database} TO ROLE"),
    (r'database "[^"]*" does not exist', Unreachable, "name a database that is there, such as dbname=postgres"),
    (
        r"is not currently accepting connections",
        Unreachable,
        "name another database, such as dbname=postgres: this one takes nobody (datallowconn)",
    ),
    (
        r"does not support SSL|SSL is not enabled",
        Unsupported,
        "leave --tls-ca and sslmode out of the DSN, or turn ssl on at the server",
    ),
    (
        r"certificate verify failed|root certificate file",
        Unreachable,
        "name the authority that signed it: --tls-ca FILE",
    ),
    (r"server certificate for", Unreachable, "name the host as its certificate does, or use sslmode=verify-ca"),
    (r"definition of service|service file", Unreachable, "check ~/.pg_service.conf, or name the file in PGSERVICEFILE"),
    (r"could not translate host name", Unreachable, _NO_NAME),
    (r"Permission denied", Denied, "run opsdoc as a user that may open the socket"),
    (r"^[^:]*socket.*(?:No such file|Connection refused)", Unreachable, "sockets are files: ls -a {host}"),
    (r"Connection refused|No route to host|Network is unreachable|timed? ?out", Unreachable, "nc -vz {host} {port}"),
    (
        r"session is (?:not )?read-only|server is (?:not )?in hot standby",
        Unreachable,
        "drop target_session_attrs from the DSN",
    ),
    (r"unsupported frontend protocol", Unsupported, "opsdoc knows PostgreSQL 10 and later"),
)
