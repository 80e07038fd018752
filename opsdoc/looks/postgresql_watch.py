"""PostgreSQL servers at both ends of a window: what each said to the statements that it was asked."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from opsdoc.clients.postgresql import SESSION, Ask, Session, Target
from opsdoc.clients.sql import Refusal, Said, Statement, said
from opsdoc.host import Answer, Host
from opsdoc.looks.db_outside import seen_from_outside
from opsdoc.model import ProbeError, TimedOut, Unreachable
from opsdoc.signals.contention_facts import DbNode


class Look(NamedTuple):
    """What a server said, and when the last of it had come (seconds since the run began)."""

    at: float
    said: Said

    def rows(self, statement: Statement) -> list[dict[str, Any]] | None:
        """The rows of a statement; None where there is no answer to it."""
        return self.said.rows.get(statement.name)

    def row(self, statement: Statement) -> dict[str, Any] | None:
        """Its one row; None where there is none."""
        rows = self.rows(statement)
        return rows[0] if rows else None

    def error(self, statement: Statement) -> Refusal | None:
        """The server's error on it."""
        return self.said.errors.get(statement.name)


@dataclass(slots=True, eq=False, repr=False)
class Watched:
    """One server: its looks, and why it did not answer, or not any more.

    `outside` is what its machine shows of one that lets nobody in, where that is this machine.
    """

    target: Target
    looks: list[Look] = field(default_factory=list)
    error: ProbeError | None = None
    outside: DbNode | None = None

    @property
    def name(self) -> str:
        """What it is called everywhere."""
        return self.target.address

    @property
    def refused(self) -> Refusal | None:
        """Why it lets nobody in, although it is there."""
        return next((look.said.refused for look in self.looks if look.said.refused), None)

    @property
    def answers(self) -> bool:
        """Whether there is anything that it said of itself."""
        return any(look.said.refused is None for look in self.looks)

    @property
    def is_dead(self) -> bool:
        """Whether it does not answer; one that wants a password, or is none, does."""
        return isinstance(self.error, Unreachable | TimedOut)

    @property
    def told(self) -> list[Look]:
        """The looks at which it let us in: none, one, or one at each end of the window."""
        return [look for look in self.looks if look.said.refused is None]

    @property
    def session(self) -> Session | None:
        """Our own session, as it was at the last look; None where there was none."""
        rows = self.told[-1].said.rows.get(SESSION) if self.told else None
        return Session(**rows[0]) if rows else None

    @property
    def version_num(self) -> int:
        """Such as 150018; 0 where it let nobody in."""
        return self.session.version_num if self.session else 0

    def by_hand(self, sql: str, database: str = "") -> str:
        """A command line that asks it the same; psql takes the password from where libpq finds it."""
        return f"psql {shlex.quote(_conninfo(self.name, database))} -c {shlex.quote(' '.join(sql.split()))}"


class Seen(NamedTuple):
    """All servers, and why there is no look at the end of the window where there is none."""

    watched: list[Watched]
    cut_short: ProbeError | None = None


def watch(
    host: Host,
    targets: Sequence[Target],
    window: float,
    first: Sequence[Statement],
    last: Sequence[Statement] | None = None,
) -> Seen:
    """Ask servers `first` before and `last`, or the same, after the window; with a window of 0 `last` alone.

    One that does not answer has time for that beside the window. Raises the ProbeError of the one that was named, where
    there is no other and it does not answer.
    """
    watched = [Watched(target) for target in dict.fromkeys(targets)]
    last = first if last is None else last
    _look_at(host, watched, first if window else last)
    if len(watched) == 1 and watched[0].error is not None:
        raise watched[0].error
    alive = [one for one in watched if one.answers]
    for one in watched:
        if one.refused is not None or one.is_dead:
            one.outside = seen_from_outside(host, one.name, "postgresql")
    if not window or not alive:
        return Seen(watched)
    began = max(one.looks[0].at for one in alive)
    try:
        host.sleep(max(0.0, window - (host.now() - began)))
    except ProbeError as error:
        return Seen(watched, error)  # what was seen until now is told
    _look_at(host, alive, last)
    return Seen(watched)


def _look_at(host: Host, watched: Sequence[Watched], statements: Sequence[Statement]) -> None:
    asked = [Ask(one.target, tuple(statements)) for one in watched]
    for one, answer in zip(watched, host.gather(asked), strict=True):
        if isinstance(answer, Answer):
            one.looks.append(Look(answer.at + answer.took, said(answer.value)))
        else:
            one.error = answer


def _conninfo(address: str, database: str) -> str:
    """The address as psql takes it, without who asks."""
    if address.startswith("unix:"):
        folder, _, port = address.removeprefix("unix:").rpartition(":")
        words = f"host={folder} port={port}"
    elif address.startswith("service="):
        words = address
    else:
        return f"postgresql://{address}/{quote(database, safe='')}"
    return f"{words} dbname={_quoted(database)}" if database else words


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
