"""Rows of MySQL and MariaDB servers as sessions, transactions and ids of prepared ones, whatever form they come in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

APPLIER = "system user"
IDLE = "idle in transaction"
MOST_GID = 200  # characters
MOST = 1e19  # of any number that a server tells

_METADATA_WAIT = re.compile(r"Waiting for (?:.*metadata lock|table flush|table level lock|.*read lock|backup lock)")
_COMMIT_WAIT = re.compile(r"Waiting for semi-?sync ACK", re.IGNORECASE)

Row = Mapping[str, Any]


class Transaction(NamedTuple):
    """An open transaction of InnoDB; `session` is 0 or below where there is none, which is so for prepared ones."""

    id: str
    session: int
    open: float | None
    waits: float | None
    locked: int | None
    modified: int | None
    state: str


class Prepared(NamedTuple):
    """A transaction that XA RECOVER lists: its id as SQL has it."""

    gid: str


class Client(NamedTuple):
    """A session as the list of them has it."""

    id: int
    user: str
    host: str
    database: str
    command: str
    state: str
    seconds: float | None
    statement: str

    @property
    def is_applier(self) -> bool:
        """Whether it applies replication, or fetches for it."""
        return self.user == APPLIER

    @property
    def waits_for_metadata(self) -> bool:
        """Whether it waits for a lock on a table as a whole."""
        return _METADATA_WAIT.match(self.state) is not None

    @property
    def waits_for_replica(self) -> bool:
        """Whether its commit waits for a replica."""
        return _COMMIT_WAIT.match(self.state) is not None


def client_of(row: Row) -> Client:
    """A session, with its machine instead of the port that it came from."""
    host = text_of(row, "host")
    return Client(
        id=whole(row.get("id")) or 0,
        user=text_of(row, "user"),
        host=host.rpartition(":")[0] or host,
        database=text_of(row, "db"),
        command=text_of(row, "command"),
        state=text_of(row, "state"),
        seconds=number(row.get("seconds")),
        statement=text_of(row, "statement"),
    )


def transactions_of(rows: Sequence[Row]) -> tuple[Transaction, ...]:
    """The transactions; those without a session get 0, -1 and so on, so that they can be told apart."""
    found: list[Transaction] = []
    without = 0
    for row in rows:
        if row.get("counter") is not None:
            continue
        session = whole(row.get("session")) or 0
        if session == 0:
            session, without = -without, without + 1
        found.append(
            Transaction(
                text_of(row, "trx"),
                session,
                number(row.get("open_for")),
                number(row.get("waits_for")),
                whole(row.get("locked")),
                whole(row.get("modified")),
                text_of(row, "state"),
            )
        )
    return tuple(found)


def gid_of(row: Row) -> str:
    """The id as `XA COMMIT` takes it. MariaDB writes it so; MySQL tells bytes in hex and the lengths of the parts."""
    data = text_of(row, "data")
    if not data.startswith("0x"):
        return data[:MOST_GID]
    parts, at = [], 2
    for name in ("gtrid_length", "bqual_length"):
        size = 2 * (whole(row.get(name)) or 0)
        parts.append(_quoted(data[at : at + size]))
        at += size
    form = whole(row.get("formatID"))
    return ",".join(
        [parts[0], *([parts[1]] if parts[1] != "''" or form != 1 else []), *([str(form)] if form != 1 else [])]
    )


def _quoted(code: str) -> str:
    try:
        text = bytes.fromhex(code).decode("ascii")
    except ValueError:
        return f"X'{code[:MOST_GID]}'"
    plain = text.isprintable() and not set("'\\") & set(text)
    return f"'{text[:MOST_GID]}'" if plain else f"X'{code[:MOST_GID]}'"


def object_of(row: Row) -> str:
    """`app.orders`, without the quotation marks that InnoDB puts around names."""
    return text_of(row, "object").removeprefix("TABLE.").replace("`", "")


def mode_of(row: Row) -> str:
    """The lock on a row that is wanted, such as `row lock X`."""
    return f"row lock {text_of(row, 'mode')}".strip()


def text_of(row: Row, name: str) -> str:
    """A column as text; empty for NULL."""
    value = row.get(name)
    return "" if value is None else str(value)


def whole(value: object) -> int | None:
    """A count, also where it comes as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if abs(value) < MOST else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) else None


def number(value: object) -> float | None:
    """Seconds, never below 0: what lies ahead by a clock that was set back is now."""
    return max(0.0, float(value)) if isinstance(value, int | float) and abs(value) < MOST else None


def state_of(client: Client, mine: Transaction | None) -> str:
    """What a session does, in the words that people know."""
    if client.command == "Sleep":
        return IDLE if mine is not None else "idle"
    if client.waits_for_metadata or client.waits_for_replica:
        return client.state
    if mine is not None and mine.waits is not None:
        return "Waiting for a row lock"
    return client.state or client.command.lower() or "active"
