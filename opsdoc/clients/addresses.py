"""Where servers stand: addresses as sockets take them, names looked up, unix sockets below another root."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Sequence
from typing import Any

from opsdoc.clients import Live

MOST_NAMES = 64  # looked up at once
TICK = 0.1  # seconds between looks whether the run is being stopped

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\s:/\[\]]{1,255})):(\d{1,5})")
SocketAddress = tuple[int, Any]  # family, and what connect(2) takes


def name_of(address: str) -> str | None:
    """The name in `name:80`; None where there is an address."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not match[2] or _family(match[2]) is not None:
        return None
    return match[2]


def socket_address(address: str, host: str | None = None) -> SocketAddress | None:
    """An address as a socket takes it, with `host` in place of its name; None for what is none."""
    if address.startswith("unix:/") and "\0" not in address:
        return socket.AF_UNIX, address.removeprefix("unix:")
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) > 65535:
        return None
    ip = host or match[1] or match[2]
    family = _family(ip)
    return None if family is None else (family, (ip, int(match[3])))


def _family(ip: str) -> int | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, ip)
            return family
    return None


def look_up(names: Sequence[str], until: float, live: Live) -> dict[str, list[str] | str]:
    """The addresses of names, or in words why there are none; of 64 names at most.

    getaddrinfo(3) cannot be called off: its threads are daemons, and what comes too late is left to them.
    """
    found: dict[str, list[str] | str] = {}

    def ask(name: str) -> None:
        try:
            seen = {str(answer[4][0]) for answer in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
            found[name] = sorted(seen, key=lambda ip: (":" in ip, ip))
        except (OSError, ValueError) as error:  # also a name that cannot be written in a question
            found[name] = getattr(error, "strerror", None) or "it is not a name"

    asked = dict.fromkeys(names)
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in list(asked)[:MOST_NAMES]]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive() and time.monotonic() < until and not live.stopping.is_set():
            thread.join(max(0.0, min(TICK, until - time.monotonic())))
    known = dict(found)
    late = "the resolver did not answer in time"
    skipped = f"no more than {MOST_NAMES} names are looked up at once"
    return {name: known.get(name, late if number < MOST_NAMES else skipped) for number, name in enumerate(asked)}


def open_inside(root: str, path: str) -> int:
    """A descriptor (O_PATH) of a file below a root that is not ours, as a process in there would find it.

    Symlinks are followed by hand, within that root: the kernel would follow them in ours. Raises OSError.
    """
    folders = [os.open(root, os.O_PATH | os.O_DIRECTORY)]
    ahead = path.split("/")[::-1]
    links = 0
    try:
        while ahead:
            name = ahead.pop()
            if name == ".." and len(folders) > 1:
                os.close(folders.pop())
            if name in ("", ".", ".."):
                continue
            inner = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folders[-1])
            folders.append(inner)
            if stat.S_ISLNK(os.fstat(inner).st_mode):
                links += 1
                if links > 40:  # as the kernel has it
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                aim = os.readlink("", dir_fd=inner)
                ahead += aim.split("/")[::-1]
                os.close(folders.pop())
                while aim.startswith("/") and len(folders) > 1:
                    os.close(folders.pop())
        return folders.pop()
    finally:
        for descriptor in folders:
            os.close(descriptor)
