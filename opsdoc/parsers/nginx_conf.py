"""The configuration of nginx, from the tree that the client answers to nouns, with everything that is inherited."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from opsdoc.model import Malformed
from opsdoc.parsers import nginx_upstreams
from opsdoc.parsers.nginx_nouns import (
    AccessLog,
    CacheZone,
    Conf,
    Directive,
    ErrorLog,
    Format,
    Group,
    LimitZone,
    Place,
    Problem,
)
from opsdoc.parsers.nginx_serving import LIMITS, PASSES, STATUS, Serving
from opsdoc.parsers.nginx_settings import LISTS, MODULES, VALUES
from opsdoc.parsers.nginx_words import number, parameters, seconds, size

BLOCKS = frozenset("http stream events server location if limit_except upstream".split())
UNTOLD = frozenset(("if", "limit_except", *nginx_upstreams.LUA))  # their arguments are of no use
_CACHE_PATHS = frozenset(f"{module}_cache_path" for module in MODULES)
_ZONES = {f"{limit}_zone": kind for limit, kind in LIMITS.items()}
_MAIN = frozenset("worker_processes worker_connections worker_rlimit_nofile worker_shutdown_timeout error_log".split())
_HTTP = frozenset("log_format server_name listen ssl".split())
KEPT = frozenset((*BLOCKS, *UNTOLD, *VALUES, *LISTS, *_CACHE_PATHS, *_ZONES, *_MAIN, *_HTTP, *PASSES, *STATUS)).union(
    nginx_upstreams.WORDS
)

DEEPEST = 32  # blocks within blocks; a real configuration has six
COMBINED = Format(
    "combined",
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"',
)


def configuration(tree: Any, access_log: str = "logs/access.log", error_log: str = "logs/error.log") -> Conf:
    """The nouns of a configuration.

    `tree` is the answer of `clients/nginx_conf.py`. `access_log` and `error_log` are the paths compiled into this
    nginx (`nginx -V`), which are used where the configuration names none. Raises Malformed for what is no such answer.
    """
    if not isinstance(tree, dict) or not isinstance(tree.get("directives"), list):
        raise Malformed("not the tree of a configuration")
    reading = _Reading(_text(tree.get("prefix")))
    problems = tree.get("problems")
    told = [problem for problem in problems if isinstance(problem, dict)] if isinstance(problems, list) else []
    reading.problems += [Problem(_place(problem), _text(problem.get("text"))) for problem in told]
    reading.main(tuple(_directives(tree["directives"], DEEPEST)), access_log, error_log)
    return reading.conf()._replace(
        includes_missing=tuple(filter(None, (_text(problem.get("include")) for problem in told)))
    )


def _directives(block: Any, depth: int) -> Iterator[Directive]:
    """The tree as records. It may come from a recording, and so be anything."""
    for raw in block if isinstance(block, list) else ():
        if not isinstance(raw, dict) or not isinstance(raw.get("directive"), str):
            raise Malformed("not a directive of a configuration")
        args = raw.get("args")
        words = tuple(map(_text, args)) if isinstance(args, list) else ()
        inner = tuple(_directives(raw["block"], depth - 1)) if "block" in raw and depth else None
        yield Directive(raw["directive"], words, _place(raw), inner)


def _place(raw: dict[str, Any]) -> Place:
    line = raw.get("line")
    return Place(_text(raw.get("file")), line if isinstance(line, int) else 0)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _Reading:
    """One configuration while it is read: what has been found so far outside of servers."""

    def __init__(self, prefix: str) -> None:
        self.serving = Serving(prefix)
        self.problems: list[Problem] = []
        self.workers = Conf()
        self.groups: list[Group] = []
        self.formats: list[Format] = [COMBINED]
        self.limit_zones: list[LimitZone] = []
        self.cache_zones: list[CacheZone] = []

    def conf(self) -> Conf:
        """All that was found."""
        passes, implicit = self.serving.passes(group for group in self.groups if group.protocol == "http")
        return self.workers._replace(
            groups=(*self.groups, *implicit),
            passes=passes,
            access_logs=self.serving.access_logs(),
            error_logs=tuple(self.serving.error_logs),
            formats=tuple(self.formats),
            limit_zones=tuple(self.limit_zones),
            limit_uses=self.serving.limit_uses(),
            cache_zones=tuple(self.cache_zones),
            status_pages=tuple(self.serving.status_pages),
            resolver=next(iter(self.serving.resolvers), ()),
            problems=tuple(self.problems),
        )

    def main(self, block: tuple[Directive, ...], access_log: str, error_log: str) -> None:
        """The outermost level. What belongs into `http` and stands here, as in a part of a configuration, counts."""
        logs = tuple(directive for directive in block if directive.name == "error_log")
        self.serving.level(logs)
        if any(directive.name in ("http", "events") for directive in block):
            self.serving.default = AccessLog(self.serving.absolute(access_log))
            if not logs:
                self.serving.error_logs[ErrorLog(self.serving.absolute(error_log))] = None
        inside: list[tuple[Directive, ...]] = []
        for directive in block:
            self._worker(directive)
            for inner in directive.block or ():
                if directive.name == "events":
                    self._worker(inner)
                elif directive.name == "stream" and inner.name == "upstream":
                    self.groups.append(nginx_upstreams.group(inner, "stream", self.problems))
            if directive.name == "http":
                inside.append(directive.block or ())
            elif directive.name != "error_log":
                inside.append((directive,))
        self._http(tuple(chain.from_iterable(inside)))

    def _worker(self, directive: Directive) -> None:
        name, word = directive.name, directive.args[0] if directive.args else ""
        if name == "worker_processes":
            self.workers = self.workers._replace(worker_processes=word)
        elif name == "worker_connections":
            self.workers = self.workers._replace(worker_connections=self._number(directive, word) or 512)
        elif name == "worker_rlimit_nofile":
            self.workers = self.workers._replace(worker_rlimit_nofile=self._number(directive, word))
        elif name == "worker_shutdown_timeout":
            self.workers = self.workers._replace(worker_shutdown_timeout=seconds(word))

    def _number(self, directive: Directive, word: str) -> int | None:
        value = number(word)
        if value is None:
            self.problems.append(Problem(directive.place, f"{directive.name}: not a number: {word[:40]!r}"))
        return value

    def _http(self, block: tuple[Directive, ...]) -> None:
        for directive in block:
            if directive.name == "upstream":
                self.groups.append(nginx_upstreams.group(directive, "http", self.problems))
            elif not directive.args:
                continue
            elif directive.name == "log_format":
                self._format(directive)
            elif directive.name in _ZONES:
                self._limit_zone(directive)
            elif directive.name in _CACHE_PATHS:
                self._cache_zone(directive)
        self.serving.http(block)

    def _format(self, directive: Directive) -> None:
        name, *parts = directive.args
        escape = "default"
        if parts and parts[0].startswith("escape="):
            escape = parts.pop(0).removeprefix("escape=")
        self.formats.append(Format(name, "".join(parts), escape, directive.place))

    def _limit_zone(self, directive: Directive) -> None:
        given = parameters(directive.args)
        name = given.get("zone", "").partition(":")[0]
        kind = _ZONES[directive.name]
        self.limit_zones.append(LimitZone(name, kind, directive.args[0], given.get("rate", ""), directive.place))

    def _cache_zone(self, directive: Directive) -> None:
        given = parameters(directive.args)
        name, _, keys_size = given.get("keys_zone", "").partition(":")
        self.cache_zones.append(
            CacheZone(
                name,
                self.serving.absolute(directive.args[0]),
                size(given.get("max_size", "")),
                seconds(given.get("inactive", "")),
                directive.place,
                size(keys_size),
            )
        )
