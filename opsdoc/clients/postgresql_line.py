"""One session of PostgreSQL through libpq, which we drive ourselves: every wait ends, and what comes is bounded.

psycopg's own connections wait for frozen servers and for endless rows. Its `pq`, which is libpq as it is, waits for
nothing but names, which are looked up before, and for what a login may need, such as a Kerberos server; so that is
done in a thread that is waited for from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.sql import MOST_ROWS
from opsdoc.model import Interrupted, Malformed, Unsupported

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

TICK = 0.1  # seconds after which who waits looks whether the run is being stopped
KEPT = 64 << 10  # bytes that the kernel keeps for us
MOST_BYTES = 16 << 20  # of the answer to one statement; ours take kilobytes
SILENT = "it did not answer"

_RECEIVED = 128  # where tcpi_bytes_received is in struct tcp_info (linux/tcp.h, since 4.1)

_TRUTH, _JSON = (16,), (114, 3802)  # type ids: pg_type.dat
_WHOLE, _REAL, _WHOLES = (20, 21, 23, 26, 28), (700, 701, 1700), (1005, 1007, 1016, 1028)


class Gone(Exception):
    """The server closed the connection; the text is its last words."""


class Refused(Exception):
    """No session was made; the text is libpq's, and `connected` says whether anybody took the connection."""

    def __init__(self, text: str, *, connected: bool) -> None:
        super().__init__(text)
        self.connected = connected


class Late(Exception):
    """It was not there in time; the text says what was waited for."""


class Failed(NamedTuple):
    """The server's error on a statement."""

    code: str
    text: str


def driver() -> Any:
    """The module that is libpq. Raises Unsupported."""
    try:
        from psycopg import pq
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("psycopg")
        detail = "the driver for PostgreSQL is not installed" if missing else f"psycopg cannot be used: {error}"
        raise Unsupported(detail, f"{sys.executable} -m pip install 'opsdoc[postgresql]'") from None
    return pq


class Line:
    """A session that is open; of one thread at a time.

    libpq goes on to read for as long as more is there, and nothing else runs meanwhile. So the kernel keeps little for
    us: whoever sends without end is then seen to do so.
    """

    def __init__(self, connection: PGconn, live: Live) -> None:
        self._connection = connection
        self._live = live
        self._socket = socket.socket(fileno=os.dup(connection.socket))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT)
        self.seconds = 0.0  # that statements took, as seen from here
        self.statements = 0

    @property
    def pid(self) -> int:
        """The process that serves us, as was told when we logged in."""
        return self._connection.backend_pid

    def rows(self, sql: str, ends: float) -> list[dict[str, Any]] | Failed:
        """The rows of a statement. Raises Late, Gone, or Malformed for more than anybody asked for."""
        began = time.monotonic()
        self.statements += 1
        try:
            return self._rows(sql, ends)
        finally:
            self.seconds += time.monotonic() - began

    def hang_up(self) -> None:
        """Wake whoever waits; from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye; it waits for nothing."""
        self._connection.finish()
        self._socket.close()

    def _came(self) -> int:
        """The bytes that came so far, as TCP counts them; of a unix socket they are not known."""
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED + 8)
            return int(struct.unpack_from("=Q", told, _RECEIVED)[0])
        except (OSError, struct.error):
            return 0

    def _rows(self, sql: str, ends: float) -> list[dict[str, Any]] | Failed:
        pq = driver()
        connection, found, failed = self._connection, [], None
        try:
            connection.send_query(sql.encode())
            connection.set_single_row_mode()
            while connection.flush():
                _wait(connection.socket, select.POLLOUT, ends, self._live)
            for result in self._results(ends):
                status = result.status
                if status in (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK):
                    found += _records(result)
                elif status == pq.ExecStatus.FATAL_ERROR:
                    failed = _failed(result, pq)
                elif status != pq.ExecStatus.COMMAND_OK:
                    raise Malformed(f"an answer that nobody asked for: {status.name}")
                if len(found) > MOST_ROWS:
                    raise Malformed(f"more than {MOST_ROWS} rows in the answer to one statement")
        except _errors() as error:
            raise Gone(str(error)) from None
        if connection.status == pq.ConnStatus.BAD:
            raise Gone(failed.text if failed else "")
        return failed or found

    def _results(self, ends: float) -> Iterator[Any]:
        connection, most = self._connection, self._came() + MOST_BYTES
        while True:
            while connection.is_busy():
                _wait(connection.socket, select.POLLIN, ends, self._live)
                if self._came() > most:
                    raise Malformed(f"more than {MOST_BYTES >> 20} MiB in the answer to one statement")
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                return
            yield result


def opened(conninfo: str, ends: float, live: Live) -> Line:
    """A session by libpq's connection string. Raises Refused, Late, Interrupted or Unsupported."""
    driver()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    progress = ["it does not take a connection"]
    given_up = threading.Event()

    def dial() -> None:
        try:
            connection = _dialled(conninfo, ends, live, progress)
        except Exception as error:  # noqa: BLE001 - raised below
            answers.put(error)
            return
        answers.put(connection)
        if given_up.is_set():
            connection.finish()

    threading.Thread(target=dial, daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, ends + TICK - time.monotonic()))
    except queue.Empty:
        given_up.set()
        raise Late(progress[0]) from None
    if isinstance(answer, Exception):
        raise answer
    return Line(answer, live)


def _dialled(conninfo: str, ends: float, live: Live, progress: list[str]) -> PGconn:
    pq = driver()
    connected = False
    try:
        connection: PGconn = pq.PGconn.connect_start(conninfo.encode())
    except _errors() as error:
        raise Refused(str(error), connected=False) from None
    try:
        connection.notice_handler = None
        while True:
            state = connection.connect_poll() if connection.status != pq.ConnStatus.BAD else pq.PollingStatus.FAILED
            connected = connected or connection.status not in (pq.ConnStatus.STARTED, pq.ConnStatus.BAD)
            progress[0] = SILENT if connected else "it does not take a connection"
            if state == pq.PollingStatus.OK:
                connection.nonblocking = 1
                return connection
            if state == pq.PollingStatus.FAILED:
                raise Refused(connection.error_message.decode(errors="replace"), connected=connected)
            event = select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT
            _wait(connection.socket, event, ends, live, progress[0])
    except BaseException as error:
        connection.finish()
        if isinstance(error, _errors()):
            raise Refused(str(error), connected=connected) from None
        raise


def _errors() -> type[Exception]:
    from psycopg import Error

    return Error


def _wait(descriptor: int, event: int, ends: float, live: Live, for_what: str = SILENT) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    while True:
        if live.stopping.is_set():
            raise Interrupted("the run was interrupted")
        left = ends - time.monotonic()
        if left <= 0:
            raise Late(for_what)
        if poller.poll(max(1, int(min(left, TICK) * 1000))):
            return


# ── what came ────────────────────────────────────────────────────────────────────────────────────


def _records(result: PGresult) -> list[dict[str, Any]]:
    columns = [
        ((result.fname(n) or b"").decode(errors="replace"), _CONVERTERS.get(result.ftype(n), _text))
        for n in range(result.nfields)
    ]
    return [
        {name: _converted(result.get_value(row, n), convert) for n, (name, convert) in enumerate(columns)}
        for row in range(result.ntuples)
    ]


def _converted(value: bytes | None, convert: Callable[[bytes], Any]) -> Any:
    if value is None:
        return None
    try:
        return convert(value)
    except (ValueError, RecursionError):  # it is not what its type says
        return _text(value)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _real(value: bytes) -> float | None:
    number = float(value)
    return number if number - number == 0 else None  # JSON knows neither infinity nor NaN


_CONVERTERS: Mapping[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(_TRUTH, b"t".__eq__),
    **dict.fromkeys(_WHOLE, int),
    **dict.fromkeys(_REAL, _real),
    **dict.fromkeys(_JSON, json.loads),
    **dict.fromkeys(_WHOLES, lambda value: [int(item) for item in value.strip(b"{}").split(b",") if item]),
}


def _failed(result: PGresult, pq: Any) -> Failed:
    code, text = (
        (result.error_field(field) or b"").decode(errors="replace")
        for field in (pq.DiagnosticField.SQLSTATE, pq.DiagnosticField.MESSAGE_PRIMARY)
    )
    return Failed(code, text or result.error_message.decode(errors="replace"))
