"""A line to a server, kept for the run: TCP, TLS or a unix socket, deadlines for whole talks, and who else may answer.

What is said over it is the matter of each protocol. That nobody waits for ever or mistakes a stranger for a server is
the matter of this file.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from opsdoc.clients import Live, tcp
from opsdoc.model import Denied, Interrupted, Malformed, ProbeError, TimedOut, Unreachable, Unsupported, UsageError

if TYPE_CHECKING:
    import ssl

CHUNK = 1 << 16  # bytes
FIRST = 60  # bytes that are remembered, to tell a stranger by

T = TypeVar("T")


class Encryption(NamedTuple):
    """How a server is known, and how we are: files in PEM.

    With authorities (`ca`) of one's own a certificate may name any host, as redis-cli has it, too: those within a
    cluster seldom name the addresses that its nodes tell. Without, the system's are taken and the name is checked.
    """

    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None


class Protocol(NamedTuple):
    """What is spoken, in words for those who read why it was not."""

    name: str
    ports: str
    use_tls: str
    use_no_tls: str


class Gone(Exception):
    """The other side closed the connection; the text says why, if it did."""


# ── one connection ───────────────────────────────────────────────────────────────────────────────


class Line:
    """One connection, of one thread at a time; what is being said must end by `ends` (of time.monotonic())."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.ends = 0.0
        self.is_new = True  # nothing was said yet
        self.first = b""  # what came first in this talk

    def send(self, data: bytes) -> None:
        """Send all of it. That the other side hung up is told when its last words are read. Raises TimeoutError."""
        try:
            self._wait_no_longer()
            self._connection.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            pass

    def receive(self) -> bytes:
        """What has come, as soon as something has. Raises TimeoutError or Gone."""
        try:
            self._wait_no_longer()
            data = self._connection.recv(CHUNK)
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone(getattr(error, "reason", None) or "") from None
        if not data:
            raise Gone
        self.first += data[: max(0, FIRST - len(self.first))]
        return data

    def hang_up(self) -> None:
        """Wake whoever reads or writes. With TLS, too, only the socket is shut down: another thread uses the rest."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()

    def _wait_no_longer(self) -> None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


# ── a server ─────────────────────────────────────────────────────────────────────────────────────


class Kept:
    """The line that is kept to one server. Whoever has something to say waits for the turn."""

    def __init__(self, address: str, encryption: Encryption | None, protocol: Protocol) -> None:
        self._address = address
        self._encryption = encryption
        self._protocol = protocol
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._line: Line | None = None
        self._closed = False
        self._has_answered = False
        self._is_silent = False
        self._refusal: Denied | None = None

    def talk(self, say: Callable[[Line], T], live: Live, within: float) -> T:
        """What `say` returns, in at most `within` seconds from when it is its turn.

        It is called again with a new line where the one that was kept had been closed. Raises a ProbeError for what the
        server does; one that has never answered is not waited for again, and one that refused us not asked again.
        """
        with self._in_turn(live):
            if self._refusal is not None:
                raise Denied(self._refusal.detail, self._refusal.hint)
            if self._is_silent and not self._has_answered:
                raise TimedOut(f"{self._address} has not answered before, and is not asked again")
            within = min(within, live.remaining())
            try:
                return self._said(say, live, time.monotonic() + within)
            except TimeoutError:
                self._is_silent = True
                raise TimedOut(
                    f"{self._address} takes connections, but did not answer within {within:.1f} s",
                    "it is frozen or busy with one long command: look at its process, on its machine",
                ) from None
            except TimedOut:
                self._is_silent = True
                raise
            except Denied as refusal:
                self._refusal = refusal
                raise

    def close(self) -> None:
        """Hang up, also on a thread that waits for an answer: it closes what it uses itself."""
        with self._guard:
            self._closed = True
            if self._line is not None:
                self._line.hang_up()
                if not self._turn.locked():
                    self._line.close()

    @contextlib.contextmanager
    def _in_turn(self, live: Live) -> Iterator[None]:
        if not self._turn.acquire(timeout=live.remaining()):
            raise TimedOut(f"{self._address} was still busy with other questions when the time was over")
        try:
            _refuse_if_stopping(live)
            yield
        finally:
            self._turn.release()

    def _said(self, say: Callable[[Line], T], live: Live, ends: float) -> T:
        if self._line is not None:
            with contextlib.suppress(Gone):  # such as by the server's `timeout` for idle clients
                return self._say(self._line, say, ends)
        _refuse_if_stopping(live)
        line = Line(_opened(self._address, self._encryption, self._protocol, ends, live))
        with self._guard:
            if self._closed:
                line.close()
                raise Interrupted("the run was interrupted")
            self._line = line
        try:
            return self._say(line, say, ends)
        except Gone as gone:
            _refuse_if_stopping(live)
            raise self._hung_up(line.first, str(gone), ends) from None

    def _say(self, line: Line, say: Callable[[Line], T], ends: float) -> T:
        """Talk, and keep the line if that went well: after anything else a late answer could be taken for another."""
        line.ends, line.first = ends, b""
        try:
            said = say(line)
        except BaseException as error:
            with self._guard:
                self._line = None
                line.close()
            self._has_answered |= isinstance(error, ProbeError)
            if isinstance(error, Malformed):
                raise self._explained(line.first, error.detail) from None
            raise
        line.is_new = False
        self._has_answered = True
        return said

    def _explained(self, first: bytes, what: str) -> Malformed | Unsupported:
        seen = f"{self._address} answers {first[:40]!r}"
        if first.startswith(b"\x15\x03"):
            return Unsupported(f"{seen}: it speaks TLS only", self._protocol.use_tls)
        for pattern, kind in _STRANGERS:
            if kind != self._protocol.name and re.match(pattern, first, re.DOTALL):
                return Malformed(f"{seen}: it is {kind}, not {self._protocol.name}", self._protocol.ports)
        return Malformed(f"{seen}: {what}", self._protocol.ports)

    def _hung_up(self, first: bytes, why: str, ends: float) -> ProbeError:
        """Why a new connection was closed before all was said. A server that wants TLS does so: a handshake tells."""
        address, protocol = self._address, self._protocol
        if "CERTIFICATE_REQUIRED" in why:
            return _wants_certificate(address)
        if first:
            return self._explained(first, "it broke off there; a proxy in between may not know all commands")
        if self._encryption is None and not address.startswith("unix:"):
            with contextlib.suppress(ProbeError):
                tcp.connected(address, ends, tcp.Tls(trusts_all=True)).close()
                return Unsupported(f"{address} speaks TLS only", protocol.use_tls)
        return Unreachable(f"{address} closes the connection without an answer", protocol.ports)


_STRANGERS = (
    (rb"HTTP/|<", "an HTTP server"),
    (rb"\0\0.\x04\0{5}", "an HTTP/2 server"),
    (rb"SSH-", "an SSH server"),
    (rb"(?:CLIENT_|SERVER_)?ERROR\b", "memcached"),
    (rb"-(?:ERR|NOAUTH|DENIED|LOADING|NOPERM) ", "Redis"),
    (rb".{3}\0(?:\x0a[0-9]|\xff)", "a MySQL server"),
)


def _refuse_if_stopping(live: Live) -> None:
    if live.stopping.is_set():
        raise Interrupted("the run was interrupted")


# ── connecting ───────────────────────────────────────────────────────────────────────────────────


def _opened(address: str, encryption: Encryption | None, protocol: Protocol, ends: float, live: Live) -> socket.socket:
    if address.startswith("unix:"):
        return _unix(address.removeprefix("unix:"), ends, live)
    context = None if encryption is None else _context(encryption)
    connection = tcp.connected(address, ends)
    if connection.getsockname() == connection.getpeername():
        # Nothing listens, but our own port happened to be the one dialled: TCP then connects to itself.
        connection.close()
        raise Unreachable(f"{address}: Connection refused")
    if context is None:
        return connection
    try:
        connection.settimeout(max(0.001, ends - time.monotonic()))
        return context.wrap_socket(connection, server_hostname=tcp.place(address)[0])
    except (OSError, ValueError) as error:  # ValueError: a host that can be no name
        connection.close()
        raise _no_handshake(address, error, protocol) from None


def _unix(path: str, ends: float, live: Live) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(0.001, ends - time.monotonic()))
        connection.connect(path)
    except OSError as error:
        connection.close()
        if isinstance(error, PermissionError):
            raise Denied(f"{path}: {error.strerror}", live.as_root()) from None
        if isinstance(error, TimeoutError | BlockingIOError):  # the latter when the queue of those who wait is full
            raise TimedOut(f"{path} does not take a connection in time") from None
        what = "it is no stream socket" if error.errno == errno.EPROTOTYPE else error.strerror or str(error)
        raise Unreachable(f"{path}: {what}") from None
    return connection


def _context(encryption: Encryption) -> ssl.SSLContext:
    import ssl

    ca, certificate, private_key = encryption
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot read authorities from {ca}: {error.strerror or error}") from None
    context.check_hostname = ca is None
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, private_key, password=lambda: "")  # else it asks at the terminal
        except OSError as error:
            raise UsageError(f"cannot use the certificate {certificate}: {error.strerror or error}") from None
    return context


def _no_handshake(address: str, error: Exception, protocol: Protocol) -> ProbeError:
    """What a TLS handshake that failed means."""
    import ssl

    if isinstance(error, TimeoutError):
        return TimedOut(f"{address} does not answer the TLS handshake", protocol.use_no_tls)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "name the authority that signed it: --tls-ca FILE"
        return Unreachable(f"{address}: its certificate is not trusted: {error.verify_message}", hint)
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else "the connection was closed"
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return _wants_certificate(address)
    return Malformed(f"{address} does not speak TLS: {reason}", protocol.use_no_tls)


def _wants_certificate(address: str) -> Denied:
    return Denied(f"{address} asks for a certificate of ours", "give one: --tls-cert FILE and --tls-key FILE")
