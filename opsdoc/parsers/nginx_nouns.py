"""What an nginx configuration says, in nouns: groups of servers, who passes to them, logs, limits, caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

PassKind = Literal["proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached"]
LimitKind = Literal["req", "conn"]
StatusKind = Literal["stub_status", "plus", "angie", "vts"]
Protocol = Literal["http", "stream"]


class Place(NamedTuple):
    """Where something is written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Directive(NamedTuple):
    """One directive as it is written; `block` is None where it ends with a semicolon."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple[Directive, ...] | None = None


class Problem(NamedTuple):
    """What is wrong with the configuration, and where."""

    place: Place
    text: str


class Server(NamedTuple):
    """One `server` of a group. `address` has its port added: `10.0.0.1:80`, `[::1]:80`, `unix:/x.sock`; times in s."""

    address: str
    weight: int = 1
    max_fails: int = 1
    fail_timeout: float = 10.0
    backup: bool = False
    down: bool = False
    resolve: bool = False
    max_conns: int = 0
    drain: bool = False
    slow_start: float = 0.0
    place: Place = Place("", 0)


class Group(NamedTuple):
    """An `upstream` block; or, `implicit`, what nginx makes of a pass to an address of its own, by that address.

    `method` is the words of its directive (`least_conn`, `hash $key consistent`, `random two least_conn`, `sticky …`,
    `lua` where code decides) or `round robin`. `keepalive` is None where it is not written.
    """

    name: str
    servers: tuple[Server, ...] = ()
    method: str = "round robin"
    zone: str | None = None
    keepalive: int | None = None
    keepalive_place: Place | None = None
    resolver: tuple[str, ...] = ()
    place: Place = Place("", 0)
    implicit: bool = False
    protocol: Protocol = "http"


class Setting(NamedTuple):
    """A value in force, and where it is written."""

    args: tuple[str, ...]
    place: Place | None = None


class Pass(NamedTuple):
    """A `proxy_pass` or one of its kin, with the settings in force where it stands.

    `group` is None where only a request tells it. `path` is what is written after the address. `settings` are named
    without the prefix of the module (`connect_timeout`); a key that is absent is written nowhere, so that nginx's
    default holds. Of `proxy_set_header` it has `set_header` (the names that are set), `header Connection` (and Host,
    Upgrade) with the value, and `header Connection dropped` with that of an outer level which is lost because an inner
    one sets headers of its own.
    """

    kind: PassKind
    tls: bool
    target: str
    group: str | None
    path: str
    server_names: tuple[str, ...]
    location: str  # as written, `~ \.php$`; the innermost; "" outside of any
    place: Place
    settings: Mapping[str, Setting]


class AccessLog(NamedTuple):
    """An access log in use: `path` absolute where the prefix is known, or `syslog:…`; `place` None: nginx's default.

    `beside` are the logs to which each request that is logged here is written, too.
    """

    path: str
    format: str = "combined"
    place: Place | None = None
    condition: str | None = None
    buffered: bool = False
    gzip: bool = False
    server_names: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


class ErrorLog(NamedTuple):
    """An error log: a path, `stderr`, `syslog:…` or `memory:…`; `place` None: nginx's default."""

    path: str
    level: str = "error"
    place: Place | None = None


class Format(NamedTuple):
    """A `log_format`, its parts joined as nginx joins them; `place` None: it is built in."""

    name: str
    text: str
    escape: str = "default"
    place: Place | None = None


class LimitZone(NamedTuple):
    """What requests or connections are counted by, and, for requests, the rate as written."""

    name: str
    kind: LimitKind
    key: str
    rate: str
    place: Place


class LimitUse(NamedTuple):
    """A limit in force; `allowed` is what is written beside the zone: `burst=5 nodelay`, or a number of connections."""

    zone: str
    kind: LimitKind
    allowed: str
    dry_run: bool
    status: int
    log_level: str
    server_names: tuple[str, ...]
    location: str
    place: Place


class CacheZone(NamedTuple):
    """A cache: its folder, its limit in bytes, after how many seconds what nobody asks for goes; None: not written.

    `keys_size` is the shared memory for its keys, in bytes.
    """

    name: str
    path: str
    max_size: int | None
    inactive: float | None
    place: Place
    keys_size: int | None = None


class StatusPage(NamedTuple):
    """A page that tells counters. `location` is its path, or a pattern as written; `listen` where it can be asked.

    `listen` has ports without TLS if there is one, and `tls` is false then.
    """

    kind: StatusKind
    listen: tuple[str, ...]
    tls: bool
    server_name: str
    location: str
    place: Place


class Conf(NamedTuple):
    """The whole configuration, as far as it could be read."""

    groups: tuple[Group, ...] = ()
    passes: tuple[Pass, ...] = ()
    access_logs: tuple[AccessLog, ...] = ()
    error_logs: tuple[ErrorLog, ...] = ()
    formats: tuple[Format, ...] = ()
    limit_zones: tuple[LimitZone, ...] = ()
    limit_uses: tuple[LimitUse, ...] = ()
    cache_zones: tuple[CacheZone, ...] = ()
    status_pages: tuple[StatusPage, ...] = ()
    worker_processes: str | None = None
    worker_connections: int = 512
    worker_rlimit_nofile: int | None = None
    worker_shutdown_timeout: float | None = None
    resolver: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    includes_missing: tuple[str, ...] = ()
