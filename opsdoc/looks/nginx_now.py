"""How the servers of a configuration answer now: names looked up, then one connection each, within a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients.addresses import name_of
from opsdoc.clients.dial import MOST_TARGETS, Dial, Resolve, Target
from opsdoc.host import Host
from opsdoc.looks.flows import peers
from opsdoc.looks.nginx_site import Site
from opsdoc.model import ProbeError, Unseen
from opsdoc.parsers.nginx_nouns import Group, Pass

WITHIN = 3.0  # seconds for all connections
NAMES_WITHIN = 2.0


class Now(NamedTuple):
    """What names stand for, and what each address that was dialled said."""

    resolved: Mapping[str, Sequence[str]]
    said: Mapping[str, Mapping[str, Any]]
    skipped: str = ""  # why the others were not dialled
    unseen: tuple[Unseen, ...] = ()


def start(host: Host, site: Site, first: Sequence[str], path: str | None, *, wanted: bool) -> Callable[[], Now]:
    """Look up the names and begin to dial; what is returned waits for the end.

    The servers in `first` are dialled before the others, for at most 64 are. From a network that is not nginx's own
    nothing is dialled: its names and addresses may be others there.
    """
    groups = () if site.conf is None else site.conf.groups
    why = _why_not(site, wanted=wanted)
    if why is not None or not groups:
        unseen = () if why is None or not groups else (why,)
        return lambda: Now({}, {}, "" if why is None else why.detail, unseen)
    resolved, nameless = _names(host, groups)
    targets = list(_targets(groups, {} if site.conf is None else _tls(site.conf.passes), resolved))
    urgent = set(first)
    targets.sort(key=lambda target: target.address not in urgent)  # stable: the order of the configuration
    wait = host.start(Dial(tuple(targets[:MOST_TARGETS]), WITHIN, path, site.root))
    left = len(targets) - MOST_TARGETS

    def end() -> Now:
        answer = wait()
        if isinstance(answer, ProbeError):
            return Now(resolved, {}, answer.detail, (*nameless, answer.unseen("the servers now")))
        said = {one["address"]: one for one in answer.value}
        if left <= 0:
            return Now(resolved, said, "", tuple(nameless))
        skipped = f"no more than {MOST_TARGETS} servers are dialled"
        rest = Unseen(f"{left} of {len(targets)} servers", "unsupported", f"not dialled: {skipped}")
        return Now(resolved, said, skipped, (*nameless, rest))

    return end


def _why_not(site: Site, *, wanted: bool) -> Unseen | None:
    who = "the servers now"
    if not wanted:
        return Unseen(who, "unsupported", "not dialled, as told by --no-dial")
    if site.master is None:
        return Unseen(who, "unsupported", "not dialled: no nginx that uses this configuration runs here")
    if not site.master["own_network"]:
        return Unseen(
            who, "unsupported", "not dialled: this nginx has a network of its own", "run opsdoc within its container"
        )
    return None


def _names(host: Host, groups: Iterable[Group]) -> tuple[Mapping[str, Sequence[str]], list[Unseen]]:
    """The addresses of the names in the configuration, and which have none now."""
    asked = dict.fromkeys(name for group in groups for server in group.servers if (name := name_of(server.address)))
    if not asked:
        return {}, []
    try:
        answer = host.ask(Resolve(tuple(asked), NAMES_WITHIN)).value
    except ProbeError as error:
        return {}, [error.unseen("the names of the servers")]
    unseen = [Unseen(name, "unreachable", f"its addresses now: {why}") for name, why in answer["errors"].items()]
    return {name: found for name, found in answer["addresses"].items() if found}, unseen


def _tls(passes: Iterable[Pass]) -> Mapping[str, Pass]:
    return {one.group: one for one in passes if one.tls and one.group}


def _targets(
    groups: Sequence[Group], tls: Mapping[str, Pass], resolved: Mapping[str, Sequence[str]]
) -> Iterator[Target]:
    """One target an address, the first servers of all groups before the second ones."""
    seen: set[str] = set()
    lists = [
        [
            (one, tls.get(group.name))
            for server in group.servers
            if not server.down
            for one in peers(server.address, resolved)
        ]
        for group in groups
    ]
    for position in range(max(map(len, lists), default=0)):
        for servers in lists:
            if position < len(servers) and servers[position][0] not in seen:
                address, over = servers[position]
                seen.add(address)
                yield Target(address, over is not None, _server_name(over), _host_header(over))


def _server_name(over: Pass | None) -> str | None:
    """What TLS is told: only where nginx tells it, too, and what it tells needs no request to be known."""
    if over is None or (sent := over.settings.get("ssl_server_name")) is None or sent.args != ("on",):
        return None
    named = over.settings.get("ssl_name")
    name = named.args[0] if named and named.args else over.group
    return None if name is None or "$" in name else name


def _host_header(over: Pass | None) -> str | None:
    """Nginx's default is the name of the group."""
    header = None if over is None else over.settings.get("header Host")
    if header is None or not header.args or "$" in header.args[0]:
        return None if over is None else over.group
    return header.args[0]
