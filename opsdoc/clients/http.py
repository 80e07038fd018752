"""Status pages of this machine's own servers, fetched with one GET."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.addresses import SocketAddress, socket_address
from opsdoc.clients.conversation import request_head
from opsdoc.clients.tls import unverified
from opsdoc.model import Denied, Malformed, TimedOut, Unreachable, Unsupported
from opsdoc.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY_CAP = 8 << 20  # bytes: a page of 20,000 upstream servers has about as many
HEAD_CAP = 64 * 1024  # bytes


class Fetch(NamedTuple):
    """The body of a page at an address that is listened on: `127.0.0.1:8080`, `*:80`, `[::]:80`, `unix:/run/s.sock`.

    Only addresses of this machine are fetched from. Raises Denied for 401 and 403, Unreachable for any other answer
    than 200 and where nothing listens, Malformed for what is no HTTP or is longer than 8 MiB.
    """

    address: str
    path: str
    host: str = "localhost"
    tls: bool = False
    within: float = 2.0

    def key(self) -> str:
        return f"http.fetch {'tls:' * self.tls}{self.address} {self.path.partition('?')[0]}"

    def answer(self, live: Live) -> bytes:
        if live.foreign_proc:
            raise Unsupported(f"{live.proc} may be another machine's: its pages are not at addresses of this one")
        peer = _local(self.address)
        until = time.monotonic() + min(self.within, live.remaining())
        try:
            with _connected(peer, until, self) as connection:
                connection.sendall(request_head(self.path, self.host, "1.0"))  # 1.0: answered in one piece
                return _body(self, connection, until)
        except TimeoutError:
            raise TimedOut(f"{self.address} did not answer with the page in time") from None
        except PermissionError:
            raise Denied(f"not permitted to connect to {self.address}", live.as_root()) from None
        except BlockingIOError:
            raise Unreachable(f"{self.address}: the queue of its unix socket is full") from None
        except OSError as error:
            raise Unreachable(f"{self.address}: {error.strerror or error}") from None

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


_ANYWHERE = re.compile(r"(?:\*|0\.0\.0\.0):(\d{1,5})")


def _local(address: str) -> SocketAddress:
    """An address of this machine as a socket takes it; raises Unsupported for any other.

    The kernel decides: to an address of its own it would go from that address, or from loopback. Nothing is sent.
    """
    everywhere = _ANYWHERE.fullmatch(address)
    if everywhere is not None:
        address = f"127.0.0.1:{everywhere[1]}"
    peer = socket_address(address.replace("[::]:", "[::1]:"))
    if peer is None:
        raise Unsupported(f"not an address to fetch a page from: {address[:80]}")
    family, where = peer
    if family == socket.AF_UNIX:
        return peer
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(where)
            own = str(asking.getsockname()[0])
        except OSError:
            own = ""
    if own != where[0] and own not in ("127.0.0.1", "::1"):
        raise Unsupported(f"{address} is no address of this machine: its pages are not fetched")
    return peer


@contextlib.contextmanager
def _connected(peer: SocketAddress, until: float, page: Fetch) -> Iterator[socket.socket]:
    family, where = peer
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left(until))
        connection.connect(where)
        if not page.tls:
            yield connection
            return
        with unverified().wrap_socket(connection, server_hostname=page.host.partition(":")[0] or None) as shaken:
            yield shaken


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


_HEAD = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n")
_LENGTH = re.compile(rb"^content-length: *(\d{1,18}) *\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:.*chunked", re.IGNORECASE | re.MULTILINE)


def _body(page: Fetch, connection: socket.socket, until: float) -> bytes:
    """What is behind the head of an answer, to its end."""
    seen = bytearray()
    while len(seen) <= HEAD_CAP + BODY_CAP:
        connection.settimeout(_left(until))
        data = connection.recv(65536)
        if not data:
            break
        seen += data
        if not b"HTTP/".startswith(seen[:5]):
            break
    head = _HEAD.match(seen[:HEAD_CAP])
    if head is None:
        raise Malformed(f"{page.address} does not answer in HTTP: {bytes(seen[:60])!r}")
    status = int(head[1])
    if status in (401, 403):
        raise Denied(f"{page.address} answers {status} to {page.path.partition('?')[0]}", "allow this machine there")
    if status != 200:
        raise Unreachable(f"{page.address} answers {status} to {page.path.partition('?')[0]}")
    body = bytes(seen[head.end() :])
    length = _LENGTH.search(head[0])
    if len(body) > BODY_CAP:
        raise Malformed(f"{page.address}: the page is longer than {BODY_CAP >> 20} MiB")
    if _CHUNKED.search(head[0]):
        raise Malformed(f"{page.address} answers HTTP/1.0 in chunks, which 1.0 has not")
    if length is not None and len(body) < int(length[1]):
        raise Unreachable(f"{page.address} closed the connection in the middle of the page")
    return body
