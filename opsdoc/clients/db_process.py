"""A database server from outside: whether an address is this machine's, and the titles of processes."""

from __future__ import annotations

import socket
import time
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.addresses import look_up, name_of, socket_address

RESOLVER = 1.0  # seconds: the name has just been looked up to connect there
TITLE = 1024  # bytes
_ITSELF: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Ours(NamedTuple):
    """The addresses of `host:port`, and whether one of them is this machine's own. Nothing is sent to them."""

    address: str

    def key(self) -> str:
        return f"db.ours {self.address}"

    def answer(self, live: Live) -> dict[str, Any]:
        name = name_of(self.address)
        if name is None:
            return {"ours": _ours(self.address, None)}
        until = time.monotonic() + min(RESOLVER, live.remaining())
        found = look_up([name], until, live)[name]
        return {"ours": not isinstance(found, str) and any(_ours(self.address, ip) for ip in found)}


class Titles(NamedTuple):
    """Command lines of processes as text, masked: pairs of pid and title; who has just ended is left out."""

    parent: int
    pids: tuple[int, ...]

    def key(self) -> str:
        return f"db.titles {self.parent}"

    def answer(self, live: Live) -> list[list[Any]]:
        found: list[list[Any]] = []
        for pid in self.pids:
            try:
                with open(live.proc / str(pid) / "cmdline", "rb") as file:
                    raw = file.read(TITLE)
            except OSError:
                continue
            text = raw.replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
            found.append([pid, live.redactor.text(text)])
        live.remaining()
        return found


def _ours(address: str, ip: str | None) -> bool:
    """Whether the kernel would reach an address through itself: then it speaks from that same address.

    To all of 127.0.0.0/8 it speaks from 127.0.0.1. A socket for datagrams that is connected sends nothing yet.
    """
    place = socket_address(address, ip)
    if place is None or place[0] == socket.AF_UNIX:
        return place is not None
    family, (host, port) = place
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((host, port or 1))
            return probe.getsockname()[0] in (host, _ITSELF[family])
    except OSError:
        return False
