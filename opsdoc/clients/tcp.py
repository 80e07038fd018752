"""TCP connections that are there in time or not at all: names resolved, connected, and TLS shaken hands on."""

from __future__ import annotations

import queue
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opsdoc.model import Malformed, TimedOut, Unreachable, UsageError

if TYPE_CHECKING:
    import ssl

CONNECT = 2.0  # seconds for the name and the connection: a LAN takes milliseconds, a lost SYN is sent again after 1 s

_HARMLESS = re.compile(r"[\w.:][\w.:-]{0,254}", re.ASCII)  # in a command that people paste


class Tls(NamedTuple):
    """How the other side is known: by a file of authorities (None: those of the system), and by its name.

    `trusts_all` is for asking whether TLS is spoken at all, never for what is said over it.
    """

    ca: Path | None = None
    checks_name: bool = True
    trusts_all: bool = False


def place(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[::1]:port`. Raises Malformed: addresses come from other servers, too."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or re.fullmatch(r"\d{1,5}", port, re.ASCII) is None or not 0 < int(port) < 1 << 16:
        raise Malformed(f"not an address: {address!r:.80}", "an address is HOST:PORT")
    return host, int(port)


def connected(address: str, ends: float, tls: Tls | None = None) -> socket.socket:
    """A connection, made before `ends` (of time.monotonic()) and, but for TLS, within CONNECT seconds.

    Raises Unreachable, TimedOut, or Malformed where TLS is not spoken; UsageError for a file of authorities.
    """
    host, port = place(address)
    context = None if tls is None else _context(tls)
    connection = _dialled(host, port, min(ends, time.monotonic() + CONNECT))
    if context is None:
        return connection
    try:
        connection.settimeout(max(0.001, ends - time.monotonic()))
        return context.wrap_socket(connection, server_hostname=host)
    except (OSError, ValueError) as error:  # ValueError: a host that can be no name
        connection.close()
        raise _without_tls(address, error) from None


def _dialled(host: str, port: int, ends: float) -> socket.socket:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    hint = f"nc -vz {host} {port}" if _HARMLESS.fullmatch(host) else ""
    problem: OSError | None = None
    for family, kind, protocol, _, aim in _resolved(host, port, ends):
        left = ends - time.monotonic()
        if left <= 0:
            break
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left)
            connection.connect(aim)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    if problem is None or isinstance(problem, TimeoutError):
        raise TimedOut(f"{address} does not take a connection in time", hint)
    raise Unreachable(f"{address}: {problem.strerror or problem}", hint)


def _resolved(host: str, port: int, ends: float) -> list[Any]:
    """The addresses of a host. The resolver knows no deadline, so that it is waited for from outside."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, ValueError) as error:  # ValueError: a host that can be no name
            answers.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, ends - time.monotonic()))
    except queue.Empty:
        raise TimedOut(f"{host}: the name was not resolved in time") from None
    if isinstance(answer, Exception):
        why = getattr(answer, "strerror", None) or "no such name"
        raise Unreachable(f"{host}: {why}", f"getent hosts {host}" if _HARMLESS.fullmatch(host) else "")
    return answer


def _context(tls: Tls) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot read authorities from {tls.ca}: {error.strerror or error}") from None
    context.check_hostname = tls.checks_name and not tls.trusts_all
    context.verify_mode = ssl.CERT_NONE if tls.trusts_all else ssl.CERT_REQUIRED
    return context


def _without_tls(address: str, error: Exception) -> TimedOut | Unreachable | Malformed:
    """What a TLS handshake that failed means."""
    import ssl

    if isinstance(error, TimeoutError):
        return TimedOut(f"{address} does not answer the TLS handshake", "if it speaks no TLS, leave --tls out")
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "name the authority that signed it: --tls-ca FILE"
        return Unreachable(f"{address}: its certificate is not trusted: {error.verify_message}", hint)
    reason = error.reason if isinstance(error, ssl.SSLError) else "the connection was closed"
    return Malformed(f"{address} does not speak TLS: {reason}", "if it speaks no TLS, leave --tls out")
