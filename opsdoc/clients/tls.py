"""TLS to see whether a server answers, not who it is: handshakes that do not block, their failures in words."""

from __future__ import annotations

import re
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl import SSLContext, SSLSocket


class Failed(Exception):
    """A handshake that the server, or we, gave up; the text says why."""


def unverified() -> SSLContext:
    """A context that verifies nobody, as nginx by default."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def is_name(name: str) -> bool:
    """Whether a name can stand in a TLS handshake."""
    try:
        return re.fullmatch(rb"[!-~]{1,255}", name.encode("idna")) is not None
    except UnicodeError:  # an empty label, or one that is too long
        return False


def awaits(error: OSError) -> int | None:
    """The event that a connection waits for, by the error it gave; None where that is another."""
    import ssl

    if isinstance(error, ssl.SSLWantReadError):
        return selectors.EVENT_READ
    return selectors.EVENT_WRITE if isinstance(error, ssl.SSLWantWriteError) else None


def is_end(error: OSError) -> bool:
    """Whether an error is the end of what the server sends."""
    import ssl

    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def handshake(connection: SSLSocket) -> int | None:
    """Go on with a handshake: for which event to wait; None when it is done. Raises Failed, or another OSError."""
    import ssl

    try:
        connection.do_handshake()
    except ssl.SSLError as error:
        event = awaits(error)
        if event is None:
            closed = "the connection was closed during the handshake"
            raise Failed(closed if is_end(error) else _in_words(error.reason or str(error))) from None
        return event
    return None


_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS, or no version that we do",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "HTTP_REQUEST": "it does not speak TLS, but HTTP",
    "TLSV1_UNRECOGNIZED_NAME": "it knows no site of that name (SNI)",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that we do",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that we do",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it found no cipher or version in common, or wants a certificate of ours",
}


def _in_words(reason: str) -> str:
    return _REASONS.get(reason, reason.lower().replace("_", " "))
