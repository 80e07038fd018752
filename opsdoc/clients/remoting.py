"""RocketMQ's remoting protocol over TCP: connections that are kept, deadlines, and what else may answer at a port."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live, tcp
from opsdoc.clients.rocketmq_account import Account
from opsdoc.model import Interrupted, Malformed, ProbeError, TimedOut, Unreachable, Unsupported
from opsdoc.parsers import remoting
from opsdoc.parsers.remoting import Command
from opsdoc.parsers.rocketmq_acl import Credentials, signed

CONNECTIONS = 4  # to one address side by side, so that one slow answer does not hold up all others
CHUNK = 1 << 18  # bytes
MOMENT = 0.2  # seconds that a stranger has to finish its first words

_PORTS = "name servers listen at port 9876 by default, brokers at 10911"
_USE_TLS = "use --tls, and --tls-ca FILE where the authority is your own"
_STRANGERS = (  # what greets so, and what to do about it
    (rb"\x15\x03", "it speaks TLS only", _USE_TLS),
    (rb"HTTP/|<", "it is an HTTP server", _PORTS),
    (rb"\0\0.\x04\0{5}", "it is an HTTP/2 server, such as the gRPC port of a proxy", _PORTS),
    (rb"SSH-", "it is an SSH server", _PORTS),
    (rb"[-+](?:ERR|NOAUTH|DENIED|OK)", "it is a Redis server", _PORTS),
)


class Server(NamedTuple):
    """A name server or a broker: its `host:port`, and how it is spoken to.

    With a `ca` the certificate must come from it, and may name any host: RocketMQ's certificates name none, and its own
    client asks for none. Without one the system's authorities are taken, and the name is checked.
    """

    address: str
    tls: bool = False
    ca: Path | None = None
    credentials: Credentials | Account | None = None

    def encryption(self) -> tcp.Tls | None:
        return tcp.Tls(self.ca, checks_name=self.ca is None) if self.tls else None


def ask(server: Server, code: int, fields: Mapping[str, str], live: Live, within: float) -> Command:
    """The reply to a request, whatever its code, in at most `within` seconds from when it is its turn.

    Raises a ProbeError where none comes, or what comes is none.
    """
    tcp.place(server.address)
    peer = live.session((_Peer, server._replace(credentials=None)), lambda: _Peer(server), _Peer.close)
    signature = server.credentials
    if isinstance(signature, Account):
        signature = signature.credentials()
    return peer.ask(code, fields if signature is None else signed(fields, b"", signature), live, within)


# ── one connection ───────────────────────────────────────────────────────────────────────────────


class _Gone(Exception):
    """The other side closed the connection, after so much of a reply."""

    def __init__(self, read: bytes = b"") -> None:
        super().__init__()
        self.read = read


class _Stranger(Exception):
    """What came is no reply; it began with these bytes."""

    def __init__(self, first: bytes, detail: str = "it is neither a name server nor a broker") -> None:
        super().__init__()
        self.first = first
        self.detail = detail


class _Line:
    """One connection. It serves one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def exchange(self, code: int, fields: Mapping[str, str], ends: float) -> Command:
        """Ask, and read until the reply is there. Raises TimeoutError, _Gone or _Stranger."""
        number = next(self._numbers)
        try:
            self._until(ends)
            self._connection.sendall(remoting.encode(Command(code, number, fields)))
        except TimeoutError:
            raise
        except OSError:
            raise _Gone from None
        while True:
            reply = self._command(ends)
            if reply.is_reply and reply.opaque == number:  # a broker may ask us something, too
                return reply

    def hang_up(self) -> None:
        """Wake whoever reads or writes. With TLS, too, only the socket is shut down: another thread uses the rest."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()

    def _command(self, ends: float) -> Command:
        prefix = self._read(remoting.PREFIX, ends)
        try:
            size = remoting.length(prefix)
        except Malformed:
            raise _Stranger(prefix + self._first_words(ends)) from None
        try:
            frame = self._read(size, ends)
        except _Gone as gone:
            raise _Gone(prefix + gone.read) from None
        try:
            return remoting.decode(frame)
        except Malformed as error:
            raise _Stranger(prefix + frame, error.detail) from None

    def _read(self, count: int, ends: float) -> bytes:
        """So many bytes; memory is taken as they come, not as they are announced."""
        chunks: list[bytes] = []
        while count:
            self._until(ends)
            try:
                chunk = self._connection.recv(min(count, CHUNK))
            except TimeoutError:
                raise
            except OSError:
                chunk = b""
            if not chunk:
                raise _Gone(b"".join(chunks))
            chunks.append(chunk)
            count -= len(chunk)
        return b"".join(chunks)

    def _first_words(self, ends: float) -> bytes:
        try:
            return self._read(60, min(ends, time.monotonic() + MOMENT))
        except _Gone as gone:
            return gone.read
        except TimeoutError:
            return b""

    def _until(self, ends: float) -> None:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


# ── all connections to one address ───────────────────────────────────────────────────────────────


class _Peer:
    """What is kept open to one address; as many connections as there are questions side by side, up to CONNECTIONS."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._turns = threading.BoundedSemaphore(CONNECTIONS)
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()
        self._idle: list[_Line] = []
        self._closed = False
        self._has_answered = False
        self._is_silent = False

    def ask(self, code: int, fields: Mapping[str, str], live: Live, within: float) -> Command:
        address = self._server.address
        with self._turn(live):
            if self._is_silent and not self._has_answered:
                raise TimedOut(f"{address} has not answered before, and is not asked again")
            within = min(within, live.remaining())
            ends = time.monotonic() + within
            try:
                return self._reply(code, fields, live, ends)
            except TimeoutError:
                self._is_silent = True
                raise TimedOut(f"{address} takes connections, but did not answer within {within:.1f} s") from None
            except TimedOut:
                self._is_silent = True
                raise
            except _Stranger as stranger:
                raise self._explained(stranger.first, stranger.detail) from None
            except _Gone as gone:
                _refuse_if_stopping(live)
                if gone.read:
                    raise self._explained(gone.read, f"its reply ends after {len(gone.read)} bytes") from None
                raise self._hung_up(ends) from None

    def close(self) -> None:
        """Hang up, also on those who wait for an answer: they close what they use themselves."""
        with self._lock:
            self._closed = True
            for line in self._lines:
                line.hang_up()
            for line in self._idle:
                line.close()
            self._idle.clear()

    @contextlib.contextmanager
    def _turn(self, live: Live) -> Iterator[None]:
        if not self._turns.acquire(timeout=live.remaining()):
            raise TimedOut(f"{self._server.address} was still busy with other questions when the time was over")
        try:
            _refuse_if_stopping(live)
            yield
        finally:
            self._turns.release()

    def _reply(self, code: int, fields: Mapping[str, str], live: Live, ends: float) -> Command:
        """By a connection that is there or, where that was closed meanwhile, by a new one."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            with contextlib.suppress(_Gone):
                return self._exchanged(kept, code, fields, ends)
        _refuse_if_stopping(live)
        line = _Line(tcp.connected(self._server.address, ends, self._server.encryption()))
        with self._lock:
            if self._closed:
                line.close()
                raise Interrupted("the run was interrupted")
            self._lines.add(line)
        return self._exchanged(line, code, fields, ends)

    def _exchanged(self, line: _Line, code: int, fields: Mapping[str, str], ends: float) -> Command:
        reply = None
        try:
            reply = line.exchange(code, fields, ends)
            self._has_answered = True
            return reply
        finally:
            with self._lock:
                if reply is not None and not self._closed:
                    self._idle.append(line)
                else:
                    self._lines.discard(line)
                    line.close()

    def _explained(self, first: bytes, what: str) -> Malformed | Unsupported:
        hint = _PORTS
        for pattern, kind, advice in _STRANGERS:
            if re.match(pattern, first, re.DOTALL):
                what, hint = kind, advice
                break
        error = Unsupported if hint is _USE_TLS else Malformed
        return error(f"{self._server.address} answers {first[:40]!r}: {what}", hint)

    def _hung_up(self, ends: float) -> Unreachable | Unsupported:
        """Why a connection is closed at the first request. RocketMQ does that where it wants TLS: a handshake tells."""
        address = self._server.address
        if not self._server.tls:
            with contextlib.suppress(ProbeError):
                tcp.connected(address, ends, tcp.Tls(trusts_all=True)).close()
                return Unsupported(f"{address} speaks TLS only", _USE_TLS)
        return Unreachable(f"{address} closes the connection without an answer: it may be no RocketMQ", _PORTS)


def _refuse_if_stopping(live: Live) -> None:
    if live.stopping.is_set():
        raise Interrupted("the run was interrupted")
