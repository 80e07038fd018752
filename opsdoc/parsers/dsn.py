"""Where a database is and who asks it, as people write it: URLs, `host=… password=…`, `service=NAME`, sockets.

What is read is what libpq reads (URIs and keyword/value strings of the PostgreSQL documentation, chapter 34.1.1), and
for MySQL and MariaDB the URL that their tools and drivers have in common. No driver is needed for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from opsdoc.model import Malformed

POSTGRESQL_PORT = 5432
MYSQL_PORT = 3306
POSTGRESQL_SOCKETS = "/run/postgresql"  # where packages of distributions put them
LONGEST = 4096  # characters
MOST_HOSTS = 16
MOST_PARAMETERS = 64
PATH = 107  # bytes: sun_path of unix(7)

_POSTGRESQL = "a PostgreSQL server"
_MYSQL = "a MySQL or MariaDB server"
_FORMS = {
    _POSTGRESQL: "write postgresql://USER@HOST:PORT/DATABASE, 'host=HOST port=PORT user=USER', or service=NAME",
    _MYSQL: "write mysql://USER@HOST:PORT/DATABASE, HOST:PORT, or mysql:///DATABASE?unix_socket=/PATH",
}
_SCHEMES = {_POSTGRESQL: ("postgresql", "postgres"), _MYSQL: ("mysql", "mariadb")}
_OTHERS = {_POSTGRESQL: "mysql", _MYSQL: "postgresql"}
_NOTHING: Mapping[str, str] = MappingProxyType({})
_BLANKS = " \t\n\r\f\v"  # of C
# A key and a value of libpq: in quotes or up to a blank, with backslashes before what should lose its meaning.
_PAIR = re.compile(
    r"\s*([^\s=']+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'(?=\s|\Z)|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)?)\s*",
    re.ASCII | re.DOTALL,
)
_NAME = re.compile(r"[^\s:/@,\[\]?#'\"\x00-\x1f]{1,255}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,32})?", re.ASCII)
_PLACE = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([^:]*))?")


class Dsn(NamedTuple):
    """A server, or several of which the driver takes one, and how to log in there. Whoever prints it sees no secret.

    `address` is `host:port`, `[::1]:port`, `unix:/folder:port` (PostgreSQL), `unix:/file` (MySQL) or `service=NAME`;
    several are separated by commas. `user`, `password` and `database` are None where the text does not say them.
    `parameters` is everything else, by name.
    """

    address: str
    user: str | None = None
    password: str | None = None
    database: str | None = None
    parameters: Mapping[str, str] = _NOTHING

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"Dsn({self.address!r})"

    def __hash__(self) -> int:
        return hash(self[:4])

    @property
    def addresses(self) -> tuple[str, ...]:
        """Each of the servers."""
        return tuple(self.address.split(","))


def postgresql_dsn(text: str, environment: Mapping[str, str] = _NOTHING) -> Dsn:
    """What libpq would make of a URI or of `key=value` pairs; `environment` tells the address where the text does not.

    Raises Malformed, which repeats nothing of the text that could be a secret.
    """
    _check(text, _POSTGRESQL)
    words = _url(text.strip(), _POSTGRESQL) if "://" in text.partition("=")[0] else _pairs(text)
    if words.pop("ssl", None) == "true":
        words.setdefault("sslmode", "require")
    hosts, ports = words.pop("host", ""), words.pop("port", "")
    service = words.get("service") or environment.get("PGSERVICE", "")
    numeric = words.get("hostaddr", "")
    if not (hosts or numeric) and service:
        if not service.isprintable() or "," in service or len(service) > 255:
            raise Malformed("the name of the service is none", "write service=NAME, as it stands in pg_service.conf")
        address = f"service={service}"
    else:
        hosts = hosts or numeric or environment.get("PGHOST", "")
        address = _addresses(hosts.split(","), (ports or environment.get("PGPORT", "")).split(","))
    return _dsn(address, words, "dbname")


def mysql_dsn(text: str) -> Dsn:
    """The parts of a URL, of `host`, `host:port` or of the path of a socket; an empty text is the local server.

    Raises Malformed, which repeats nothing of the text that could be a secret.
    """
    _check(text, _MYSQL)
    text = text.strip()
    if text.startswith(("/", "unix:/")) and "://" not in text:
        return Dsn(_socket(text.removeprefix("unix:")))
    words = _url(text if "://" in text else f"mysql://{text}", _MYSQL)
    hosts, ports = words.pop("host", ""), words.pop("port", "")
    path = words.pop("unix_socket", "") or words.pop("socket", "") or (hosts if hosts.startswith("/") else "")
    if "," in hosts:
        raise Malformed("more than one server in a DSN", "name each server by itself: --dsn A --dsn B")
    address = _socket(path) if path else f"{_host(hosts or 'localhost', _MYSQL)}:{_port(ports, MYSQL_PORT)}"
    return _dsn(address, words, "database")


# ── texts to words ───────────────────────────────────────────────────────────────────────────────


def _check(text: str, what: str) -> None:
    if len(text) > LONGEST or "\0" in text:
        raise Malformed(f"not the DSN of {what}: it has a NUL, or more than {LONGEST} characters", _FORMS[what])


def _pairs(text: str) -> dict[str, str]:
    """`host=h password='a b'`, the last of a key wins."""
    words: dict[str, str] = {}
    at = 0
    while text[at:].strip(_BLANKS):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise Malformed(
                f"not the DSN of {_POSTGRESQL}", f"{_FORMS[_POSTGRESQL]}; a value with blanks stands in '…'"
            )
        words[pair[1]] = re.sub(r"\\(.)", r"\1", pair[2] or pair[3] or "", flags=re.DOTALL)
        at = pair.end()
    return words


def _url(text: str, what: str) -> dict[str, str]:
    """The words of a URL under the names that its query would give them."""
    scheme, _, rest = text.partition("://")
    if scheme.lower() not in _SCHEMES[what]:
        other = any(scheme.lower() in schemes for schemes in _SCHEMES.values())
        hint = f"ask it with opsdoc db {_OTHERS[what]}" if other else _FORMS[what]
        raise Malformed(f"no scheme of {what}: '{_shown(scheme)}'", hint)
    rest, _, query = rest.partition("?")
    authority, _, database = rest.partition("/")
    login, at, place = authority.rpartition("@")
    fields = [field for field in query.split("&") if field]
    if "@" in login or ("@" in rest and not at) or any("@" in field.partition("=")[0] for field in fields):
        raise Malformed("the URL breaks off within its password", "write @ as %40, / as %2F and ? as %3F in it")
    user, _, password = login.partition(":")
    hosts, ports = _places(place)
    database_key = "dbname" if what is _POSTGRESQL else "database"
    words = {"user": user, "password": password, "host": hosts, "port": ports, database_key: database}
    words = {name: _decoded(value) for name, value in words.items() if value}
    if len(fields) > MOST_PARAMETERS or not all("=" in field for field in fields):
        raise Malformed("the URL has parameters without a value, or too many", _FORMS[what])
    for field in fields:
        name, _, value = field.partition("=")
        words[_decoded(name)] = _decoded(value)
    return words


def _places(text: str) -> tuple[str, str]:
    """`a:1,[::1]:2` as `a,::1` and `1,2`."""
    hosts, ports = [], []
    for place in text.split(","):
        match = _PLACE.fullmatch(place)
        if match is None:
            raise _not_an_address()
        hosts.append(match[1].strip("[]"))
        ports.append(match[2] or "")
    return ",".join(hosts) if any(hosts) else "", ",".join(ports) if any(ports) else ""


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise Malformed("a % in the URL that is no code of a character", "write % as %25")
    return unquote(text, errors="surrogateescape")


# ── words to a DSN ───────────────────────────────────────────────────────────────────────────────


def _dsn(address: str, words: dict[str, str], database: str) -> Dsn:
    user, password, name = (words.pop(key, "") or None for key in ("user", "password", database))
    return Dsn(address, user, password, name, MappingProxyType(words))


def _addresses(hosts: list[str], ports: list[str]) -> str:
    if len(hosts) > MOST_HOSTS or len(ports) not in (1, len(hosts)):
        raise Malformed(f"{len(ports)} ports for {len(hosts)} hosts", "write one port for each host, or one for all")
    each = ports if len(ports) == len(hosts) else ports * len(hosts)
    return ",".join(_postgresql_address(host, port) for host, port in zip(hosts, each, strict=True))


def _postgresql_address(host: str, port: str) -> str:
    number = _port(port, POSTGRESQL_PORT)
    if not host or host.startswith(("/", "@")):
        return f"{_socket(host or POSTGRESQL_SOCKETS)}:{number}"
    return f"{_host(host, _POSTGRESQL)}:{number}"


def _host(text: str, what: str) -> str:
    if ":" in text and _IPV6.fullmatch(text):
        return f"[{text}]"
    if _NAME.fullmatch(text) is None or not text.isprintable():
        raise _not_an_address(_FORMS[what])
    return text


def _port(text: str, default: int) -> int:
    text = text.strip()
    if not text:
        return default
    if re.fullmatch(r"[0-9]{1,5}", text) is None or not 0 < int(text) < 1 << 16:
        raise Malformed("not the number of a port", "a port is 1 to 65535; write : in a password as %3A")
    return int(text)


def _socket(path: str) -> str:
    if not path.isprintable() or "," in path or len(path.encode()) > PATH:
        raise Malformed("not the path of a unix socket", "write an absolute path of at most 107 bytes")
    return f"unix:{path}"


def _not_an_address(hint: str = "write HOST:PORT") -> Malformed:
    return Malformed("not an address of a server", hint)


def _shown(scheme: str) -> str:
    return scheme if re.fullmatch(r"(?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]{0,30}", scheme) else "…"
