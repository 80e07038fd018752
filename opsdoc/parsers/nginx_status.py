"""Status pages of nginx: stub_status, the APIs of NGINX Plus and Angie, and JSON of nginx-module-vts.

Formats: `ngx_http_stub_status_module.c`; the OpenAPI document of NGINX Plus, version 9;
`ngx_http_upstream_zone_module.c` of Angie; `ngx_http_vhost_traffic_status_display_json.h` of nginx-module-vts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from opsdoc.model import Malformed

MOST_PEERS = 20_000
LONGEST = 300  # characters of a name


class StubStatus(NamedTuple):
    """The counters of stub_status. `accepts` above `handled` means that a worker ran out of connections."""

    active: int
    accepts: int
    handled: int
    requests: int
    reading: int
    writing: int
    waiting: int


Source = Literal["plus", "angie", "vts"]


class Peer(NamedTuple):
    """One server of a group as a status page counts it. What a page does not tell is None.

    `state` is the page's own word: `up`, `down`, `draining`, `unavail` or `unavailable`, `checking`, `unhealthy`,
    `busy`, `recovering`. nginx-module-vts tells none that could be believed: it marks a server down until its next
    success, long after nginx has taken it up again.
    """

    group: str
    server: str  # the address
    name: str  # as written in the configuration
    state: str | None
    requests: int | None
    fails: int | None
    unavail: int | None  # how often it was taken out
    active: int | None  # connections now
    downtime: float | None  # seconds, altogether
    response_time: float | None  # seconds, an average
    backup: bool | None
    weight: int | None
    statuses: Mapping[str, int]  # answers by class: `2xx`
    source: Source


_STUB = re.compile(
    rb"Active connections: (\d{1,20}) *\r?\n"
    rb"server accepts handled requests(?: request_time)? *\r?\n"  # Tengine counts the time as well
    rb" *(\d{1,20}) +(\d{1,20}) +(\d{1,20})(?: +\d{1,20})? *\r?\n"
    rb"Reading: (\d{1,20}) +Writing: (\d{1,20}) +Waiting: (\d{1,20})"
)


def parse_stub_status(data: bytes) -> StubStatus:
    """The page of `stub_status`; raises Malformed for any other."""
    match = _STUB.match(data.lstrip()[:1024])
    if match is None:
        raise Malformed(f"not a stub_status page: {data[:80]!r}")
    return StubStatus(*(int(number) for number in match.groups()))


def parse_plus_versions(data: bytes) -> int:
    """The newest version of the API of NGINX Plus, from the list that stands at its root."""
    versions = _json(data)
    known: list[int] = [one for one in versions if _is_count(one)] if isinstance(versions, list) else []
    if not known:
        raise Malformed(f"not the list of versions of an NGINX Plus API: {data[:80]!r}")
    return max(known)


def parse_plus(data: bytes) -> tuple[Peer, ...]:
    """`/api/N/http/upstreams` of NGINX Plus. Its times are milliseconds."""
    return _peers(data, "NGINX Plus upstreams", _plus)


def parse_angie(data: bytes) -> tuple[Peer, ...]:
    """`/status/http/upstreams/` of Angie. Its times are milliseconds; the average of responses is of Angie PRO."""
    return _peers(data, "Angie upstreams", _angie)


def parse_vts(data: bytes) -> tuple[Peer, ...]:
    """`/status/format/json` of nginx-module-vts; `::nogroups` are the servers that stand in no group."""
    return _peers(data, "nginx-module-vts JSON", _vts)


class _NotThatPage(Exception):
    """The JSON is of something else."""


def _peers(data: bytes, what: str, read: Callable[[Any], Iterator[Peer]]) -> tuple[Peer, ...]:
    found: list[Peer] = []
    try:
        for peer in read(_json(data)):
            found.append(peer)
            if len(found) == MOST_PEERS:
                break
    except _NotThatPage:
        raise Malformed(f"not {what}: {data[:80]!r}") from None
    return tuple(found)


def _plus(page: Any) -> Iterator[Peer]:
    for group, entry in _object(page).items():
        peers = _object(entry).get("peers")
        if not isinstance(peers, list):
            raise _NotThatPage
        for peer in map(_object, peers):
            responses = peer.get("responses")
            yield Peer(
                _short(group), _text(peer, "server"), _text(peer, "name") or _text(peer, "server"),
                _text(peer, "state") or None,
                _count(peer, "requests"), _count(peer, "fails"), _count(peer, "unavail"), _count(peer, "active"),
                _seconds(peer, "downtime"), _seconds(peer, "response_time"),
                _flag(peer, "backup"), _count(peer, "weight"), _classes(responses), "plus",
            )  # fmt: skip


def _angie(page: Any) -> Iterator[Peer]:
    for group, entry in _object(page).items():
        for address, value in _object(_object(entry).get("peers")).items():
            peer = _object(value)
            health, selected = _part(peer, "health"), _part(peer, "selected")
            yield Peer(
                _short(group), _short(address), _text(peer, "server") or _short(address), _text(peer, "state") or None,
                _count(selected, "total"), _count(health, "fails"), _count(health, "unavailable"),
                _count(selected, "current"), _seconds(health, "downtime"), _seconds(health, "response_time"),
                _flag(peer, "backup"), _count(peer, "weight"), _classes(peer.get("responses")), "angie",
            )  # fmt: skip


def _vts(page: Any) -> Iterator[Peer]:
    whole = _object(page)
    if "serverZones" not in whole and "upstreamZones" not in whole:
        raise _NotThatPage
    for group, peers in _object(whole.get("upstreamZones", {})).items():  # absent before the first request
        if not isinstance(peers, list):
            raise _NotThatPage
        for peer in map(_object, peers):
            server = _text(peer, "server")
            yield Peer(
                _short(group), server, server, None,
                _count(peer, "requestCounter"), None, None, None, None, _seconds(peer, "responseMsec"),
                _flag(peer, "backup"), _count(peer, "weight"), _classes(peer.get("responses")), "vts",
            )  # fmt: skip


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # also of bytes in no encoding, and of numbers too long to be read
        raise Malformed(f"not JSON: {data[:80]!r}") from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _NotThatPage
    return value


def _part(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An object that may be missing."""
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _count(value: dict[str, Any], key: str) -> int | None:
    number = value.get(key)
    return number if _is_count(number) else None


def _seconds(value: dict[str, Any], key: str) -> float | None:
    milliseconds = value.get(key)
    if not isinstance(milliseconds, int | float) or isinstance(milliseconds, bool):
        return None
    return round(milliseconds / 1000, 6) if 0 <= milliseconds < 1 << 64 else None


def _flag(value: dict[str, Any], key: str) -> bool | None:
    flag = value.get(key)
    return flag if isinstance(flag, bool) else None


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    return _short(text) if isinstance(text, str) else ""


def _short(text: str) -> str:
    return text[:LONGEST]


_CLASS = re.compile(r"([1-5])(?:xx|\d\d)", re.ASCII)


def _classes(responses: Any) -> Mapping[str, int]:
    """Answers by class. Plus and vts count classes, Angie codes; what is no answer (`codes`, `total`, `xxx`) is not."""
    classes: dict[str, int] = {}
    for key, number in responses.items() if isinstance(responses, dict) else ():
        match = _CLASS.fullmatch(key)
        if match is not None and _is_count(number):
            name = f"{match[1]}xx"
            classes[name] = classes.get(name, 0) + number
    return classes
