"""Where a cache listens, as people write it: `redis://user:password@host:6379/0`, `unix:///run/redis.sock`, `host`.

The form of the URLs is that of redis-cli and redis-py, and of the schemes `redis` and `rediss` at IANA.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from opsdoc.model import Malformed

REDIS_PORT = 6379
MEMCACHED_PORT = 11211
LONGEST = 2048  # characters
HOST = 255

_SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True, "unix": False}
_FORMS = "write redis://HOST:PORT, rediss://HOST:PORT for TLS, or unix:///PATH"


class CacheUrl(NamedTuple):
    """A server: `address` is `host:port`, `[::1]:port` or `unix:/path`. Whoever prints it sees no password.

    A single word before the `@` is the `user`; redis-cli takes it as the password.
    """

    address: str
    tls: bool = False
    database: int = 0
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"rediss://{self.address}" if self.tls else self.address

    def __repr__(self) -> str:
        return f"CacheUrl({str(self)!r})"


def redis_url(text: str) -> CacheUrl:
    """The parts of a URL, or of `host`, `host:port` or `/path/of/a/socket`. Raises Malformed, without the secret."""
    text = text.strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        raise Malformed("not the URL of a Redis server", _FORMS)
    if text.startswith("/"):
        return CacheUrl(f"unix:{text}")
    try:
        parts = urlsplit(text if "://" in text else f"redis://{text}")
        query = parse_qs(parts.query, max_num_fields=32)
    except ValueError:  # an IPv6 address without its end, too many fields
        raise Malformed("not the URL of a Redis server", _FORMS) from None
    if "@" in text and "@" not in parts.netloc:
        raise Malformed("the URL breaks off within its password", "write / as %2F, # as %23 and ? as %3F in it")
    if parts.scheme not in _SCHEMES:
        raise Malformed(f"no scheme of a Redis server: '{parts.scheme:.20}'", _FORMS)
    login, _, place = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    words = {name: values[-1] for name, values in query.items()}
    return CacheUrl(
        _path(place, parts.path) if parts.scheme == "unix" else address(place, REDIS_PORT),
        _SCHEMES[parts.scheme],
        _database(words.get("db") or ("" if parts.scheme == "unix" else parts.path.strip("/"))),
        words.get("username") or unquote(user) or None,
        words.get("password") or (unquote(password) if colon else None) or None,
    )


def memcached_server(text: str) -> str:
    """The address in `host`, `host:port`, `[::1]:port` or `/path/of/a/socket`. Raises Malformed."""
    text = text.strip()
    path = text.removeprefix("unix://").removeprefix("unix:")
    if path.startswith("/") and path.isprintable() and len(path) <= LONGEST:
        return f"unix:{path}"
    return address(text.removeprefix("memcached://"), MEMCACHED_PORT)


def address(text: str, port: int) -> str:
    """`host:port` with the port that is the default. Raises Malformed."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@,\[\]]+))(?::([0-9]{1,5}))?", text)
    number = int(match[3]) if match and match[3] else port
    if match is None or not 0 < number < 1 << 16 or len(text) > HOST or not text.isprintable():
        hint = "name each server by itself" if "," in text else "write HOST:PORT"
        raise Malformed(f"not an address: {text.rpartition('@')[2]!r:.80}", hint)
    return f"[{match[1]}]:{number}" if match[1] else f"{match[2]}:{number}"


def _path(place: str, path: str) -> str:
    path = unquote(path)
    if place or not path.startswith("/") or not path.isprintable():
        raise Malformed("the URL of a unix socket names no absolute path", "write unix:///PATH, with three slashes")
    return f"unix:{path}"


def _database(text: str) -> int:
    if not text:
        return 0
    if re.fullmatch(r"[0-9]{1,5}", text) is None:
        raise Malformed(f"not the number of a database: {text!r:.40}", "write redis://HOST:PORT/0")
    return int(text)
