"""Servers and locations of nginx: what each passes on, logs, limits and tells, with everything that it inherits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from opsdoc.parsers import nginx_upstreams
from opsdoc.parsers.nginx_nouns import (
    AccessLog,
    Directive,
    ErrorLog,
    Group,
    LimitKind,
    LimitUse,
    Pass,
    StatusKind,
    StatusPage,
)
from opsdoc.parsers.nginx_settings import MODULES, Level
from opsdoc.parsers.nginx_words import Target, listen, number, parameters, target

PASSES = {f"{module}_pass": module for module in MODULES}
STATUS: dict[str, StatusKind] = {"stub_status": "stub_status", "vhost_traffic_status_display": "vts", "api": "plus"}
LIMITS: dict[str, LimitKind] = {"limit_req": "req", "limit_conn": "conn"}
_ABSOLUTE = re.compile(r"/|\$|syslog:|memory:|stderr\Z|\Z")


class Where(NamedTuple):
    """The server and location that a level belongs to."""

    server_names: tuple[str, ...] = ()
    listen: tuple[str, ...] = ("*:80",)
    tls: bool = False
    location: tuple[str, ...] = ()


class Serving:
    """What is found level by level, from `http` down. `default` is the access log where none is configured."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.rstrip("/")
        self.default: AccessLog | None = None
        self.error_logs: dict[ErrorLog, None] = {}
        self.status_pages: list[StatusPage] = []
        self.resolvers: list[tuple[str, ...]] = []
        self._passes: list[tuple[Pass, Target]] = []
        self._access_logs: dict[AccessLog, dict[str, None]] = {}  # with the names of the servers, in order
        self._beside: dict[str, set[str]] = {}  # by path
        self._limit_uses: dict[LimitUse, tuple[LimitUse, dict[str, None]]] = {}

    def http(self, block: tuple[Directive, ...]) -> None:
        """The block `http`; or a part of a configuration, which has no servers and only what stands in them."""
        self.level(block)
        if any(directive.name == "server" and directive.block is not None for directive in block):
            self._blocks(block, Level().within(block), Where())
        else:
            self._serves(block, Level().within(block), Where())

    def level(self, block: Iterable[Directive]) -> None:
        """What counts at any level, whether it answers requests or not."""
        for directive in block:
            if directive.name == "error_log" and directive.args:
                path, severity = (*directive.args[:2], "error")[:2]
                self.error_logs[ErrorLog(self.absolute(path), severity, directive.place)] = None
            elif directive.name == "resolver":
                self.resolvers.append(nginx_upstreams.resolvers(directive))

    def absolute(self, path: str) -> str:
        """The path of a log or cache, which begins at the prefix unless it says otherwise."""
        return path if _ABSOLUTE.match(path) or not self.prefix else f"{self.prefix}/{path}"

    # ── what was found ───────────────────────────────────────────────────────────────────────────

    def passes(self, groups: Iterable[Group]) -> tuple[tuple[Pass, ...], tuple[Group, ...]]:
        """The passes with the names of their groups, and the groups that nginx makes of addresses in them.

        A name with variables behind it is looked up among the groups only, when a request comes.
        """
        names = {group.name.lower(): group.name for group in groups}
        implicit: dict[str, Group] = {}
        for made, to in self._passes:
            if to.host and to.host.lower() not in names and (to.is_literal or "$" not in made.target):
                implicit.setdefault(to.address.lower(), nginx_upstreams.implicit(to.address, made.place))
        names = {**{key: group.name for key, group in implicit.items()}, **names}
        known = (made._replace(group=_named(to, names)) for made, to in self._passes)
        return tuple(known), tuple(implicit.values())

    def access_logs(self) -> tuple[AccessLog, ...]:
        """The access logs in use, each once."""
        return tuple(
            log._replace(server_names=tuple(names), beside=tuple(sorted(self._beside[log.path])))
            for log, names in self._access_logs.items()
        )

    def limit_uses(self) -> tuple[LimitUse, ...]:
        """The limits in force, each once for what is written and how it is meant."""
        return tuple(use._replace(server_names=tuple(names)) for use, names in self._limit_uses.values())

    # ── levels ───────────────────────────────────────────────────────────────────────────────────

    def _blocks(self, block: Iterable[Directive], level: Level, where: Where) -> None:
        for directive in block:
            inner = directive.block
            if inner is None:
                continue
            if directive.name == "server":
                self._serves(inner, level.within(inner), _server(inner))
            elif directive.name == "location":
                self._serves(inner, level.within(inner), where._replace(location=directive.args))
            elif directive.name in ("if", "limit_except"):
                self._serves(inner, level.within(inner), where)

    def _serves(self, block: tuple[Directive, ...], level: Level, where: Where) -> None:
        """A level at which requests can be answered."""
        self.level(block)
        self._logs_used(level, where)
        self._limits_used(level, where)
        for directive in block:
            if directive.name in PASSES and directive.args:
                self._pass(directive, level, where)
            elif directive.name in STATUS and directive.args[:1] != ("off",):
                self._status_page(directive, where)
        self._blocks(block, level, where)

    def _pass(self, directive: Directive, level: Level, where: Where) -> None:
        module, text = PASSES[directive.name], directive.args[0]
        to = target(module, text)
        place, settings = directive.place, level.of_pass(module)
        location = " ".join(where.location)
        made = Pass(module, to.tls, text, None, to.path, where.server_names, location, place, settings)
        self._passes.append((made, to))

    def _status_page(self, directive: Directive, where: Where) -> None:
        # Angie's `api` names what it shows, a path; that of NGINX Plus takes `write=on` at most.
        angie = directive.name == "api" and any(word.startswith("/") for word in directive.args)
        location = where.location[1:] if where.location[:1] in (("=",), ("^~",)) else where.location
        self.status_pages.append(
            StatusPage(
                "angie" if angie else STATUS[directive.name],
                where.listen,
                where.tls,
                next(iter(where.server_names), ""),
                " ".join(location),
                directive.place,
            )
        )

    def _logs_used(self, level: Level, where: Where) -> None:
        written = level.lists.get("access_log")
        if written is None:
            logs = [self.default] if self.default else []
        elif any(directive.args[:1] == ("off",) for directive in written):
            logs = []  # it turns off the others of its level, too
        else:
            logs = [self._access_log(directive) for directive in written if directive.args]
        whole = {log.path for log in logs if log.condition is None}
        for log in logs:
            self._access_logs.setdefault(log, {}).update(dict.fromkeys(where.server_names))
            beside = whole - {log.path}
            self._beside[log.path] = self._beside.get(log.path, beside) & beside

    def _access_log(self, directive: Directive) -> AccessLog:
        path, *rest = directive.args
        given = parameters(rest)
        packed = any(word.partition("=")[0] == "gzip" for word in rest)
        return AccessLog(
            self.absolute(path),
            next((word for word in rest[:1] if "=" not in word), "combined"),
            directive.place,
            given.get("if"),
            "buffer" in given or packed,
            packed,
        )

    def _limits_used(self, level: Level, where: Where) -> None:
        for name, kind in LIMITS.items():
            for directive in level.lists.get(name, ()):
                zone = next((word for word in directive.args if word.startswith("zone=")), "".join(directive.args[:1]))
                use = LimitUse(
                    zone.removeprefix("zone="),
                    kind,
                    " ".join(word for word in directive.args if word != zone),
                    level.value(f"{name}_dry_run", "off") == "on",
                    number(level.value(f"{name}_status", "503")) or 503,
                    level.value(f"{name}_log_level", "error"),
                    (),
                    " ".join(where.location),
                    directive.place,
                )
                # One that is inherited is met again and again; the first time it stands where it is written.
                _, names = self._limit_uses.setdefault(use._replace(location=""), (use, {}))
                names.update(dict.fromkeys(where.server_names))


def _named(to: Target, names: dict[str, str]) -> str | None:
    return names.get(to.host.lower()) or names.get(to.address.lower())


def _server(block: Iterable[Directive]) -> Where:
    """Who a server is: its names and where it listens, without TLS if it does so anywhere."""
    names: list[str] = []
    plain: list[str] = []
    secure: list[str] = []
    all_tls = any(directive.name == "ssl" and directive.args[:1] == ("on",) for directive in block)
    for directive in block:
        if directive.name == "server_name":
            names += directive.args
        elif directive.name == "listen" and directive.args and "quic" not in directive.args:
            (secure if all_tls or "ssl" in directive.args else plain).append(listen(directive.args[0]))
    if secure and not plain:
        return Where(tuple(names), tuple(secure), tls=True)
    return Where(tuple(names), tuple(plain) or ("*:80",))
