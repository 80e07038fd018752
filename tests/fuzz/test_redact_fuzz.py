"""The redactor is total and idempotent; a planted value never survives, a benign word always does."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.redact import MASK, Redactor

frugal = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PIECES = """password token secret --password -p -u -a mysql curl sshpass redis-cli docker login sh -c Authorization
Bearer Basic Cookie eyJhbGciOi .eyJzdWIi :// http://u:p@h @ : / = == ? & ; , | > < " ' \\" \\ [ ] { } ( ) true 12
-----BEGIN PRIVATE-KEY----- <password> auth session key api IDENTIFIED BY x hunter2 %3D ******** -D -- …[+3 bytes]
""".split()
fragments = st.lists(st.sampled_from([*PIECES, " ", " ", "\n", "\n  ", "\0", "\ud800", "é"]), max_size=14).map("".join)
strings = st.text(max_size=60) | fragments


@frugal
@given(strings)
def test_text_is_total_and_idempotent(value):
    redactor = Redactor()
    once = redactor.text(value)
    counts = dict(redactor.counts)
    assert redactor.text(once) == once
    assert redactor.counts == counts


@frugal
@given(st.lists(strings | st.sampled_from(PIECES), max_size=8))
def test_argv_is_total_and_idempotent(words):
    redactor = Redactor()
    once = redactor.argv(words)
    counts = dict(redactor.counts)
    assert len(once) == len(words)
    assert redactor.argv(once) == once
    assert redactor.counts == counts


@frugal
@given(st.binary(max_size=100) | fragments.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_lines_are_total_and_idempotent(data):
    redactor = Redactor()
    once = redactor.lines(data)
    counts = dict(redactor.counts)
    assert redactor.lines(once) == once
    assert redactor.counts == counts


@frugal
@given(fragments, st.integers(7_800, 8_400), st.sampled_from(["a", "a ", "é", "password=x ", "\udc80"]))
def test_capped_text_is_idempotent(tail, length, filler):
    redactor = Redactor()
    once = redactor.text((filler * length)[:length] + tail * 3)
    counts = dict(redactor.counts)
    assert redactor.text(once) == once
    assert redactor.counts == counts


# The value begins and ends with letters: brackets around a value may belong to the text.
values = st.text("abcXYZ019@:/!$%^*+~.-_", min_size=4, max_size=24).map(lambda middle: f"dummy{middle}hunter")
prose = st.text("abcdefg =:,.-/\n", max_size=30)
ARGV_FORMS = (
    lambda v: ["app", f"--password={v}"],
    lambda v: ["app", "--db-password", v],
    lambda v: ["app", f"-Ddb.secret={v} and more"],
    lambda v: ["env", f"API_KEY={v}", "app"],
    lambda v: ["mysql", f"-p{v}"],
    lambda v: ["sudo", "redis-cli", "-a", v],
    lambda v: ["curl", "-u", f"bob:{v}"],
    lambda v: ["psql", f"postgres://bob:{v}@db/x"],
    lambda v: ["sh", "-c", f"TOKEN={v} exec mysql -p{v}"],
)
TEXT_FORMS = (
    lambda v: f"password={v}",
    lambda v: f'{{"password": "{v}"}}',
    lambda v: f"amqp://bob:{v}@mq/x",
    lambda v: f"X-Api-Key: {v}",
    lambda v: f"Authorization: Bearer {v}",
    lambda v: f"run --token {v} now",
    lambda v: f"secret: '{v}'",
)


@frugal
@given(values, st.sampled_from(ARGV_FORMS), st.lists(st.sampled_from(["-v", "x", "--port=1", "a=b"]), max_size=3))
def test_a_planted_value_never_survives_in_argv(value, form, rest):
    masked = "\n".join(Redactor().argv([*form(value), *rest]))
    assert MASK in masked
    assert "dummy" not in masked
    assert "hunter" not in masked


@frugal
@given(prose, values, st.sampled_from(TEXT_FORMS), prose)
def test_a_planted_value_never_survives_in_text(before, value, form, after):
    for masked in (
        Redactor().text(f"{before} {form(value)} {after}"),
        Redactor().lines(f"{before}\n{form(value)}\n{after}".encode()).decode(),
    ):
        assert MASK in masked
        assert "dummy" not in masked
        assert "hunter" not in masked


BENIGN = """java -Xmx2g -jar order-service.jar nginx: master process grep password file --tokenizer=bpe keyboard=us
author=me bypass=yes --max-tokens=256 -p 22 --secret-file /etc/x pwd=/home/x tar -pxf
3f786850e387550fdab836ed7e6dc881de23001b 123e4567-e89b-12d3-a456-426614174000 http://host:8080/path""".split()


@frugal
@given(st.lists(st.sampled_from(BENIGN), max_size=10))
def test_benign_words_survive(words):
    redactor = Redactor()
    assert redactor.argv(words) == words
    assert redactor.text(" ".join(words)) == " ".join(words)
    assert redactor.counts == {}
