"""Positions in the log of PostgreSQL (LSN, `16/B374D848`) as whole numbers of bytes, and their differences.

A position is 64 bits, written as its high and its low half in hexadecimal (PostgreSQL manual, 8.20 pg_lsn Type). What
has no position, such as a standby that never received anything, is None, and so is every difference to it.
"""

from __future__ import annotations

import re

from opsdoc.model import Malformed

_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII | re.IGNORECASE)
_HALF = 1 << 32


def lsn(text: str) -> int:
    """The position in bytes. Raises Malformed."""
    found = _LSN.fullmatch(text)
    if found is None:
        raise Malformed(f"not a position in a log: {text[:40]!r}")
    return int(found[1], 16) * _HALF + int(found[2], 16)


def shown(position: int) -> str:
    """The position as PostgreSQL writes it."""
    return f"{position // _HALF:X}/{position % _HALF:X}"


def latest(*positions: int | None) -> int | None:
    """The furthest of those that are known: after a restart a standby tells to receive less than it has replayed."""
    return max((position for position in positions if position is not None), default=None)


def gap(ahead: int | None, behind: int | None) -> int | None:
    """How many bytes are between two positions; 0 where the second is further, None where one is unknown.

    Two servers are never read at the same moment, so that the one behind may be ahead by what came in between.
    """
    return None if ahead is None or behind is None else max(0, ahead - behind)
