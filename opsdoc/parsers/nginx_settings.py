"""What holds at a level of an nginx configuration: its own directives and those it inherits, by nginx's rules.

A single value of an inner level hides that of the outer one. Lists (`proxy_set_header`, `access_log`, `limit_req`) are
inherited whole, and only by a level that has no such directive itself. Both are independent of the order in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from opsdoc.parsers.nginx_nouns import Directive, PassKind, Setting

MODULES: tuple[PassKind, ...] = ("proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached")
SETTINGS = (
    "next_upstream",
    "next_upstream_tries",
    "next_upstream_timeout",
    "connect_timeout",
    "read_timeout",
    "send_timeout",
    "http_version",
    "ssl_name",
    "ssl_server_name",
    "ssl_verify",
    "intercept_errors",
    "cache",
    "buffering",
    "request_buffering",
    "ignore_client_abort",
    "keep_conn",  # of FastCGI
)
LIMITS = tuple(f"limit_{kind}_{what}" for kind in ("req", "conn") for what in ("dry_run", "status", "log_level"))
VALUES = frozenset((*(f"{module}_{key}" for module in MODULES for key in SETTINGS), *LIMITS))
SET_HEADERS = frozenset(("proxy_set_header", "grpc_set_header"))
LISTS = frozenset((*SET_HEADERS, "access_log", "limit_req", "limit_conn"))
HEADERS = ("Connection", "Host", "Upgrade")  # of which the value matters

_NO_LISTS: Mapping[str, tuple[Directive, ...]] = MappingProxyType({})
_NO_SETTINGS: Mapping[str, Setting] = MappingProxyType({})


class Level(NamedTuple):
    """The directives in force; `dropped` has the `Connection` headers of outer levels that hold no more."""

    values: Mapping[str, Setting] = _NO_SETTINGS
    lists: Mapping[str, tuple[Directive, ...]] = _NO_LISTS
    dropped: Mapping[str, Setting] = _NO_SETTINGS

    def within(self, block: Iterable[Directive]) -> Level:
        """The level of a block inside this one."""
        values = {d.name: Setting(d.args, d.place) for d in block if d.name in VALUES}
        lists: dict[str, tuple[Directive, ...]] = {}
        for directive in block:
            if directive.name in LISTS:
                lists[directive.name] = (*lists.get(directive.name, ()), directive)
        dropped = dict(self.dropped)
        for name in SET_HEADERS & lists.keys():
            if _header(lists[name], "connection") is not None:
                dropped.pop(name, None)
            elif (lost := _header(self.lists.get(name, ()), "connection")) is not None:
                dropped[name] = lost
        return Level(
            {**self.values, **values} if values else self.values,
            {**self.lists, **lists} if lists else self.lists,
            dropped if lists else self.dropped,
        )

    def value(self, name: str, default: str) -> str:
        """The first argument of a directive in force."""
        setting = self.values.get(name)
        return setting.args[0] if setting and setting.args else default

    def of_pass(self, module: str) -> dict[str, Setting]:
        """The settings of a module without its prefix, and the headers it sends (see Pass)."""
        found = {key: value for key in SETTINGS if (value := self.values.get(f"{module}_{key}")) is not None}
        name = f"{module}_set_header"
        headers = self.lists.get(name, ())
        if headers:
            names = tuple(header.args[0] for header in headers if header.args)
            found["set_header"] = Setting(names, headers[0].place)
        for header in HEADERS:
            if (value := _header(headers, header.lower())) is not None:
                found[f"header {header}"] = value
        if name in self.dropped:
            found["header Connection dropped"] = self.dropped[name]
        return found


def _header(directives: Iterable[Directive], name: str) -> Setting | None:
    """The value of a header in a list of `proxy_set_header`."""
    found = (d for d in directives if d.args and d.args[0].lower() == name)
    return next((Setting(d.args[1:2], d.place) for d in found), None)
