"""What nginx tells of itself on its status pages, where its configuration has any: counters, and states of servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from opsdoc.clients.http import Fetch
from opsdoc.host import Host
from opsdoc.looks.nginx_site import Site
from opsdoc.model import ProbeError, Unseen
from opsdoc.parsers import nginx_status as parser
from opsdoc.parsers.nginx_nouns import StatusKind, StatusPage
from opsdoc.parsers.nginx_status import Peer, StubStatus

WITHIN = 1.0  # seconds for each page

# Where it stands below the location; of Plus below the newest version of its API, which the list there tells.
_BELOW: Mapping[StatusKind, str] = {"stub_status": "", "plus": "/", "angie": "/http/upstreams/", "vts": "/format/json"}
_PATH = re.compile(r"/[!-~]*")
_NAME = re.compile(r"[A-Za-z0-9.-]+")
_NO_PEERS: Mapping[tuple[str, str], Peer] = MappingProxyType({})


class Told(NamedTuple):
    """The counters of stub_status and where its page is configured; the peers, by their group and address or name."""

    stub: StubStatus | None = None
    place: str | None = None
    peers: Mapping[tuple[str, str], Peer] = _NO_PEERS
    unseen: tuple[Unseen, ...] = ()


def start(host: Host, site: Site, *, wanted: bool) -> Callable[[], Told]:
    """Begin to fetch one page of each kind that is configured; what is returned waits for them, a second at most.

    They are fetched from where nginx listens; where it has a network of its own, that is nowhere on this machine. What
    the nginx of another user calls its page is nothing for root to ask for: it may be any socket.
    """
    master = site.master
    if not wanted or site.conf is None or master is None or not (master["own_network"] and master["trusted"]):
        return Told
    pages = _first_of_each(site.conf.status_pages)
    waits = [host.start(_page(page, _BELOW[page.kind]), WITHIN) for page in pages]

    def end() -> Told:
        told = Told()
        for page, wait in zip(pages, waits, strict=True):
            try:
                answer = wait()
                if isinstance(answer, ProbeError):
                    raise answer
                told = _with(told, host, page, answer.value)
            except ProbeError as error:
                unseen = error.unseen(f"status page {page.location} ({page.place})")
                told = told._replace(unseen=(*told.unseen, unseen))
        return told

    return end


def _first_of_each(pages: Iterable[StatusPage]) -> list[StatusPage]:
    """One page a kind, of those whose path is plain."""
    found: dict[str, StatusPage] = {}
    for page in pages:
        if page.listen and _PATH.fullmatch(page.location):
            found.setdefault(page.kind, page)
    return [*found.values()]


def _page(page: StatusPage, below: str) -> Fetch:
    path = page.location.rstrip("/") + below if below else page.location
    name = page.server_name if _NAME.fullmatch(page.server_name) else "localhost"
    return Fetch(page.listen[0], path, name, page.tls, WITHIN)


def _with(told: Told, host: Host, page: StatusPage, data: bytes) -> Told:
    """What a page adds; raises ProbeError."""
    if page.kind == "stub_status":
        return told._replace(stub=parser.parse_stub_status(data), place=str(page.place))
    if page.kind == "plus":
        newest = parser.parse_plus_versions(data)
        found = parser.parse_plus(host.ask(_page(page, f"/{newest}/http/upstreams")).value)
    else:
        found = parser.parse_angie(data) if page.kind == "angie" else parser.parse_vts(data)
    peers = dict(told.peers)
    for peer in found:
        peers.setdefault((peer.group, peer.server), peer)
        peers.setdefault((peer.group, peer.name), peer)
    return told._replace(peers=peers)
