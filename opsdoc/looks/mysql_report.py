"""All that was seen of MySQL and MariaDB servers, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opsdoc.clients.mysql import Ask
from opsdoc.clients.mysql_target import Target
from opsdoc.clients.sql import Refusal, Statement, said
from opsdoc.host import Answer, Host
from opsdoc.looks import mysql_contention as contention
from opsdoc.looks import mysql_statements as statements
from opsdoc.looks.mysql_contention_sql import SESSIONS
from opsdoc.looks.mysql_lag import lags
from opsdoc.looks.mysql_pairs import Link, Server, links
from opsdoc.looks.mysql_sides import side
from opsdoc.looks.mysql_watch import Look, Seen, Watched, watch
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.signals.contention_facts import LockChain

Item = Observation | Unseen | Total | Window
Places = Mapping[str, str]  # the schema of a table of heartbeats, by the name of the server


def look(host: Host, targets: Sequence[Target], window: float) -> Seen:
    """Ask all servers at both ends of the window, tables of heartbeats included."""
    places = _places(host, targets)

    def first(one: Watched) -> tuple[Statement, ...]:
        return statements.first(one.version, places.get(one.name), mariadb=one.mariadb)

    def last(one: Watched) -> tuple[Statement, ...]:
        return statements.last(one.version, places.get(one.name), mariadb=one.mariadb)

    return watch(host, targets, window, (first, contention.first), (last, contention.last))


def _places(host: Host, targets: Sequence[Target]) -> Places:
    """Where a table of heartbeats is. Of whoever does not answer the watch tells."""
    different = list(dict.fromkeys(targets))
    answers = host.gather([Ask(target, (statements.TABLES,)) for target in different])
    found = {}
    for target, answer in zip(different, answers, strict=True):
        rows = said(answer.value).rows.get(statements.TABLES.name, []) if isinstance(answer, Answer) else []
        if rows and isinstance(place := rows[0].get("place"), str):
            found[target.address] = place
    return found


def items(seen: Seen, rows: int, writer: str | None = None) -> Iterator[Item]:
    """Replicas by channel, then servers and what holds them.

    What is judged is never cut; `rows` is for hot statements. `writer` is the address of the server that is meant to
    take writes.
    """
    watched = seen.watched
    servers = [_server(one, one.last) for one in watched if one.last is not None]
    found = links(servers, {one.name: _why(one) for one in watched if not one.answers})
    held = list(contention.items(watched, rows, writer))
    if ends := [server.last.at - server.first.at for server in servers if server.first is not None]:
        yield Window(round(max(ends), 3))
    yield from lags(servers, found, [item for item in held if isinstance(item, LockChain)])
    yield from held
    if seen.cut_short is not None:
        yield seen.cut_short.unseen("the end of the window")
    for one in watched:
        yield from _unseen(one, found)


def _server(one: Watched, now: Look) -> Server:
    sessions = now.rows(SESSIONS)
    dumps = tuple(str(row.get("host")) for row in sessions if str(row.get("command")).startswith("Binlog Dump"))
    first = None if one.first is None else side(one.first.at, one.first.said, mariadb=one.mariadb)
    last = side(now.at, now.said, mariadb=one.mariadb, dumps=dumps)
    return Server(one.name, first, last, one.mariadb, one.version, one.client)


def _why(one: Watched) -> str:
    if one.error is not None:
        return one.error.detail
    return "" if one.refused is None else one.refused.text


def _unseen(one: Watched, found: Sequence[Link]) -> Iterator[Unseen]:
    """What a server did not tell of replication, with what would make it."""
    now = one.last
    if now is None:
        return
    if (why := now.error(statements.REPLICA)) is not None:
        right = "REPLICA MONITOR" if one.mariadb else "REPLICATION CLIENT"
        yield _refused(one, now, why, "state of replication", right)
    if now.rows(statements.REPLICA) and (why := now.error(statements.LINKS)) is not None:
        yield _refused(one, now, why, "times of replication", "SELECT", "performance_schema.*")
    is_source = any(link.source is not None and link.source.name == one.name for link in found)
    if is_source and (why := now.error(statements.BINLOGS)) is not None and why.code in contention.DENIED:
        right = "BINLOG MONITOR" if one.mariadb else "REPLICATION CLIENT"
        yield _refused(one, now, why, "length of its binary log", right)


def _refused(one: Watched, look: Look, why: Refusal, what: str, right: str, on: str = "*.*") -> Unseen:
    denied = why.code in contention.DENIED
    hint = f"on {one.name}: GRANT {right} ON {on} TO {_account(one, look)}" if denied else ""
    return Unseen(f"{what} of {one.name}", "denied" if denied else "unsupported", why.text, hint)


def _account(one: Watched, look: Look) -> str:
    """Ours as the server names it: `'opsdoc'@'%'`."""
    rows = look.rows(SESSIONS)
    user, at, machine = str(rows[0].get("account") if rows else one.target.login.user or "opsdoc").rpartition("@")
    return f"'{user}'@'{machine}'" if at else f"'{machine}'@'%'"
