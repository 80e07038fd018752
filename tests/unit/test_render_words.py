"""Values as people say them."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from opsdoc.model import Frame, Meta, Point, Share, Unknown
from opsdoc.render import words
from opsdoc.signals.peers import ServerPart


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (None, "cores", "—"),
        (Unknown("denied"), "cores", "unknown"),
        (1.018, "cores", "1.02 cores"),
        (0.0, "cores", "0.00 cores"),
        (0.974, "ratio", "97 %"),
        (0.041, "ratio", "4.1 %"),
        (0.003, "ratio", "0.3 %"),
        (0.0999, "ratio", "10 %"),
        (0.0002, "ratio", "< 0.1 %"),
        (0, "ratio", "0 %"),
        (1.0, "ratio", "100 %"),
        (0.018, "seconds", "18 ms"),
        (0.00002, "seconds", "0.02 ms"),
        (0, "seconds", "0 ms"),
        (2.31, "seconds", "2.3 s"),
        (360, "seconds", "6 min"),
        (7500, "seconds", "2 h 5 min"),
        (400000, "seconds", "4 d 15 h"),
        (-2.5, "seconds", "-2.5 s"),
        (1536 * 1024**2, "bytes", "1.5 GiB"),
        (48210, "count", "48,210"),
        (40, "per_second", "40/s"),
        (2609, "id", "2609"),
        ("a\nb", "", "a\\nb"),
        (True, "", "yes"),
        ((1, 2), "id", "1, 2"),
        ({"timeout": 3, "reset": 1}, "count", "timeout 3, reset 1"),
        (Share(9, 10), "", "9 of 10 samples"),
        (Frame("f\x1b", "a.py", 3), "", "f\\x1b (a.py:3)"),
        (Point(0.5, 1.0, "f"), "cores", "500 ms: 1.00 cores f"),
    ],
)
def test_quantity(value, unit, said):
    assert words.quantity(value, unit) == said


def test_records_are_said_with_the_units_of_their_fields_and_alike_when_read_back():
    meta = Meta("servers", columns={"p95": "seconds", "share": "ratio"})
    records = (
        ServerPart("a\x1b:80", 1200, 3, 0.5, None, None, 0.153, "failing", "refused"),
        ServerPart("b:80", 0, 0, p95=Unknown("why"), now=None),
    )
    said = words.stated(meta, records)
    assert said == (
        "a\\x1b:80 (attempts 1,200, failed 3, share 50 %, p95 153 ms, state failing, now refused); "
        "b:80 (attempts 0, failed 0, p95 unknown (why), state unknown)"
    )
    assert words.stated(meta, [record._asdict() for record in records]) == said
    assert words.quantity(records[0], "") == words.quantity(records[0]._asdict(), "")
    assert words.stated(Meta("causes", "count"), MappingProxyType({"timeout": 3, "reset": 1})) == "timeout 3, reset 1"


@pytest.mark.parametrize("unit", ["", "cores", "ratio", "seconds", "bytes", "per_second", "count", "id", "hex", "time"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300, -1, 0, 10**40])
def test_no_number_fails(value, unit):
    assert words.quantity(value, unit)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — text 批量", "plain — text 批量"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udc80b", "a\\udc80b"),
        ("a\x00b", "a\\x00b"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_what_could_act_is_shown(text, shown):
    assert words.visible(text) == shown
    assert words.visible(shown) == shown


def test_long_text_is_cut_in_the_middle_by_columns():
    assert words.shorten("abcdefghij", 10) == "abcdefghij"
    assert words.shorten("abcdefghijk", 7) == "abcd…jk"
    assert words.cells(words.shorten("批量导入任务批量导入任务", 11)) <= 11
    assert words.shorten("abcdef", 5, "...") == "ab..."


def test_counts():
    assert words.plural(1, "process") == "1 process"
    assert words.plural(1430, "process") == "1,430 processes"
    assert words.plural(2, "thread") == "2 threads"
    assert words.singular_of("threads") == "thread"
    assert words.singular_of("misses") == "misses"
