"""One connection made only to see what answers: TCP or a unix socket, TLS if asked for, one GET if asked for.

It never blocks: the conversation is a generator that yields what it waits for. Whoever drives it resumes it then, or
throws TimeoutError into it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import socket
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from opsdoc import __version__
from opsdoc.clients import Live, tls
from opsdoc.clients.addresses import SocketAddress, name_of, open_inside, socket_address

if TYPE_CHECKING:
    from ssl import SSLContext

CONNECT_LIMIT = 1.0  # seconds for one connection: a SYN that is lost is sent again after one
PARTING = 0.2  # seconds left to a server to end what it is sending: a connection closed before that is a reset to it
PARTING_CAP = 64 * 1024  # bytes
STATUS_CAP = 4096  # bytes in which a status line ends
DETAIL = 120  # characters
USER_AGENT = f"opsdoc/{__version__}"

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Waits = Generator[tuple[int, float], None, None]  # for which event, and until when by time.monotonic()


class Target(NamedTuple):
    """A server to dial: `10.0.0.1:80`, `[::1]:80`, `name:80` or `unix:/run/app.sock`."""

    address: str
    tls: bool = False
    server_name: str | None = None  # for SNI
    host: str | None = None  # the Host header, when a path is asked for; None: the address


class Said(NamedTuple):
    """What a server was found to do."""

    result: str
    detail: str = ""
    status: int | None = None


class _Over(Exception):
    """Ends a conversation with what was said."""

    def __init__(self, result: str, detail: str = "", status: int | None = None) -> None:
        super().__init__(result)
        self.said = Said(result, detail, status)


_BY_ERRNO = {
    errno.ECONNREFUSED: "refused",
    errno.EPROTOTYPE: "refused",  # a unix socket of another type
    errno.ENOENT: "socket missing",
    errno.ENOTDIR: "socket missing",
    errno.ELOOP: "socket missing",
    errno.EACCES: "not permitted",
    errno.EPERM: "not permitted",
    errno.EAGAIN: "queue full",
    errno.EADDRNOTAVAIL: "no local port",
    errno.ETIMEDOUT: "no answer",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "no route",
    errno.ENETUNREACH: "no route",
    errno.EHOSTDOWN: "no route",
    errno.ENETDOWN: "no route",
    errno.EAFNOSUPPORT: "no route",
}


def _failed(error: OSError) -> _Over:
    """An error in our words; one that says nothing of the server, such as too many open files, is none of its own."""
    code = error.errno or 0
    return _Over(_BY_ERRNO.get(code, "skipped"), os.strerror(code) if code else str(error))


class Call:
    """One server, the connection to it, and what it said. Its conversation yields whenever it has to wait."""

    def __init__(self, target: Target, path: str | None) -> None:
        self.target = target
        self.said: Said | None = None
        self.context: SSLContext | None = None
        self._path = path
        self._peer: SocketAddress = (socket.AF_UNSPEC, None)
        self.connection: socket.socket | None = None
        self._began = self._until = 0.0
        self._seconds: float | None = None
        self._connect_seconds: float | None = None

    def told(self, live: Live) -> dict[str, Any]:
        said = self.said or Said("skipped", "the run was stopped before it could answer")
        return {
            "address": self.target.address,
            "result": said.result,
            "seconds": self._seconds,
            "connect_seconds": self._connect_seconds,
            "detail": live.redactor.text(said.detail[:DETAIL]),
            "status": said.status,
        }

    def aim(self, found: dict[str, list[str] | str], root: str | None, opened: contextlib.ExitStack) -> None:
        """Find out what to connect to, or say why there is nothing."""
        name = name_of(self.target.address)
        looked_up = found.get(name, "") if name else None
        if isinstance(looked_up, str):
            self.said = Said("name unknown", looked_up)
            return
        peer = socket_address(self.target.address, looked_up[0] if looked_up else None)
        if peer is None:
            self.said = Said("skipped", "it is not an address")
            return
        if self.target.tls and self.target.server_name and not tls.is_name(self.target.server_name):
            self.said = Said("skipped", "its name for TLS is none")
            return
        if peer[0] == socket.AF_UNIX and root is not None:
            try:
                descriptor = open_inside(root, peer[1])
            except OSError as error:
                self.said = _failed(error).said
                return
            opened.callback(os.close, descriptor)
            peer = (socket.AF_UNIX, f"/proc/self/fd/{descriptor}")  # nobody can put another file in its place now
        self._peer = peer

    def conversation(self, until: float) -> Waits:
        """Talk, waiting for what is yielded; after `until`, or the limit that is yielded, TimeoutError is thrown in."""
        self._began, self._until = time.monotonic(), until
        try:
            yield from self._connect()
            if self.target.tls:
                yield from self._shake_hands()
            if self._path is not None:
                yield from self._ask(self._path)
            self.said = Said("tls ok" if self.target.tls else "connects")
        except _Over as over:
            self.said = over.said
        self._seconds = self._took()
        if self._connect_seconds is not None and (self.target.tls or self._path is not None):
            yield from self._part()

    def _took(self) -> float:
        return round(time.monotonic() - self._began, 6)

    def _connect(self) -> Waits:
        family, address = self._peer
        limit = min(self._until, self._began + CONNECT_LIMIT)
        try:
            self.connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            code = self.connection.connect_ex(address)
            if code == errno.EINPROGRESS:
                yield _WRITE, limit
                code = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                shortage = code == errno.EAGAIN and family != socket.AF_UNIX
                raise OSError(errno.EADDRNOTAVAIL if shortage else code, "")
            if family != socket.AF_UNIX and self.connection.getsockname() == self.connection.getpeername():
                # Nothing listens, but our own port happened to be the one dialled: TCP then connects to itself.
                raise OSError(errno.ECONNREFUSED, "")
        except TimeoutError as late:
            if late.errno:  # the kernel's own, after its retries
                raise _failed(late) from None
            raise _Over("no answer", f"no connection within {limit - self._began:.2f} s") from None
        except OSError as error:
            raise _failed(error) from None
        self._connect_seconds = self._took()

    def _shake_hands(self) -> Waits:
        assert self.connection is not None
        assert self.context is not None
        try:
            shaken = self.context.wrap_socket(
                self.connection, do_handshake_on_connect=False, server_hostname=self.target.server_name or None
            )
        except OSError as error:
            raise _failed(error) from None
        self.connection = shaken
        try:
            while (event := tls.handshake(shaken)) is not None:
                yield event, self._until
        except TimeoutError:
            raise _Over("tls no answer", f"no handshake within {self._took():.2f} s") from None
        except tls.Failed as failed:
            raise _Over("tls failed", str(failed)) from None
        except OSError as error:
            raise _failed(error) from None

    def _ask(self, path: str) -> Waits:
        request = _request(path, self.target)
        seen = b""
        while True:
            try:
                yield (_WRITE if request else _READ), self._until
            except TimeoutError:
                raise _Over("silent", f"no answer within {self._took():.2f} s") from None
            try:
                if request:
                    request = request[self._send(request) :]
                    continue
                data = self._receive(STATUS_CAP - len(seen))
            except OSError as error:
                raise _failed(error) from None
            if data is None:
                continue
            seen += data
            if not data or b"\n" in seen or len(seen) >= STATUS_CAP or not b"HTTP/".startswith(seen[:5]):
                raise _status(seen)

    def _part(self) -> Waits:
        """Let the server come to its end: unread data that is thrown away would reach it as a reset."""
        assert self.connection is not None
        limit = min(time.monotonic() + PARTING, self._until)
        with contextlib.suppress(OSError):  # TimeoutError among them
            if self._path is None:
                self.connection.shutdown(socket.SHUT_WR)
            left = PARTING_CAP
            while left > 0:
                yield _READ, limit
                data = self._receive(min(left, 16384))
                if data == b"":
                    return
                left -= len(data or b"")

    def _send(self, data: bytes) -> int:
        """How much was sent: 0 when the connection was not ready. Raises OSError."""
        assert self.connection is not None
        try:
            return self.connection.send(data)
        except OSError as error:
            if self._is_not_ready(error):
                return 0
            raise

    def _is_not_ready(self, error: OSError) -> bool:
        return isinstance(error, BlockingIOError) or (self.context is not None and tls.awaits(error) is not None)

    def _receive(self, size: int) -> bytes | None:
        """What has come: None when nothing has yet, empty at the end. Raises OSError."""
        assert self.connection is not None
        try:
            return self.connection.recv(size)
        except OSError as error:
            if self._is_not_ready(error):
                return None
            if self.context is not None and tls.is_end(error):
                return b""
            raise


_UNSAFE = re.compile(r"[^!-~]")


def request_head(path: str, host: str, version: str) -> bytes:
    """A GET without a body. What is no visible ASCII is percent-encoded in the path and left out of the host."""
    safe = quote(path if path.startswith("/") else f"/{path}", safe="".join(map(chr, range(0x21, 0x7F))))
    lines = (
        f"GET {safe} HTTP/{version}", f"Host: {_UNSAFE.sub('', host)}", f"User-Agent: {USER_AGENT}", "Accept: */*",
        "Connection: close", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode("ascii")


def _request(path: str, target: Target) -> bytes:
    unix = target.address.startswith("unix:")
    return request_head(path, target.host or ("localhost" if unix else target.address), "1.1")


_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: [^\r\n]*)?\r?\n")


def _status(seen: bytes) -> _Over:
    """What the first bytes of an answer are."""
    if not seen:
        return _Over("closed early", "the connection was closed without an answer")
    match = _STATUS_LINE.match(seen)
    if match is not None:
        return _Over(f"http {int(match[1])}", match[0].decode("ascii", "backslashreplace").strip(), int(match[1]))
    if seen[:2] == b"\0\0" and seen[3:4] == b"\4":
        return _Over("not http", "it speaks HTTP/2 without TLS, as gRPC servers do")
    return _Over("not http", f"it begins with {seen[:40]!r}")
