"""PostgreSQL: sessions of ours that only read, one for each server and run, as questions with plain answers."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.addresses import look_up
from opsdoc.clients.postgresql_errors import POOLER, Foreign, coded, explained, stranger
from opsdoc.clients.postgresql_line import Failed, Gone, Late, Line, Refused, opened
from opsdoc.clients.postgresql_spent import OURS, SPENT
from opsdoc.clients.postgresql_target import Target
from opsdoc.clients.sql import WITHIN, Refusal, Said, Statement, plain
from opsdoc.model import Interrupted, Malformed, ProbeError, TimedOut, Unreachable, Unsupported
from opsdoc.parsers.sql_text import masked, masked_error

__all__ = ["SESSION", "Ask", "Session", "Target"]

OLDEST = 100_000  # server_version_num of PostgreSQL 10, which named WAL and its functions as they are now
SESSION = "session"  # the name of what each answer tells of our session: `Session`

# It makes the session read only, where the server itself and no pooler answers: there the next one would get it so.
_HELLO = """select pg_backend_pid() as pid, current_setting('server_version_num')::int4 as version_num,
version() as version, current_setting('default_transaction_read_only') as was_read_only,
case when pg_backend_pid() = {pid} then set_config('default_transaction_read_only', 'on', false) end as read_only"""


class Session(NamedTuple):
    """What an answer tells of our own session: all that it said since it began, and how long that took from here.

    `read_only` says whether a session begins so unless it says otherwise, as ours does. `before` is what the server's
    own statistics had of ours when it began, calls and milliseconds; None where it keeps none.
    """

    version_num: int
    version: str
    read_only: bool
    statements: int
    seconds: float
    before: list[float] | None = None


class Ask(NamedTuple):
    """Statements, one after another, in a session that only reads. The answer is `sql.plain(Said)`.

    Beside the rows of each it has one row of `Session`. Errors of single statements are told by name. A server that
    lets nobody in, for all connections are used or it is starting or stopping, says so in `refused`.
    """

    target: Target
    statements: tuple[Statement, ...]
    within: float = WITHIN

    def key(self) -> str:
        return f"postgresql {self.target.address}: {', '.join(statement.name for statement in self.statements)}"

    def answer(self, live: Live) -> dict[str, Any]:
        kept = live.session(("postgresql", self.target), lambda: Kept(self.target), Kept.close)
        return plain(kept.ask(self.statements, live, self.within))


# ── one server ───────────────────────────────────────────────────────────────────────────────────


class Kept:
    """The session that is kept with one server. Whoever has something to ask waits for the turn."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._line: Line | None = None
        self._hello: dict[str, Any] = {}
        self._spent = (0, 0.0)  # statements and seconds of sessions that are over
        self._before: list[float] | None = None
        self._closed = False
        self._is_silent = False

    def ask(self, statements: tuple[Statement, ...], live: Live, within: float) -> Said:
        """The answers, in at most `within` seconds. Raises a ProbeError for what the server does."""
        address = self._target.address
        with self._in_turn(live):
            if self._is_silent:
                raise TimedOut(f"{address} has not answered before, and is not asked again")
            within = min(within, live.remaining())
            ends = time.monotonic() + within
            try:
                return self._asked(statements, live, ends)
            except Late as late:
                self._end_line()
                self._is_silent = True
                raise self._late(str(late), within, live) from None
            except Gone as gone:
                self._end_line()
                _refuse_if_stopping(live)
                raise Unreachable(
                    f"{address} ended our session: {_shown(str(gone), live) or 'without a word'}"
                ) from None
            except BaseException:
                self._end_line()
                raise

    def close(self) -> None:
        """Hang up, also on a thread that waits for an answer: it closes what it uses itself."""
        with self._guard:
            self._closed = True
            if self._line is not None:
                if self._turn.locked():
                    self._line.hang_up()
                else:
                    self._line.close()

    @contextlib.contextmanager
    def _in_turn(self, live: Live) -> Iterator[None]:
        if not self._turn.acquire(timeout=live.remaining()):
            raise TimedOut(f"{self._target.address} was still busy with other questions when the time was over")
        try:
            _refuse_if_stopping(live)
            yield
        finally:
            self._turn.release()

    def _asked(self, statements: tuple[Statement, ...], live: Live, ends: float) -> Said:
        if self._line is not None:
            try:
                return self._said(self._line, statements, live, ends)
            except Gone:  # a restart, or an administrator, ended it since it was used last
                self._end_line()
                _refuse_if_stopping(live)
        try:
            line = opened(self._target.conninfo(self._looked_up(ends, live)), ends, live)
        except Refused as refused:
            meant = explained(self._target.address, live.redactor.text(str(refused)), connected=refused.connected)
            if isinstance(meant, Foreign):
                meant = coded(self._target.address, *self._target.asked_for(), meant, live)
            elif isinstance(meant, Malformed):
                raise stranger(self._target.address, meant, live) from None
            if isinstance(meant, ProbeError):
                raise meant from None
            return Said({}, {}, meant)
        with self._guard:
            if self._closed:
                line.close()
                raise Interrupted("the run was interrupted")
            self._line = line
        is_first = not self._hello
        self._hello = self._greeted(line, live, ends)
        if is_first:
            self._before = _told(line.rows(OURS + SPENT, ends))
        return self._said(line, statements, live, ends)

    def _looked_up(self, ends: float, live: Live) -> dict[str, list[str]]:
        """The addresses of names, of one at least, if there are any: libpq would stop all of us for an answer."""
        found = look_up(self._target.names, ends, live) if self._target.names else {}
        good = {name: told for name, told in found.items() if not isinstance(told, str)}
        _refuse_if_stopping(live)
        if found and not good:
            name, why = next(iter(found.items()))
            kind = Unreachable if time.monotonic() < ends else TimedOut
            raise kind(f"{name}: {why}", f"getent hosts {shlex.quote(name)}")
        return good

    def _greeted(self, line: Line, live: Live, ends: float) -> dict[str, Any]:
        """What it says of itself, once it is known that we speak with a server of PostgreSQL that keeps us harmless."""
        address = self._target.address
        rows = line.rows(OURS + _HELLO.format(pid=line.pid), ends)
        if isinstance(rows, Failed):
            if "SHOW HELP" in rows.text or "pgbouncer" in rows.text:
                raise Unsupported(f"{address} is PgBouncer's console, not a database", POOLER)
            raise Malformed(f"{address} does not say which server it is: {_shown(rows.text, live)}")
        hello = rows[0] if rows else {}
        version = str(hello.get("version"))
        if not isinstance(hello.get("version_num"), int) or "was_read_only" not in hello:
            raise Malformed(f"{address} does not say which server it is")
        if not version.startswith(("PostgreSQL", "EnterpriseDB")) or "Redshift" in version:
            raise Unsupported(f"{address} speaks as PostgreSQL does, but is {live.redactor.text(version)[:60]}")
        if hello.get("pid") != line.pid:
            raise Unsupported(f"a pooler, such as PgBouncer, stands between us and the server at {address}", POOLER)
        if hello["version_num"] < OLDEST:
            raise Unsupported(f"{address} is {version[:20]}: opsdoc knows PostgreSQL 10 and later")
        if hello.get("read_only") != "on":
            raise Unsupported(f"{address} does not make our session read only", POOLER)
        return {**hello, "version": version.split()[1] if version.startswith("PostgreSQL ") else version[:40]}

    def _said(self, line: Line, statements: tuple[Statement, ...], live: Live, ends: float) -> Said:
        rows: dict[str, list[dict[str, Any]]] = {}
        errors: dict[str, Refusal] = {}
        for statement in statements:
            answer = line.rows(OURS + statement.sql, ends)
            if isinstance(answer, Failed):
                errors[statement.name] = Refusal(answer.code[:5], _shown(answer.text, live))
            else:
                rows[statement.name] = [_masked(row, live) for row in answer]
        hello, (before, took) = self._hello, self._spent
        ours = Session(
            version_num=hello["version_num"],
            version=hello["version"],
            read_only=hello["was_read_only"] == "on",
            statements=before + line.statements,
            seconds=round(took + line.seconds, 6),
            before=self._before,
        )
        return Said({**rows, SESSION: [ours._asdict()]}, errors)

    def _end_line(self) -> None:
        with self._guard:
            if self._line is not None:
                self._spent = (self._spent[0] + self._line.statements, self._spent[1] + self._line.seconds)
                self._line.close()
                self._line = None

    def _late(self, what: str, within: float, live: Live) -> ProbeError:
        address = self._target.address
        if "connection" in what:
            return TimedOut(f"{address} does not take a connection within {within:.1f} s", "is a firewall in between?")
        late = TimedOut(
            f"{address} takes connections, but did not answer within {within:.1f} s",
            "it is frozen or overloaded: look at its processes, on its machine",
        )
        return stranger(address, late, live) if not self._hello else late


def _told(answer: list[dict[str, Any]] | Failed) -> list[float] | None:
    """What the server's statistics have of ours; they may be missing, or not loaded."""
    told = answer[0].get("told") if answer and not isinstance(answer, Failed) else None
    return told if isinstance(told, list) else None


def _refuse_if_stopping(live: Live) -> None:
    if live.stopping.is_set():
        raise Interrupted("the run was interrupted")


def _shown(text: str, live: Live) -> str:
    """An error without values of anybody's."""
    return live.redactor.text(masked_error(text))


def _masked(value: Any, live: Live, name: str = "") -> Any:
    """JSON types with their texts masked; a statement, which stands under the name `query`, also of its values."""
    if isinstance(value, str):
        return live.redactor.text(masked(value, product="postgresql") if name == "query" else value)
    if isinstance(value, list):
        return [_masked(item, live) for item in value]
    if isinstance(value, dict):
        return {name: _masked(item, live, name) for name, item in value.items()}
    return value
