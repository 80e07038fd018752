"""DSNs: where a database is and who asks it, in each form that people write, and that nobody sees the secret."""

from __future__ import annotations

import pytest

from opsdoc.model import Malformed
from opsdoc.options import Url
from opsdoc.parsers.dsn import MOST_HOSTS, Dsn, mysql_dsn, postgresql_dsn
from opsdoc.redact import Redactor

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("text", "address", "user", "password", "database"),
    [
        ("postgresql://bob:pw@db1:6000/shop", "db1:6000", "bob", "pw", "shop"),
        ("postgres://db1", "db1:5432", None, None, None),
        ("POSTGRESQL://bob@db1/", "db1:5432", "bob", None, None),
        ("postgresql://b%40b:p%40%3a%2Fw@db1/sh%20op", "db1:5432", "b@b", "p@:/w", "sh op"),
        ("postgresql://bob:p:w#x@db1/shop", "db1:5432", "bob", "p:w#x", "shop"),
        ("postgresql://db1,db2:6001,[::1]:6002/shop", "db1:5432,db2:6001,[::1]:6002", None, None, "shop"),
        ("postgresql://%2Ftmp:6000/shop", "unix:/tmp:6000", None, None, "shop"),
        ("postgresql:///shop?host=/tmp&port=6000&user=bob&password=p%26w", "unix:/tmp:6000", "bob", "p&w", "shop"),
        ("postgresql://db1/shop?dbname=other", "db1:5432", None, None, "other"),
        ("host=db1 port=6000 user=bob password=pw dbname=shop", "db1:6000", "bob", "pw", "shop"),
        (r"  host = db1  password = 'a b\'c\\' user=b\ ob ", "db1:5432", "b ob", r"a b'c" + "\\", None),
        ("host=db1,db2 port=6000", "db1:6000,db2:6000", None, None, None),
        ("host=db1,db2 port=6000,", "db1:6000,db2:5432", None, None, None),
        ("host=::1", "[::1]:5432", None, None, None),
        ("hostaddr=10.0.0.7 port=1", "10.0.0.7:1", None, None, None),
        ("host=db1 hostaddr=10.0.0.7", "db1:5432", None, None, None),
        ("host=@abstract", "unix:@abstract:5432", None, None, None),
        ("user=bob password='' host=db1", "db1:5432", "bob", None, None),
        ("host=a host=b", "b:5432", None, None, None),
        ("host=db1 password=a://b", "db1:5432", None, "a://b", None),
        ("service=shop", "service=shop", None, None, None),
        ("service=shop host=db1", "db1:5432", None, None, None),
        ("postgresql://?service=shop", "service=shop", None, None, None),
        ("", "unix:/run/postgresql:5432", None, None, None),
        ("dbname=shop port=6000", "unix:/run/postgresql:6000", None, None, "shop"),
    ],
)
def test_postgresql_as_libpq_reads_it(text, address, user, password, database):
    assert postgresql_dsn(text)[:4] == (address, user, password, database)


@pytest.mark.parametrize(
    ("text", "environment", "address"),
    [
        ("", {"PGHOST": "db1", "PGPORT": "6000"}, "db1:6000"),
        ("port=1", {"PGHOST": "/tmp", "PGPORT": "6000"}, "unix:/tmp:1"),
        ("host=db2", {"PGHOST": "db1", "PGSERVICE": "shop"}, "db2:5432"),
        ("", {"PGHOST": "db1", "PGSERVICE": "shop"}, "service=shop"),
        ("service=other", {"PGSERVICE": "shop"}, "service=other"),
    ],
)
def test_what_the_text_does_not_say_the_environment_may(text, environment, address):
    assert postgresql_dsn(text, environment).address == address


def test_what_is_left_are_parameters():
    dsn = postgresql_dsn("postgresql://bob:pw@db1/shop?sslmode=require&application_name=x%20y&ssl=true")
    assert dict(dsn.parameters) == {"sslmode": "require", "application_name": "x y"}
    assert dict(postgresql_dsn("postgresql://db1?ssl=true").parameters) == {"sslmode": "require"}
    assert postgresql_dsn("host=a,b").addresses == ("a:5432", "b:5432")


@pytest.mark.parametrize(
    ("text", "address", "user", "password", "database"),
    [
        ("mysql://bob:pw@db1:3307/shop", "db1:3307", "bob", "pw", "shop"),
        ("mariadb://db1", "db1:3306", None, None, None),
        ("bob:pw@db1/shop", "db1:3306", "bob", "pw", "shop"),
        ("db1:3307", "db1:3307", None, None, None),
        ("[::1]", "[::1]:3306", None, None, None),
        ("", "localhost:3306", None, None, None),
        ("mysql://bob:p%40%2f@/shop?unix_socket=/run/my.sock", "unix:/run/my.sock", "bob", "p@/", "shop"),
        ("mysql:///shop?socket=/run/my.sock", "unix:/run/my.sock", None, None, "shop"),
        ("mysql://%2Frun%2Fmy.sock/shop", "unix:/run/my.sock", None, None, "shop"),
        ("/run/my.sock", "unix:/run/my.sock", None, None, None),
        ("unix:/run/my.sock", "unix:/run/my.sock", None, None, None),
    ],
)
def test_mysql_as_its_tools_write_it(text, address, user, password, database):
    assert mysql_dsn(text)[:4] == (address, user, password, database)
    assert not mysql_dsn(text).parameters


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (postgresql_dsn, f"postgresql://bob:p@{SECRET}@db1", "write @ as %40"),
        (postgresql_dsn, f"postgresql://bob:p/{SECRET}@db1", "write @ as %40, / as %2F"),
        (postgresql_dsn, f"postgresql://bob:%zz{SECRET}@db1", "write % as %25"),
        (postgresql_dsn, f"password={SECRET} host", "'host=HOST port=PORT user=USER'"),
        (postgresql_dsn, f"host=db1 password='{SECRET}", "stands in '…'"),
        (postgresql_dsn, f"host=db1 password=two {SECRET}", "stands in '…'"),
        (postgresql_dsn, "db1:5432", "postgresql://USER@HOST:PORT"),
        (postgresql_dsn, f"jdbc:postgresql://db1/shop?password={SECRET}", "no scheme of a PostgreSQL server: 'jdbc:"),
        (postgresql_dsn, "mysql://db1", "opsdoc db mysql"),
        (postgresql_dsn, f"{SECRET}:x://db1", "no scheme"),
        (postgresql_dsn, "host=a,b,c port=1,2", "one port for each"),
        (postgresql_dsn, "host=" + ",".join("a" * (MOST_HOSTS + 1)), "hosts"),
        (postgresql_dsn, f"postgresql://db1:{SECRET}", "a port is 1 to 65535"),
        (postgresql_dsn, "host=db1 port=65536", "a port is 1 to 65535"),
        (postgresql_dsn, "host='a b'", "not an address"),
        (postgresql_dsn, "host=/" + "x" * 200, "not the path of a unix socket"),
        (postgresql_dsn, "service='a,b'", "pg_service.conf"),
        (postgresql_dsn, "postgresql://[::1/", "not an address"),
        (postgresql_dsn, "x" * 5000, "more than 4096"),
        (postgresql_dsn, "host=a\0b", "NUL"),
        (mysql_dsn, "postgresql://db1", "opsdoc db postgresql"),
        (mysql_dsn, "mysql://a,b", "name each server by itself"),
        (mysql_dsn, f"mysql://bob:p?{SECRET}@db1/x", "write @ as %40"),
        (mysql_dsn, "mysql://db1?" + "a=b&" * 100, "or too many"),
        (mysql_dsn, "mysql://db1?ssl", "without a value"),
    ],
)
def test_what_is_none_says_what_to_write_and_repeats_no_secret(read, text, words):
    with pytest.raises(Malformed) as caught:
        read(text)
    said = f"{caught.value.detail}; {caught.value.hint}"
    assert words in said
    assert SECRET not in said


def test_whoever_prints_it_sees_no_secret():
    dsn = postgresql_dsn(f"postgresql://bob:{SECRET}@db1/shop?sslpassword={SECRET}")
    assert SECRET not in f"{dsn} {dsn!r} {[dsn]}"
    assert (str(dsn), repr(dsn)) == ("db1:5432", "Dsn('db1:5432')")
    assert {dsn: 1}[postgresql_dsn(f"postgresql://bob:{SECRET}@db1/shop?sslpassword={SECRET}")] == 1
    assert dsn != Dsn("db1:5432")


# ── what is printed and recorded of an option ────────────────────────────────────────────────────

FORMS = [
    ("postgresql://bob:{}@db1:1/shop", "postgresql://bob:********@db1:1/shop"),
    ("postgresql://bob:{}@db1:1,db2:2/shop?a=b", "postgresql://bob:********@db1:1,db2:2/shop?a=b"),
    ("postgresql://bob@db1/shop?password={}&a=b", "postgresql://bob@db1/shop?password=********&a=b"),
    ("postgresql://bob@db1/shop?password={0}#{0}", "postgresql://bob@db1/shop?password=********"),
    ("postgresql://db1/shop?user=a@b&password={0}@{0}", "postgresql://db1/shop?user=a@b&password=********"),
    ("postgresql://db1/shop?sslpassword={}&passfile=/x", "postgresql://db1/shop?sslpassword=********&passfile=/x"),
    ("host=db1 password={} user=bob", "host=db1 password=******** user=bob"),
    ("password={} host=db1", "password=******** host=db1"),
    ("host=db1 password = '{} {}' user=bob", "host=db1 password = ******** user=bob"),
    (r"host=db1 password='a\'{}' user=bob", "host=db1 password=******** user=bob"),
    (r"host=db1 password=a\ {} user=bob", "host=db1 password=******** user=bob"),
    ("host=db1 user=bob@cloud password={0}@{0}", "host=db1 user=bob@cloud password=********"),
    ("host=db1 passfile=/x sslpassword={}", "host=db1 passfile=/x sslpassword=********"),
    ("host=db1 password='{}", "host=db1 password=********"),
    ("mysql://bob:%40{}@db1/shop", "mysql://bob:********@db1/shop"),
    ("bob:{}@db1", "bob:********@db1"),
]


@pytest.mark.parametrize(("form", "shown"), FORMS)
def test_an_option_shows_everything_but_the_password(form, shown):
    option = Url(form.format(SECRET, SECRET))
    assert (str(option), f"{option}", repr(option)) == (shown, shown, f"Url({shown!r})")
    assert str(Url(shown)) == shown


def test_a_password_under_an_encoded_key_and_glued_together():
    assert str(Url(f"postgresql://db1?pass%77ord={SECRET}")) == "postgresql://db1?pass%77ord=********"
    assert SECRET not in str(Url(f"host=db1 password='a''{SECRET}' x=y"))


@pytest.mark.parametrize(("form", "shown"), [pair for pair in FORMS if not pair[0].startswith("bob")])
def test_any_text_that_holds_a_dsn_is_masked_too(form, shown):
    """As what a playbook is given, which is a text like any other."""
    assert SECRET not in Redactor().text(form.format(SECRET, SECRET))


@pytest.mark.parametrize("text", ["postgresql://bob@db1:1/shop", "host=db1 user=bob", "service=shop", "db1:3306", ""])
def test_where_there_is_no_password_nothing_is_masked(text):
    assert str(Url(text)) == text
