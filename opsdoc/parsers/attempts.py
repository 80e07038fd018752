"""What access logs say of upstreams: each request as the attempts that were made for it, by server and cause.

Shapes and causes were verified against nginx 1.22.1 (`tests/unit/samples/nginx_access`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

NO_LIVE = "no-live"
MOST_ATTEMPTS = 64  # of one request
LONGEST = 256  # characters of an address: a path of a unix socket has 108

# A status below 500 is an answer: the server works. 429 is one that nginx itself counts as a failure where told to.
ANSWERS = frozenset(b"%d" % status for status in range(100, 500) if status != 429)
NOTHING = (b"-", b"", None)  # no upstream: as nginx writes it, as it does in JSON, and not in the format
_GONE = 499  # the client gave up
# Names are resolved before nginx logs an address; what is none is the name of a group.
_PEER = re.compile(r"unix:.*|\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}|\[[0-9A-Fa-f:.]{2,45}\]:\d{1,5}", re.ASCII | re.DOTALL)
_STATUS = re.compile(rb"\d{3}", re.ASCII)


class Attempt(NamedTuple):
    """One try of one server.

    `cause` is empty where it did not fail: an answer below 500, or none yet when the client gave up (`status` None).
    Else it is `refused` (no connection: refused, socket missing, no route, or no TLS), `connect-timeout`,
    `read-timeout`, `closed-early` (or an answer that nginx could not read), `http-NNN` (the server's own answer),
    `failed-502` and `failed-504` where the log does not tell which, `other`; `no-live` is no try of a server: the
    address is the name of a group of which all were taken out.
    """

    address: str
    status: int | None
    cause: str = ""

    @property
    def given_up(self) -> bool:
        """Whether the client left before the server had answered or failed."""
        return self.status is None and not self.cause


class Visit(NamedTuple):
    """The attempts in one group of servers, in the order made. An internal redirect begins another visit."""

    attempts: tuple[Attempt, ...]


class Trace(NamedTuple):
    """What was tried for a request, and the status that the client got; None where the log does not have it."""

    visits: tuple[Visit, ...]
    status: int | None


def visits_of(
    addresses: bytes,
    statuses: bytes | None,
    connects: bytes | None = None,
    headers: bytes | None = None,
    client: int | None = None,
) -> tuple[Visit, ...]:
    """The attempts of one request, from `$upstream_addr`, `_status`, `_connect_time` and `_header_time`.

    None stands for what the format lacks. Without statuses only the last attempt can have one, the client's.
    """
    if addresses in NOTHING:
        return ()
    status, connect, header = _lists(statuses), _lists(connects), _lists(headers)
    made = []
    left = MOST_ATTEMPTS
    groups = [group.split(b", ") for group in addresses.split(b" : ")]
    for place, group in enumerate(groups):
        attempts = []
        for number, address in enumerate(group[:left]):
            last = place == len(groups) - 1 and number == len(group) - 1
            if status is not None:
                code = _at(status, place, number)
            elif last and client is not None:
                code = b"-" if client == _GONE else b"%d" % client
            else:
                code = None
            attempts.append(_attempt(address, code, _at(connect, place, number), _at(header, place, number)))
        left -= len(attempts)
        made.append(Visit(tuple(attempts)))
        if not left:
            break
    return tuple(made)


def address_of(raw: bytes) -> str:
    """An address, as it is called in attempts."""
    return raw[:LONGEST].decode("utf-8", "backslashreplace")


def _lists(text: bytes | None) -> list[list[bytes]] | None:
    return None if text is None else [group.split(b", ") for group in text.split(b" : ")]


def _at(lists: list[list[bytes]] | None, place: int, number: int) -> bytes | None:
    if lists is None or place >= len(lists) or number >= len(lists[place]):
        return None
    return lists[place][number]


def _attempt(raw: bytes, code: bytes | None, connect: bytes | None, header: bytes | None) -> Attempt:
    address = address_of(raw)
    if code is None or (code != b"-" and not _STATUS.fullmatch(code)):
        return Attempt(address, None, "other")
    if code == b"-":
        return Attempt(address, None)  # nobody waited for it any longer
    status = int(code)
    connected = None if connect is None else connect != b"-"
    answered = None if header is None else header != b"-"
    if status == 502 and not connected and not answered and not _PEER.fullmatch(address):
        return Attempt(address, status, NO_LIVE)
    return Attempt(address, status, "" if code in ANSWERS else _cause(status, connected, answered))


def _cause(status: int, connected: bool | None, answered: bool | None) -> str:
    if status not in (502, 504):
        return "other" if answered is False else f"http-{status}"
    if answered:
        return f"http-{status}"
    if connected is False:
        return "refused" if status == 502 else "connect-timeout"
    if connected and answered is False:
        return "closed-early" if status == 502 else "read-timeout"
    return f"failed-{status}"
