"""MySQL and MariaDB through PyMySQL: statements that only read, over one connection a server, in time or not at all.

The session is read only and named `opsdoc`, and the server bounds each statement and each wait for a lock. PyMySQL
bounds single reads only: a timer shuts the socket down when the whole talk has taken too long.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients import mysql_driver as driver
from opsdoc.clients.mysql_dial import context, dialled, greeting
from opsdoc.clients.mysql_driver import ClearText, Connection, Lost
from opsdoc.clients.mysql_errors import LOST, by_driver, not_let_in
from opsdoc.clients.mysql_target import Place, Target
from opsdoc.clients.sql import WITHIN, Refusal, Said, Statement, plain
from opsdoc.model import Interrupted, ProbeError, TimedOut, Unreachable, Unsupported

SESSION = "session"  # the name of what each answer tells of our session: `Session`


class Session(NamedTuple):
    """What an answer tells of our own session: all that it said since it began, and how long that took from here."""

    id: int
    version: str
    statements: int
    seconds: float


class Ask(NamedTuple):
    """Statements, asked one after the other. The answer is `sql.plain(Said)`.

    Beside the rows of each it has one row of `Session`. Errors of single statements are told by name. A server that
    lets nobody in, for all connections are used or it is stopping, says so in `refused`. Rows are
    {column: JSON value}; columns named `statement`, `Info` or `Last_SQL_Error` lose the values in them. Raises the
    ProbeError of a server that is not there, does not answer, or does not let us in.
    """

    target: Target
    statements: tuple[Statement, ...]
    within: float = WITHIN

    def key(self) -> str:
        return f"mysql {self.target.address}: {', '.join(statement.name for statement in self.statements)}"

    def answer(self, live: Live) -> dict[str, Any]:
        kept = live.session(("mysql", self.target), lambda: _Kept(self.target), _Kept.close)
        return plain(kept.ask(self.statements, live, self.within))


class _Full(Exception):
    """The server is there and lets us in not."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


# ── a server ─────────────────────────────────────────────────────────────────────────────────────


class _Kept:
    """The connection that is kept to one server. Whoever has something to ask waits for the turn."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._connection: Connection | None = None
        self._wire: socket.socket | None = None  # the same socket, for whoever hangs up
        self._closed = False
        self._spent = (0, 0.0)  # statements, and the seconds until their answers
        self._failed: ProbeError | None = None  # who did not let us in, or never answered, is not asked again

    def ask(self, statements: tuple[Statement, ...], live: Live, within: float) -> Said:
        """What the server says, in at most `within` seconds from when it is its turn."""
        if not self._turn.acquire(timeout=live.remaining()):
            raise TimedOut(f"{self._target} was still busy with other questions when the time was over")
        try:
            if self._failed is not None:
                raise type(self._failed)(self._failed.detail, self._failed.hint)
            within = min(within, live.remaining())
            try:
                return self._said(statements, live, time.monotonic() + within)
            except _Full as full:
                return Said({}, {}, full.refusal)
            except _Late:
                late = TimedOut(
                    f"{self._target} takes connections, but did not answer within {within:.1f} s",
                    "it is frozen or overloaded: look at its process, on its machine",
                )
                self._failed = late
                raise late from None
            except Interrupted:
                raise
            except ProbeError as error:
                self._failed = error
                raise
        finally:
            self._turn.release()

    def close(self) -> None:
        """Say goodbye; hang up on a thread that waits for an answer, which closes what it uses itself."""
        with self._guard:
            self._closed = True
            if self._turn.locked():
                self._hang_up()
            elif self._connection is not None:
                self._drop(self._connection)

    def _said(self, statements: tuple[Statement, ...], live: Live, ends: float) -> Said:
        if self._connection is not None:
            with contextlib.suppress(Lost):  # such as by the server's `wait_timeout`
                return self._asked(self._connection, statements, live, ends)
        try:
            return self._asked(self._opened(live, ends), statements, live, ends)
        except Lost as lost:
            raise Unreachable(f"{self._target} closes the connection ({lost})", "look into its error log") from None

    def _asked(self, connection: Connection, statements: tuple[Statement, ...], live: Live, ends: float) -> Said:
        said = Said({}, {})
        try:
            with self._in_time(ends, live):
                for statement in statements:
                    began = time.monotonic()
                    answer = driver.answer(connection, statement.sql, live)
                    self._spent = self._spent[0] + 1, self._spent[1] + time.monotonic() - began
                    if isinstance(answer, Refusal):
                        said.errors[statement.name] = answer
                    else:
                        said.rows[statement.name] = answer
        except BaseException:
            with self._guard:  # a late answer would be taken for another's
                self._drop(connection)
            raise
        session = Session(
            connection.thread_id(), driver.version_of(connection), self._spent[0], round(self._spent[1], 6)
        )
        said.rows[SESSION] = [session._asdict()]
        return said

    @contextlib.contextmanager
    def _in_time(self, ends: float, live: Live) -> Iterator[None]:
        """Hang up when it takes too long, and tell that from a server that hung up."""
        rang = threading.Event()

        def ring() -> None:
            rang.set()
            with self._guard:
                self._hang_up()

        timer = threading.Timer(max(0.0, ends - time.monotonic()), ring)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception:
            if live.stopping.is_set() or self._closed:
                raise Interrupted("the run was interrupted") from None
            if rang.is_set():
                raise _Late from None
            raise
        finally:
            timer.cancel()

    def _opened(self, live: Live, ends: float) -> Connection:
        driver.check()
        place = self._target.place()
        made = dialled(place.address, ends, live)
        with self._guard:
            if self._closed:
                made.close()
                raise Interrupted("the run was interrupted")
            self._wire = made.dup()
        try:
            with self._in_time(ends, live):
                connection = self._logged_in(made, place, ends, live)
        except BaseException:
            made.close()
            with self._guard:
                self._drop(None)
            raise
        with self._guard:
            self._connection = connection
        return connection

    def _logged_in(self, made: socket.socket, place: Place, ends: float, live: Live) -> Connection:
        address, mask = self._target.address, live.redactor.text
        first = greeting(made, place.address, ends, live)
        if first.number:
            raise _refused(address, first.number, first.text, mask, tls=False)
        tls = context(place, offered=first.takes_tls)
        made.setblocking(True)
        connection, errors = driver.unconnected(place, tls)
        try:
            connection.connect(sock=made)
            self._spent = self._spent[0] + driver.prepare(connection), self._spent[1]
        except ProbeError:
            raise
        except ClearText:
            what = f"{address} asks for the password as it is, over a line that is not trusted"
            raise Unsupported(what, "use TLS with --tls-ca FILE, or a unix socket") from None
        except Exception as error:  # noqa: BLE001 - a hostile server makes the driver raise anything
            if (
                isinstance(error, errors)
                and driver.number_of(error) not in LOST
                and not hasattr(error, "original_exception")
            ):
                raise _refused(
                    address, driver.number_of(error), driver.text_of(error), mask, tls=tls is not None
                ) from None
            raise by_driver(address, error) from None
        return connection

    def _hang_up(self) -> None:
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)

    def _drop(self, connection: Connection | None) -> None:
        if connection is not None:
            with contextlib.suppress(Exception):  # the driver raises its own when it is closed already
                connection.close()
        if self._wire is not None:
            self._wire.close()
        self._connection = self._wire = None


class _Late(Exception):
    """It took too long."""


def _refused(address: str, number: int, text: str, mask: Callable[[str], str], *, tls: bool) -> Exception:
    meaning = not_let_in(address, number, text, mask, tls=tls)
    return _Full(meaning) if isinstance(meaning, Refusal) else meaning
