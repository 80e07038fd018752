"""Sets of global transaction ids, MySQL's and MariaDB's: how many of one are not in the other.

A set of MySQL names all transactions, `uuid:1-5:7,uuid:tag:1-3` (tags since 8.3), so that differences are exact. A
position of MariaDB, `domain-server-sequence` for each domain, names only the last ones; sequences of a domain are one
after the other wherever nobody skips some, so that differences are those of sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from opsdoc.model import Malformed

LENGTH_CAP = 1 << 20  # characters: a set with 10,000 gaps is 200,000
NUMBER_CAP = 20  # digits: sequences have 64 bits

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}", re.IGNORECASE | re.ASCII)
_RANGE = re.compile(rf"([0-9]{{1,{NUMBER_CAP}}})(?:-([0-9]{{1,{NUMBER_CAP}}}))?", re.ASCII)
_ID = re.compile(rf"([0-9]{{1,10}})-([0-9]{{1,10}})-([0-9]{{1,{NUMBER_CAP}}})", re.ASCII)

Ranges = tuple[tuple[int, int], ...]


class Executed(NamedTuple):
    """A set of MySQL: by source, `uuid` or `uuid:tag`, the numbers in it as ranges, both ends included, in order."""

    ranges: Mapping[str, Ranges]

    @property
    def size(self) -> int:
        """How many transactions it has."""
        return sum(last - first + 1 for ranges in self.ranges.values() for first, last in ranges)

    def without(self, other: Executed) -> Executed:
        """Those of its transactions that are not in the other."""
        left = {name: _less(ranges, other.ranges.get(name, ())) for name, ranges in self.ranges.items()}
        return Executed({name: ranges for name, ranges in left.items() if ranges})

    def of(self, uuid: str) -> Executed:
        """Those that began on one server."""
        uuid = uuid.lower()
        return Executed({name: ranges for name, ranges in self.ranges.items() if name.partition(":")[0] == uuid})


class Position(NamedTuple):
    """Where a MariaDB server is, in each domain: the sequence that came last, whichever server it is of."""

    last: Mapping[int, int]

    def of(self, only: frozenset[int], but: frozenset[int]) -> Position:
        """Some domains, where `only` names any, and none of the others."""
        kept = {domain: at for domain, at in self.last.items() if domain not in but and (not only or domain in only)}
        return Position(kept)

    def ahead_of(self, other: Position) -> int:
        """How many sequences of its domains the other has not come to; where ids were skipped that is too many."""
        return sum(max(0, sequence - other.last.get(domain, 0)) for domain, sequence in self.last.items())


def mysql_set(text: str) -> Executed:
    """A set such as `gtid_executed`; empty where nothing is in it. Raises Malformed."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for part in _parts(text):
        uuid, *rest = (piece.strip() for piece in part.split(":"))
        if not rest or not _UUID.fullmatch(uuid):
            raise _strange(part)
        name = uuid.lower()
        for piece in rest:
            if match := _RANGE.fullmatch(piece):
                first, last = int(match[1]), int(match[2] or match[1])
                if not 0 < first <= last:
                    raise _strange(part)
                ranges.setdefault(name, []).append((first, last))
            elif _TAG.fullmatch(piece):
                name = f"{uuid}:{piece}".lower()
            else:
                raise _strange(part)
    return Executed({name: _joined(found) for name, found in ranges.items()})


def mariadb_position(text: str) -> Position:
    """A position such as `gtid_slave_pos`; of a domain that stands there twice the greater one. Raises Malformed."""
    last: dict[int, int] = {}
    for (domain, _), sequence in mariadb_state(text).items():
        last[domain] = max(sequence, last.get(domain, 0))
    return Position(last)


def mariadb_state(text: str) -> dict[tuple[int, int], int]:
    """What `gtid_binlog_state` says: the last sequence of each server in each domain. Raises Malformed."""
    state: dict[tuple[int, int], int] = {}
    for part in _parts(text):
        match = _ID.fullmatch(part)
        if match is None:
            raise _strange(part)
        pair = int(match[1]), int(match[2])
        state[pair] = max(int(match[3]), state.get(pair, 0))
    return state


def mariadb_writers(text: str) -> set[int]:
    """The servers that wrote what came last, by a position; none where it is no position."""
    try:
        return {server for _, server in mariadb_state(text)}
    except Malformed:
        return set()


def mariadb_errant(replica: str, server_id: int, primary: str) -> int:
    """How many transactions at least a replica wrote itself that its primary has not, by their `gtid_binlog_state`.

    Only domains that the primary writes, too: in one of its own a replica may write by design. Sequences count on from
    whatever was there, so that of those that a server wrote only the last is certain, and those beyond the primary's.
    Raises Malformed.
    """
    there = mariadb_state(primary)
    furthest: dict[int, int] = {}
    for (domain, _), sequence in there.items():
        furthest[domain] = max(sequence, furthest.get(domain, 0))
    errant = 0
    for (domain, server), sequence in mariadb_state(replica).items():
        if server == server_id and domain in furthest and sequence > there.get((domain, server), 0):
            errant += max(1, sequence - furthest[domain])
    return errant


def _parts(text: str) -> list[str]:
    if len(text) > LENGTH_CAP:
        raise Malformed(f"a set of transaction ids of {len(text):,} characters")
    return [part for piece in text.split(",") if (part := piece.strip())]


def _strange(part: str) -> Malformed:
    return Malformed(f"not a global transaction id: {part[:60]!r}")


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in order, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)


def _less(ranges: Ranges, taken: Ranges) -> Ranges:
    """What of ranges is in none of the others; both in order."""
    left: list[tuple[int, int]] = []
    index = 0
    for first, last in ranges:
        start = first
        while index < len(taken) and taken[index][1] < start:
            index += 1
        at = index
        while at < len(taken) and taken[at][0] <= last:
            if taken[at][0] > start:
                left.append((start, taken[at][0] - 1))
            start = taken[at][1] + 1
            at += 1
        if start <= last:
            left.append((start, last))
    return tuple(left)
