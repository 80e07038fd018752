"""`upstream` blocks of nginx: the servers of a group, how one is chosen, and what is kept open to them."""

from __future__ import annotations

from typing import Any

from opsdoc.parsers.nginx_nouns import Directive, Group, Place, Problem, Protocol, Server
from opsdoc.parsers.nginx_words import address, number, seconds

METHODS = ("least_conn", "ip_hash", "hash", "random", "least_time", "fair")
STICKY = "sticky"  # comes on top of a method, and decides before it
LUA = ("balancer_by_lua_block", "balancer_by_lua_file")
_FLAGS = frozenset(("backup", "down", "resolve", "drain"))
_WHOLE = frozenset(("weight", "max_fails", "max_conns"))
_NUMBERS = _WHOLE | {"fail_timeout", "slow_start"}
WORDS = frozenset((*METHODS, *LUA, STICKY, "upstream", "server", "zone", "keepalive", "resolver"))


def group(upstream: Directive, protocol: Protocol, problems: list[Problem]) -> Group:
    """An `upstream` block; what cannot be read in it is told in `problems`, and nginx's default taken."""
    made = Group(_first(upstream), place=upstream.place, protocol=protocol)
    servers: list[Server] = []
    sticky = ""
    for directive in upstream.block or ():
        name = directive.name
        if name == "server" and directive.args:
            servers.append(_server(directive, 80 if protocol == "http" else None, problems))
        elif name in METHODS:
            made = made._replace(method=" ".join((name, *directive.args)))
        elif name in LUA:
            made = made._replace(method="lua")
        elif name == STICKY:
            sticky = " ".join((name, *directive.args))
        elif name == "zone" and directive.args:
            made = made._replace(zone=directive.args[0])
        elif name == "keepalive":
            kept = number(_first(directive))
            if kept is None:
                problems.append(Problem(directive.place, f"keepalive: not a number: {_first(directive)[:40]!r}"))
            else:
                made = made._replace(keepalive=kept, keepalive_place=directive.place)
        elif name == "resolver":
            made = made._replace(resolver=resolvers(directive))
    return made._replace(servers=tuple(servers), method=sticky or made.method)


def implicit(name: str, place: Place) -> Group:
    """The group that nginx makes of an address that is no name of a group."""
    return Group(name, (Server(name, place=place),), place=place, implicit=True)


def resolvers(directive: Directive) -> tuple[str, ...]:
    """The addresses of a `resolver` directive without its parameters."""
    return tuple(word for word in directive.args if "=" not in word)


def _first(directive: Directive) -> str:
    return directive.args[0] if directive.args else ""


def _server(directive: Directive, port: int | None, problems: list[Problem]) -> Server:
    given: dict[str, Any] = {}
    for word in directive.args[1:]:
        key, equals, text = word.partition("=")
        if not equals and key in _FLAGS:
            given[key] = True
        elif key in _NUMBERS:
            value = number(text) if key in _WHOLE else seconds(text)
            if value is None:
                problems.append(Problem(directive.place, f"server: not a number or time: {word[:80]!r}"))
            else:
                given[key] = value
        elif key == "service":
            port = None  # it comes from the SRV record
    return Server(address(directive.args[0], port), place=directive.place, **given)
