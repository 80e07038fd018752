"""No literal of a statement, and no value of an error, is ever shown, however a text is written, cut or damaged."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.parsers.sql_text import masked, masked_error

SECRET = "Zq7secretZq7"
PRODUCTS = [None, "postgresql", "mysql", "mariadb"]
frugal = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
pieces = st.sampled_from([
    "'", '"', "`", "\\", "$$", "$t$", "$1", "--", "#", "/*", "*/", "/*!", "\n", "\r", " ", "E'", "e'", "U&'", "_utf8'",
    "X'", "select", " where a = ", "1.5e+10", "0xff", "42", "ё", "?", ", ", "…", "(", ")", "-", "a.b", "escape '\\'",
    "Query: '", "Error '", "' on query.", " for key 'a'", ' in table "b"', "Key (id)=(", "LINE 1: ", "user 'x'@'y'",
])  # fmt: skip
texts = st.lists(pieces | st.text(max_size=3), max_size=30).map("".join)
# What may stand within a value; each dialect has its own way to write it.
values = st.lists(
    st.sampled_from(["'", '"', "`", "--", "#", "/*", "*/", " ", "\n", "$$", "a", "%", ")", ", "]), max_size=8
)
names = st.sampled_from(['"users"."id"', "users.id", '"Orders"', "`t`", "t1", "a -- b'c\n", "/* it's */ x"])


@frugal
@given(texts, st.sampled_from(PRODUCTS), st.integers(1, 60))
def test_any_text_becomes_a_line_and_masking_again_changes_nothing(text, product, most):
    line = masked(text, most, product)
    assert len(line) <= most
    assert "\n" not in line
    assert masked(line, most, product) == line


@frugal
@given(texts, st.integers(1, 60))
def test_any_error_becomes_a_line_and_masking_again_changes_nothing(text, most):
    line = masked_error(text, most)
    assert len(line) <= most
    assert "\n" not in line
    assert masked_error(line, most) == line


def literal(kind: str, value: str) -> str:
    """A value as a client would write it."""
    value = f"{value}{SECRET}{value}"
    doubled, slashed = value.replace("'", "''"), value.replace("'", "\\'").replace('"', '\\"')
    return {
        "standard": f"'{doubled}'",
        "escaped": f"E'{slashed}'",
        "dollar": f"$tag${value}$tag$",
        "mysql": f"'{slashed}'",
        "mysql doubled": f"'{doubled}'",
        "mysql double": '"' + slashed + '"',
        "introduced": f"_utf8mb4 '{slashed}'",
    }[kind]


@frugal
@given(st.data())
@pytest.mark.parametrize("product", ["postgresql", "mysql"])
@pytest.mark.parametrize("told", [True, False])
def test_no_literal_survives(product, told, data):
    kinds = {
        "postgresql": ["standard", "escaped", "dollar"],
        "mysql": ["mysql", "mysql doubled", "mysql double", "introduced"],
    }[product]
    text = "select "
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(names.filter(lambda name: "`" not in name) if product == "postgresql" else names)
        value = "".join(data.draw(values))
        text += f"{name} = {literal(data.draw(st.sampled_from(kinds)), value)} and "
    text = text[: data.draw(st.integers(7, len(text)))]  # servers cut what is long
    line = masked(text, 10_000, product if told else None)
    assert SECRET not in line
    assert "secret" not in line


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.binary(min_size=1).map(bytes.hex))
@pytest.mark.parametrize("product", PRODUCTS)
def test_no_number_survives(product, value):
    written = f"0x{value}" if isinstance(value, str) else str(value)
    assert (
        masked(f"select a1 where b = {written} and c=1", 500, product).replace("-", "")
        == "select a1 where b = ? and c=?"
    )


@frugal
@given(st.lists(st.sampled_from([SECRET, "'", " ", '"', "a", "--", "' for key 'x", "(", ")", "; "]), max_size=12))
@pytest.mark.parametrize(
    "message",
    [
        "Error 'Duplicate entry '{}' for key 'k'' on query. Default database: 'a'. Query: 'insert into t values ({})'",
        "Could not execute Write_rows on t; Duplicate entry '{}' for key 'k', Error_code: 1; the event's log",
        "You have an error in your SQL syntax; check the manual for the right syntax to use near '{}' at line 1",
        "Incorrect integer value: '{}' for column 'x' at row 1",
        'invalid input syntax for type integer: "{}"',
        'duplicate key value violates unique constraint "t_pkey"\nDETAIL:  Key (id)=({}) already exists.',
        "Failing row contains (1, {}).",
    ],
)
def test_no_value_of_an_error_survives(message, words):
    value = "".join(words)
    quoted = "'" + value.replace("'", "''") + "'"
    text = message.replace("{}", value, 1).replace("{}", quoted)
    assert SECRET not in masked_error(text, 10_000)
