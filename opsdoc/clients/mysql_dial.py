"""To the first word of a MySQL server: a socket, its greeting, which comes unasked, and who else may be there."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from opsdoc.clients import Live, tcp
from opsdoc.clients.mysql_target import Place
from opsdoc.model import Denied, Malformed, TimedOut, Unreachable, Unsupported, UsageError

if TYPE_CHECKING:
    import ssl

MOST = 64 << 20  # bytes of all answers over one connection
TICK = 0.005  # seconds between two looks at what has come
SPEAKS_FIRST = 0.7  # of the time: who has said nothing by then is asked who it is
MARGIN = 0.05  # seconds before the end of all, so that it is known here what was waited for
GREETING = 4096  # bytes: it takes a hundred

_PORTS = "MySQL and MariaDB listen at port 3306 by default"
_TLS = 0x0800  # CLIENT_SSL, what a server says that it can
_STRANGERS = (
    (rb"[SN]\Z|E\0\0\0|R\0\0\0", "PostgreSQL"),
    (rb"HTTP/|<", "an HTTP server"),
    (rb"\+PONG|-(?:ERR|NOAUTH|DENIED|LOADING|NOPERM) ", "Redis"),
    (rb"(?:CLIENT_|SERVER_)?ERROR\b", "memcached"),
    (rb"SSH-", "an SSH server"),
    (rb"220[ -]", "a mail or FTP server"),
    (rb".{3}\0\x0b", "the X protocol of MySQL, which is not its own"),
)
# What makes those who wait for the client's first word say who they are: PostgreSQL's SSLRequest, a command of Redis.
_KNOCKS = (struct.pack("!II", 8, 80877103), b"PING\r\n\r\n")


class Bounded(socket.socket):
    """A socket that gives up where the other side sends without end."""

    left = MOST

    def recv_into(self, *args: object) -> int:
        """As it is, but counted."""
        size = super().recv_into(*args)  # type: ignore[arg-type]
        self.left -= size
        if self.left < 0:
            raise OSError(f"it sends more than {MOST} bytes")
        return size


class Greeting(NamedTuple):
    """What a server says first: that it takes TLS, or the number and text of why it lets nobody in."""

    takes_tls: bool
    number: int = 0
    text: str = ""


def dialled(address: str, ends: float, live: Live) -> Bounded:
    """A connection, made before `ends` (of time.monotonic()). Raises a ProbeError."""
    if not address.startswith("unix:"):
        return Bounded(fileno=tcp.connected(address, ends).detach())
    path = address.removeprefix("unix:")
    made = Bounded(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(max(0.001, ends - time.monotonic()))
        made.connect(path)
    except OSError as error:
        made.close()
        if isinstance(error, PermissionError):
            raise Denied(f"{path}: {error.strerror}", live.as_root()) from None
        if isinstance(error, TimeoutError | BlockingIOError):  # the latter when the queue of those who wait is full
            raise TimedOut(f"{path} does not take a connection in time") from None
        raise Unreachable(f"{path}: {error.strerror or error}") from None
    return made


def greeting(connection: socket.socket, address: str, ends: float, live: Live) -> Greeting:
    """The first word of a server, which stays to be read by the driver. Raises a ProbeError for who is none."""
    began = time.monotonic()
    ends -= MARGIN
    asks = began + (ends - began) * SPEAKS_FIRST
    connection.setblocking(False)
    data = b""
    with contextlib.ExitStack() as knocked:
        others: list[socket.socket] = []
        while not _is_whole(data):
            now = time.monotonic()
            if now >= ends:
                raise _stranger(address, data) if data else _silent(address, ends - began)
            if not (data or others) and now >= asks:
                others = [knocked.enter_context(_knocked(address, knock, ends, live)) for knock in _KNOCKS]
            for other in others:
                if _kind(heard := _seen(other) or b""):
                    raise _stranger(address, heard)
            seen = _seen(connection)
            if seen == b"" and not data:
                raise Unreachable(f"{address} closes the connection without a word", _PORTS)
            data = seen or data
            if seen == b"" or (data and not _may_be_mysql(data)):
                raise _stranger(address, data)
            time.sleep(0 if _is_whole(data) else TICK)
    return _read(data, address)


def context(place: Place, *, offered: bool) -> ssl.SSLContext | None:
    """How TLS is spoken with a server; None for not at all. Raises Unsupported where it is wanted and not offered."""
    import ssl

    if place.tls == "disabled" or (place.tls == "preferred" and not offered) or place.address.startswith("unix:"):
        return None
    if not offered:
        raise Unsupported(f"{place.address} speaks no TLS", "leave --tls-ca and ssl-mode out, or turn TLS on there")
    try:
        made = ssl.create_default_context(cafile=place.ca)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot read authorities from {place.ca}: {error.strerror or error}") from None
    made.check_hostname = place.tls == "verify_identity"
    made.verify_mode = ssl.CERT_REQUIRED if place.tls.startswith("verify") else ssl.CERT_NONE
    made.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)  # certificates that MySQL makes itself fail it

    class BoundedTls(ssl.SSLSocket):
        left = MOST

        def recv_into(self, *args: object) -> int:
            size = super().recv_into(*args)  # type: ignore[arg-type]
            self.left -= size
            if self.left < 0:
                raise OSError(f"it sends more than {MOST} bytes")
            return size

    made.sslsocket_class = BoundedTls
    return made


def host_of(address: str) -> str:
    """The name that a certificate is for."""
    return "localhost" if address.startswith("unix:") else tcp.place(address)[0]


def _knocked(address: str, knock: bytes, ends: float, live: Live) -> socket.socket:
    """Another connection, over which something was said: the first one stays as it is, for it may be MySQL's."""
    made = dialled(address, ends, live)
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.send(knock)
    return made


def _seen(connection: socket.socket) -> bytes | None:
    """What has come so far; None for nothing yet, empty for the end."""
    try:
        return connection.recv(GREETING, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _is_whole(data: bytes) -> bool:
    return len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:3], "little")


def _may_be_mysql(data: bytes) -> bool:
    """A packet of a length that a greeting has, the first of a connection, of protocol 10 or an error."""
    size = int.from_bytes(data[:3].ljust(3, b"\0"), "little")
    return 0 < size < GREETING and data[3:4] in (b"", b"\0") and data[4:5] in (b"", b"\x0a", b"\xff")


def _read(data: bytes, address: str) -> Greeting:
    body = data[4 : 4 + int.from_bytes(data[:3], "little")]
    if not _may_be_mysql(data):
        raise _stranger(address, data)
    if body[0] == 0xFF:
        text = re.sub(rb"\A#.{5}", b"", body[3:])
        return Greeting(False, int.from_bytes(body[1:3], "little"), text.decode("utf-8", "backslashreplace"))
    after = body.find(b"\0", 1) + 1 + 4 + 8 + 1  # version, thread id, first half of the salt, filler
    return Greeting(bool(int.from_bytes(body[after : after + 2], "little") & _TLS))


def _silent(address: str, seconds: float) -> TimedOut:
    return TimedOut(
        f"{address} takes connections, but said nothing within {seconds:.1f} s",
        "it is frozen, or looks up the name of this machine first (skip_name_resolve): look at its process",
    )


def _kind(data: bytes) -> str:
    """Who answers so; empty where it may be anybody."""
    return next((kind for pattern, kind in _STRANGERS if re.match(pattern, data, re.DOTALL)), "")


def _stranger(address: str, data: bytes) -> Malformed:
    seen, kind = f"{address} answers {data[:40]!r}", _kind(data)
    return Malformed(f"{seen}: {f'it is {kind}, not' if kind else 'that is no'} MySQL or MariaDB", _PORTS)
