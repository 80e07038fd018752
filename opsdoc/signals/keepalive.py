"""Whether nginx keeps connections to its servers open: what its version and the settings of one pass make of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from opsdoc.model import Unknown

KEPT_BY_DEFAULT = (1, 29, 7)  # from here on: keepalive 32, HTTP/1.1 and no Connection header, in upstream blocks


class Keepalive(NamedTuple):
    """Whether connections to the servers are kept open, why (not), and the line to change where one is known."""

    state: Literal["on", "off"] | Unknown
    why: str
    place: str | None


def keepalive_of(
    version: tuple[int, ...] | None,
    group_keepalive: int | None,
    explicit: bool,
    http_version: str | None,
    connection: str | None,
    dropped_at: str | None,
    module: str = "proxy",
) -> Keepalive:
    """The effective keepalive of one pass, by nginx's version (changelog of 1.29.7).

    `group_keepalive` is the number in the upstream block (None: not written), `explicit` whether there is such a block,
    `http_version` and `connection` what is in force there (None: not written). `dropped_at` is the place of the inner
    `proxy_set_header` because of which a `Connection ""` of an outer level is not inherited. Where the version is not
    known and matters, the state is unknown.
    """
    given = (group_keepalive, explicit, http_version, connection, dropped_at, module)
    if version is not None:
        return _keepalive(version >= KEPT_BY_DEFAULT, *given)
    old, new = _keepalive(False, *given), _keepalive(True, *given)
    if old.state == new.state:
        return old
    return Keepalive(Unknown("the version of nginx is not known"), f"on from 1.29.7 on, before it {old.why}", old.place)


def _keepalive(  # noqa: PLR0911 - one line per condition
    new: bool,
    group_keepalive: int | None,
    explicit: bool,
    http_version: str | None,
    connection: str | None,
    dropped_at: str | None,
    module: str,
) -> Keepalive:
    if module in ("uwsgi", "scgi"):
        return Keepalive("off", f"{module} has none", None)
    if not explicit:
        return Keepalive("off", "it needs an upstream block", None)
    if (32 if group_keepalive is None and new else group_keepalive or 0) == 0:
        why = "keepalive 0 is written" if group_keepalive == 0 else "no keepalive in the upstream block"
        return Keepalive("off", why, None)
    if module == "fastcgi":
        return Keepalive(Unknown("fastcgi_keep_conn was not read"), "it needs fastcgi_keep_conn on", None)
    if module != "proxy":  # grpc and memcached need no more
        return Keepalive("on", "the group keeps connections", None)
    if (http_version or ("1.1" if new else "1.0")) == "1.0":
        default = "" if http_version else ", the default before 1.29.7"
        return Keepalive("off", f"proxy_http_version is 1.0{default}", None)
    return _connection_header(new, connection, dropped_at)


def _connection_header(new: bool, connection: str | None, dropped_at: str | None) -> Keepalive:
    if connection is None and not new:
        if dropped_at:
            why = f'the proxy_set_header at {dropped_at} drops the Connection "" of the level above it'
            return Keepalive("off", why, dropped_at)
        return Keepalive("off", 'no proxy_set_header Connection "": close is sent, the default before 1.29.7', None)
    if connection is not None and "close" in connection.lower():
        return Keepalive("off", "proxy_set_header sends Connection: close", None)
    if connection is not None and "$" in connection:
        return Keepalive(Unknown("the Connection header is a variable"), f"the value of {connection} decides", None)
    return Keepalive("on", "written" if connection is not None else "the default", None)
