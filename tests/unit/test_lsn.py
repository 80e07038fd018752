"""Positions in PostgreSQL's log: read, written, and their differences, which are never below zero."""

from __future__ import annotations

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers.lsn import gap, latest, lsn, shown


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0/0", 0),
        ("0/3000060", 0x3000060),
        ("1/0", 1 << 32),  # a step of 2^32, not of 0xFF000000 as before version 9.3
        ("16/B374D848", 0x16B374D848),
        ("16/b374d848", 0x16B374D848),
        ("FFFFFFFF/FFFFFFFF", (1 << 64) - 1),
    ],
)
def test_positions_are_read(text, position):
    assert lsn(text) == position
    assert lsn(shown(position)) == position


@pytest.mark.parametrize(
    "text", ["", "0", "0/", "/0", "0/0/0", "123456789/0", "0/123456789", "-1/0", "0/x", " 0/0", "0/0\n"]
)
def test_other_texts_are_malformed(text):
    with pytest.raises(Malformed):
        lsn(text)


def test_differences_are_never_negative_and_unknown_where_a_side_is():
    assert gap(lsn("1/0"), lsn("0/FF000000")) == 1 << 24
    assert gap(lsn("0/3000000"), lsn("0/3EDAD80")) == 0  # a standby that was restarted: receives from a segment's start
    assert gap(None, 1) is None
    assert gap(1, None) is None


def test_the_furthest_of_what_is_known():
    assert latest(lsn("0/3000000"), lsn("0/3EDAD80"), None) == lsn("0/3EDAD80")
    assert latest(None, None) is None
