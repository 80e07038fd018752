"""`connections.py MODE …`: sockets in trouble, on the loopback; each mode is told at its function.

`FAMILY` is `tcp` or the path of a unix socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

from stage import commands, state, wake

HERE = "127.0.0.1"
kept: list[socket.socket] = []


def loopback_up() -> None:
    """In a network namespace of its own, make the loopback work; elsewhere it does."""
    with socket.socket() as any_socket, contextlib.suppress(PermissionError):
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING


def listening(backlog: int, path: str | None = None) -> socket.socket:
    made = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    made.bind(path or (HERE, 0))
    made.listen(backlog)
    kept.append(made)
    return made


def rest() -> None:
    """`rest`: nothing, but the network namespace that it is in."""
    loopback_up()
    commands()


def listen(backlog: str, path: str = "", most: str = "0") -> None:
    """`listen BACKLOG [PATH [MOST]]`: a listener that accepts nothing; with MOST, one that has no descriptor left."""
    made = listening(int(backlog), path or None)
    if int(most):
        hold(most, most)
    commands(port=None if path else made.getsockname()[1])


def knock(target: str) -> None:
    """`knock PORT|PATH`: while hot, a new connection ten times a second, 200 at most; all are kept."""
    path = None if target.isdecimal() else target

    def again() -> None:
        while True:
            wake.wait()
            while state.hot and len(kept) < 200:
                made = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
                made.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    made.connect(path or (HERE, int(target)))
                kept.append(made)
                time.sleep(0.1)
            time.sleep(0.05)

    threading.Thread(target=again, daemon=True).start()
    commands()


def goodbye() -> None:
    """`goodbye`: a server that closes each connection at once."""
    made = listening(128)

    def serve() -> None:
        while True:
            made.accept()[0].close()

    threading.Thread(target=serve, daemon=True).start()
    commands(port=made.getsockname()[1])


def leak(port: str, count: str) -> None:
    """`leak PORT COUNT`: so many connections whose end it reads, and which it does not close; while hot, more."""

    def one_more() -> None:
        made = socket.create_connection((HERE, int(port)))
        assert made.recv(1) == b""
        kept.append(made)

    def again() -> None:
        while True:
            wake.wait()
            one_more()
            time.sleep(0.05)

    for _ in range(int(count)):
        one_more()
    threading.Thread(target=again, daemon=True).start()
    commands()


def ports(first: str, last: str, count: str) -> None:
    """`ports FIRST LAST COUNT`: a namespace with these ephemeral ports only, so many of them to one listener."""
    loopback_up()
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write(f"{first} {last}")
    made = socket.socket()
    made.bind((HERE, 8080))
    made.listen(128)
    for _ in range(int(count)):
        kept.extend((socket.create_connection((HERE, 8080)), made.accept()[0]))
    commands(port=8080)


def hold(limit: str, count: str) -> None:
    """Keep so many descriptors open, of so many that may be."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    with contextlib.suppress(OSError):
        while os.open("/dev/null", os.O_RDONLY) < int(count) - 1:
            pass


def descriptors(limit: str, count: str) -> None:
    """`descriptors LIMIT COUNT`: see `hold`."""
    hold(limit, count)
    commands()


MODES: dict[str, Callable[..., None]] = {
    mode.__name__: mode for mode in (rest, listen, knock, goodbye, leak, ports, descriptors)
}
MODES[sys.argv[1]](*sys.argv[2:])
