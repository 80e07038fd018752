"""Any text is a DSN or Malformed, and what is printed of it never holds the password."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.options import Url
from opsdoc.parsers.dsn import mysql_dsn, postgresql_dsn
from opsdoc.parsers.postgresql_title import backend

SECRET = "Zq7"
frugal = settings(max_examples=300, deadline=None)
pieces = st.sampled_from([
    "postgresql://", "mysql://", "://", "@", ":", "/", "?", "&", "=", ",", "[", "]", "[::1]", "%2F", "%", "'", "\\",
    "host=", "port=", "password=", "service=", "user", "db1", "5432", "99999", "\n", "\0", "\ud800", "ё", "٣", "#", " ",
    "unix:/", "postgres: ", "idle", "(1)", "[local]",
])  # fmt: skip
texts = st.lists(pieces | st.text(max_size=3), max_size=16).map("".join)


@frugal
@given(texts)
@pytest.mark.parametrize("read", [postgresql_dsn, mysql_dsn])
def test_any_text_is_a_dsn_or_malformed(read, text):
    with contextlib.suppress(Malformed):
        dsn = read(text)
        assert dsn.address
        assert "\n" not in dsn.address
        assert hash(dsn) == hash(read(text))


@frugal
@given(
    texts, texts, st.sampled_from(["host=db1 password={}", "postgresql://bob:{}@db1/x", "mysql://db1/x?password={}"])
)
def test_the_password_of_a_dsn_is_not_printed(before, after, form):
    text = form.format(before + SECRET + after)
    for read in (postgresql_dsn, mysql_dsn):
        with contextlib.suppress(Malformed):
            dsn = read(text)
            if SECRET in (dsn.password or "") and SECRET not in f"{dsn.address}{dsn.user}{dict(dsn.parameters)}":
                assert SECRET not in f"{dsn!r}{Url(text)}"


@frugal
@given(texts)
def test_a_masked_option_stays_as_it_is(text):
    assert str(Url(str(Url(text)))) == str(Url(text))


@frugal
@given(texts)
def test_any_title_is_a_backend_or_none(text):
    found = backend("postgres: " + text)
    assert found is None or not {SECRET, "("} & {found.client}
