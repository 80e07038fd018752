"""`opsdoc db postgresql` where it gets no answer: logins, TLS, poolers, strangers, silence; why, and what to do."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading

import pytest
from servers import mariadb, memcached, postgresql, redis
from servers.cli import Meanwhile
from servers.postgresql import APP, PASSWORD, WATCHER
from servers.programs import lacking
from servers.strangers import address_of, web

pytestmark = pytest.mark.xdist_group("postgresql-input")  # they share two servers

WRONG = "canary-not-the-password"
HBA = (
    f"hostssl all {APP} 127.0.0.1/32 scram-sha-256",
    f"host all {APP} 127.0.0.1/32 reject",
    f"host all {WATCHER} 127.0.0.1/32 scram-sha-256",
)


@pytest.fixture
def look(opsdoc):
    """`look(dsn, …)`: a run that sees nothing of the future, on DSNs and options."""
    return lambda dsn, *words, **options: opsdoc.json(
        "db", "postgresql", "--dsn", dsn, "--window", "0", *words, **options
    )


@pytest.fixture(scope="module")
def gate():
    """A server that asks who we are, and takes one of its roles with TLS only."""
    with postgresql.server(hba=HBA, tls=True) as made:
        yield made


@pytest.fixture(scope="module")
def german():
    """A server that tells its errors in German, and has three connections for all but administrators."""
    few = {"max_connections": 6, "superuser_reserved_connections": 3, "max_wal_senders": 0, "wal_level": "minimal"}
    with postgresql.server(environment={"LANGUAGE": "de"}, lc_messages="C.utf8", **few) as one:
        if "existiert" not in one.refusal(user="nobody-here"):
            lacking("PostgreSQL tells no errors in German here (its messages, or the locale C.utf8, are missing)")
        yield one


def lost(run):
    """Why the only target is lost, when that is all that the report has to say, and what to do."""
    assert run.code == 3, (run.code, run.findings)
    assert not run.of("db_node") + run.of("replica_lag"), run.stdout
    (unseen,) = run.unseen
    return unseen


# ── who we are ───────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_password(look, gate):
    run = look(gate.dsn(WATCHER, password=WRONG))
    unseen = lost(run)
    assert unseen["reason"] == "denied"
    assert 'password authentication failed for user "watcher"' in unseen["detail"]
    assert "--password-env" in unseen["hint"]
    assert WRONG not in run.stdout + run.stderr
    assert "no password supplied" in lost(look(gate.dsn(WATCHER)))["detail"]


def test_where_the_password_may_stand(look, opsdoc, gate, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    home = opsdoc.folder / "home"
    dsn = gate.dsn(WATCHER)
    assert look(dsn, "--password-file", file).of("db_node")
    assert look(dsn, "--password-env", "OF_DB", env={"OF_DB": PASSWORD}).of("db_node")
    assert look(f"postgresql://{gate.address}/postgres", "--user", WATCHER, env={"PGPASSWORD": PASSWORD}).of("db_node")
    (home / ".pgpass").write_text(f"127.0.0.1:{gate.port}:*:{WATCHER}:{PASSWORD}\n")
    (home / ".pgpass").chmod(0o600)
    service = f"[shop]\nhost=127.0.0.1\nport={gate.port}\nuser={WATCHER}\ndbname=postgres\n"
    (home / ".pg_service.conf").write_text(service)
    run = look("service=shop")
    assert [node["node"] for node in run.of("db_node")] == ["service=shop"]
    assert 'service "no-such" not found' in lost(look("service=no-such"))["detail"]
    assert PASSWORD not in run.stdout + run.stderr


def test_a_socket_and_who_may_not_be_there(look, gate):
    dsn = f"host={gate.folder} port={gate.port} user=postgres dbname=postgres"
    assert [node["node"] for node in look(dsn).of("db_node")] == [f"unix:{gate.folder}:{gate.port}"]
    assert "CREATE ROLE" in lost(look(gate.dsn("nobody-here")))["hint"]
    unseen = lost(look(gate.dsn(database="nosuch")))
    assert 'database "nosuch" does not exist' in unseen["detail"]
    assert "dbname=postgres" in unseen["hint"]
    assert "ls -a" in lost(look(f"host={gate.folder} port=1"))["hint"]


def test_what_is_wrong_before_anything_is_asked(opsdoc, gate):
    for words in (
        ("--dsn", "host"),
        ("--dsn", f"mysql://u:{WRONG}@h/"),
        ("--dsn", f"postgresql://u:{WRONG}@h:99999/"),
        ("--dsn", f"postgresql://u:{WRONG}%zz@h/"),
        ("--dsn", gate.dsn(), "--password-env", "A", "--password-file", "/b"),
    ):
        run = opsdoc("db", "postgresql", *words)
        assert (run.code, run.stdout) == (64, ""), words
        assert WRONG not in run.stderr


def test_without_the_driver(look, tmp_path):
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('none', name='psycopg')\n")
    unseen = lost(look("postgresql://app@127.0.0.1:1/", env={"PYTHONPATH": str(tmp_path)}))
    assert unseen["reason"] == "unsupported"
    assert unseen["hint"] == f"{sys.executable} -m pip install 'opsdoc[postgresql]'"


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def test_tls_that_is_wanted_and_not_given(look, gate, german):
    unseen = lost(look(gate.dsn(APP, password=PASSWORD, query="sslmode=disable")))
    assert unseen["reason"] == "denied"
    assert "sslmode=require" in unseen["hint"]
    unseen = lost(look(german.dsn(query="sslmode=require")))
    assert unseen["reason"] == "unsupported"
    assert "does not support SSL" in unseen["detail"]
    assert "sslmode" in unseen["hint"]


def test_whom_tls_trusts(look, gate):
    authority = redis.certificates() / "ca.pem"
    assert look(gate.dsn(APP, password=PASSWORD), "--tls-ca", authority).of("db_node")
    unseen = lost(look(gate.dsn(APP, password=PASSWORD), "--tls-ca", authority.parent / "key.pem"))
    assert "certificate" in unseen["detail"]
    by_name = gate.dsn(APP, password=PASSWORD, query="sslmode=verify-full")
    unseen = lost(look(by_name, "--tls-ca", authority))
    assert "does not match" in unseen["detail"]
    assert "verify-ca" in unseen["hint"]


# ── silence ──────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_server(look, gate):
    with gate.frozen():
        unseen = lost(look(gate.dsn(), timeout=30))
    assert unseen["reason"] == "timeout"
    assert "takes connections, but did not answer" in unseen["detail"]
    assert "frozen" in unseen["hint"]


def test_a_server_that_freezes_within_the_window(opsdoc, gate):
    said = "select 1 from pg_stat_activity where application_name = 'opsdoc' and state = 'idle'"
    last_of_the_first_look = " and query like '/* opsdoc */%pg_stat_statements(false)%'"
    with contextlib.ExitStack() as frozen:
        freeze = Meanwhile(
            lambda _: gate.sql(said + last_of_the_first_look), lambda: frozen.enter_context(gate.frozen())
        )
        words = ("--dsn", gate.dsn(), "--window", "3s")
        run = opsdoc.json("db", "postgresql", *words, when=freeze, timeout=40)
    assert freeze.done
    (node,) = run.of("db_node")
    assert node["reachable"] is False
    assert "did not answer" in node["why"]
    assert run.code in (2, 3)


def test_a_server_that_accepts_and_says_nothing(look):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unseen = lost(look(f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/", timeout=30))
    assert unseen["reason"] == "timeout"


def test_nobody_there_and_a_name_that_is_none(look):
    unseen = lost(look("postgresql://app@127.0.0.1:1/"))
    assert (unseen["reason"], "Connection refused" in unseen["detail"]) == ("unreachable", True)
    unseen = lost(look("postgresql://app@nosuch.invalid/"))
    assert unseen["reason"] == "unreachable"
    assert unseen["hint"] == "getent hosts nosuch.invalid"


def test_a_dead_server_beside_one_that_answers(look, gate):
    run = look(gate.dsn(), "--dsn", "postgresql://app@127.0.0.1:1/")
    assert [node["reachable"] for node in run.of("db_node")] == [True, False]
    assert run.code == 3
    assert "db.unreachable" in {finding["rule"] for finding in run.findings}


# ── somebody else ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stranger", "who"),
    [
        (web, "an HTTP server"),
        (lambda: address_of(redis.standalone()), "Redis"),
        (lambda: address_of(memcached.server()), "memcached"),
        (lambda: address_of(mariadb.server()), "a MySQL server"),
    ],
    ids=["http", "redis", "memcached", "mariadb"],
)
def test_a_server_of_another_kind(look, stranger, who):
    with stranger() as address:
        unseen = lost(look(f"postgresql://app:{WRONG}@{address}/shop", timeout=30))
    assert unseen["reason"] == "malformed"
    assert f"it is {who}, not a PostgreSQL server" in unseen["detail"]
    assert "5432" in unseen["hint"]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_in_the_way_is_told_and_left_as_it_was(look, gate, mode):
    for settings in ({}, {"ignore_startup_parameters": "options"}):
        with postgresql.pgbouncer(gate, mode, **settings) as port:
            unseen = lost(look(f"postgresql://postgres@127.0.0.1:{port}/postgres"))
            assert unseen["reason"] == "unsupported"
            assert "name the server itself" in unseen["hint"]
            with contextlib.closing(gate.connect(port=port)) as app:
                assert app.run("show default_transaction_read_only") == [("off",)], "our setting leaked into the pool"
            console = lost(look(f"postgresql://postgres@127.0.0.1:{port}/pgbouncer"))
            assert console["reason"] == "unsupported"


def test_a_server_that_starts(look, gate):
    settings = {"restore_command": "sleep 60", "hot_standby": "on"}
    with postgresql.server(gate, awaits="starting", **settings) as starting:
        run = look(starting.dsn())
        assert run.code == 3
        (node,) = run.of("db_node")
        assert "starting up" in node["why"]
        assert "starting up" in run.finding("db.unreachable")["summary"]


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


LET_IN = message(b"R", struct.pack("!I", 0)) + message(b"K", struct.pack("!II", 7, 7)) + message(b"Z", b"I")
COLUMN = message(b"T", struct.pack("!H", 1) + b"pid\0" + struct.pack("!IHIHIH", 0, 0, 25, 0, 0, 0))
ROW = message(b"D", struct.pack("!HI", 1, 4) + b"evil")


@contextlib.contextmanager
def impostor(first, again):
    """Refuses TLS, says something to whoever comes, and then the same without end."""

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            if connection.recv(8)[4:] == struct.pack("!I", 80877103):
                connection.sendall(b"N")
                connection.recv(4096)
            connection.sendall(first)
            while again:
                connection.sendall(again)
            connection.recv(1 << 16)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (LET_IN + COLUMN, ROW * 1000),
        (LET_IN + COLUMN, b""),
        (LET_IN + message(b"T", b"\xff" * 40), b""),
        (LET_IN + COLUMN + b"D" + struct.pack("!I", 1 << 30), b"x" * 65536),
        (message(b"E", b"SFATAL\0C28000\0Mno \x1b[31m\xff\0\0"), b""),
        (b"E" + struct.pack("!I", 1 << 30), b"x" * 65536),
        (b"", message(b"N", b"SNOTICE\0Mtrust me\0\0") * 1000),
    ],
    ids=["endless-rows", "no-end", "broken", "one-huge-row", "escapes", "huge-error", "endless-notices"],
)
def test_an_impostor_that_wants_our_time_or_memory(look, first, again):
    with impostor(first, again) as address:
        run = look(f"postgresql://app@{address}/", timeout=30)
    assert lost(run)["reason"] in ("malformed", "timeout", "unreachable", "denied")
    assert "\x1b" not in run.stdout
    assert run.report["cost"]["max_rss_bytes"] < 200 << 20


# ── another language ─────────────────────────────────────────────────────────────────────────────


def test_errors_in_another_language(look, german):
    unseen = lost(look(german.dsn("nobody-here")))
    assert "existiert nicht" in unseen["detail"]
    assert unseen["reason"] == "denied"
    with contextlib.ExitStack() as made:
        for _ in range(6):
            made.callback(german.connect("pool").close)
        run = look(german.dsn())
    assert run.code == 2
    (node,) = run.of("db_node")
    assert node["full"] is True
