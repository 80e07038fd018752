"""`opsdoc db mysql` where it gets no answer: logins, TLS, strangers, silence; why, and what to do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest
from servers import mariadb, memcached, postgresql, redis
from servers.cli import Meanwhile, under_way
from servers.mariadb import APP, SECURE, SECURE_PASSWORD, WATCHER, WATCHER_PASSWORD
from servers.strangers import address_of, web

pytestmark = pytest.mark.xdist_group("mariadb")

WRONG = "canary-not-the-password"


@pytest.fixture
def look(opsdoc):
    """`look(dsn, …)`: a run that sees nothing of the future, on DSNs and options."""
    return lambda dsn, *words, **options: opsdoc.json("db", "mysql", "--dsn", dsn, "--window", "0", *words, **options)


@pytest.fixture(scope="module")
def gate():
    """A server that speaks TLS to those who want it, and takes one of its users with TLS only."""
    with mariadb.server(tls=True) as made:
        yield made


@pytest.fixture
def plain(mariadb_pair):
    """A server that speaks no TLS."""
    return mariadb_pair.primary


def lost(run):
    """Why the only target is lost, when that is all that the report has to say, and what to do."""
    assert run.code == 3, (run.code, run.findings)
    assert not run.of("db_node") + run.of("replica_lag"), run.stdout
    (unseen,) = run.unseen
    return unseen


# ── who we are ───────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_password(look, gate):
    run = look(gate.dsn(password=WRONG))
    unseen = lost(run)
    assert unseen["reason"] == "denied"
    assert "Access denied for user 'watcher'" in unseen["detail"]
    assert "--password-env" in unseen["hint"]
    assert WRONG not in run.stdout + run.stderr


def test_where_the_password_may_stand(look, opsdoc, gate, tmp_path):
    file = tmp_path / "password"
    file.write_text(WATCHER_PASSWORD + "\n")
    dsn = f"mysql://{WATCHER}@{gate.address}/"
    assert look(dsn, "--password-file", file).of("db_node")
    assert look(gate.address, "--user", WATCHER, "--password-env", "OF_DB", env={"OF_DB": WATCHER_PASSWORD}).of(
        "db_node"
    )
    assert look(dsn, env={"MYSQL_PWD": WATCHER_PASSWORD}).of("db_node")
    assert lost(look(dsn))["reason"] == "denied"


def test_my_cnf_says_who_asks_and_where(look, opsdoc, gate):
    file = opsdoc.folder / "home" / ".my.cnf"
    file.write_text(f'[client]\nuser={WATCHER}\npassword="{WATCHER_PASSWORD}"\nhost=127.0.0.1\nport={gate.port}\n')
    assert [node["node"] for node in look(gate.address).of("db_node")] == [gate.address]
    assert [node["node"] for node in look("mysql:///").of("db_node")] == ["~/.my.cnf"]
    # The password is of one user, and not sent for another.
    assert "'app'" in lost(look(gate.address, "--user", APP))["detail"]
    file.write_text(f"[client]\nuser={WATCHER}\npassword='{WATCHER_PASSWORD}'\nsocket={gate.socket}\n")
    run = look("mysql:///")
    assert run.of("db_node")
    assert WATCHER_PASSWORD not in run.stdout + run.stderr
    file.write_text(f"[client]\nuser={SECURE}\npassword={SECURE_PASSWORD}\nssl-ca={redis.certificates() / 'ca.pem'}\n")
    assert look(gate.address).of("db_node")


def test_a_socket_and_a_database_that_is_none(look, gate):
    login = f"{WATCHER}:{WATCHER_PASSWORD}"
    dsn = f"mysql://{login}@/?unix_socket={gate.socket}"
    assert [node["node"] for node in look(dsn).of("db_node")] == [f"unix:{gate.socket}"]
    unseen = lost(look(gate.dsn(database="nosuch")))
    assert "leave the database out" in unseen["hint"]
    assert lost(look(f"mysql://{login}@/?unix_socket={gate.folder}/nosuch"))["reason"] == "unreachable"


def test_what_is_wrong_before_anything_is_asked(opsdoc, gate):
    for words in (
        ("--dsn", f"postgresql://u:{WRONG}@h/"),
        ("--dsn", f"mysql://u:{WRONG}@h:99999/"),
        ("--dsn", f"mysql://u:{WRONG}@h/?ssl-mode=MAYBE"),
        ("--dsn", gate.dsn(), "--password-env", "A", "--password-file", "/b"),
        ("--dsn", gate.dsn(), "--writer", "mysql://a,b"),
    ):
        run = opsdoc("db", "mysql", *words)
        assert (run.code, run.stdout) == (64, ""), words
        assert WRONG not in run.stderr
    run = opsdoc("db", "mysql", "--dsn", gate.address, "--user", "u", "--password-env", "NOT_THERE")
    assert run.code == 64
    assert "NOT_THERE" in run.stderr


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def test_tls_that_is_wanted_and_not_given(look, gate, plain):
    assert look(gate.dsn(SECURE)).of("db_node"), "TLS is spoken where it is offered"
    unseen = lost(look(f"{gate.dsn(SECURE)}?ssl-mode=DISABLED"))
    assert unseen["reason"] == "denied"
    assert "TLS" in unseen["hint"]
    unseen = lost(look(plain.dsn(), "--tls-ca", redis.certificates() / "ca.pem"))
    assert unseen["reason"] == "unsupported"
    assert "speaks no TLS" in unseen["detail"]


def test_a_server_that_takes_tls_only(look, gate):
    gate.set_global("require_secure_transport", 1)
    try:
        assert look(gate.dsn()).of("db_node")
        unseen = lost(look(f"{gate.dsn()}?ssl-mode=DISABLED"))
    finally:
        gate.rest()
    assert unseen["reason"] == "denied"
    assert "who wants TLS refuses a plain connection in the same words" in unseen["hint"]


def test_whom_tls_trusts(look, gate):
    authority = redis.certificates() / "ca.pem"
    assert look(gate.dsn(SECURE), "--tls-ca", authority).of("db_node")
    unseen = lost(look(f"{gate.dsn()}?ssl-mode=VERIFY_CA"))
    assert "not trusted" in unseen["detail"]
    assert "--tls-ca" in unseen["hint"]
    unseen = lost(look(f"{gate.dsn()}?ssl-mode=VERIFY_IDENTITY", "--tls-ca", authority))
    assert "127.0.0.1" in unseen["detail"]


# ── silence ──────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_server(look, gate):
    with gate.frozen():
        unseen = lost(look(gate.dsn(), timeout=30))
    assert unseen["reason"] == "timeout"
    assert "frozen" in unseen["hint"]


def test_a_server_that_freezes_within_the_window(opsdoc, gate):
    with contextlib.ExitStack() as frozen:
        freeze = Meanwhile(under_way(0.8), lambda: frozen.enter_context(gate.frozen()))
        run = opsdoc.json("db", "mysql", "--dsn", gate.dsn(), "--window", "3s", when=freeze, timeout=40)
    assert freeze.done
    (node,) = run.of("db_node")
    assert node["reachable"] is False
    assert "did not answer" in node["why"]
    assert run.code in (2, 3)


def test_a_server_that_accepts_and_says_nothing(look):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unseen = lost(look(f"app@127.0.0.1:{silent.getsockname()[1]}", timeout=30))
    assert unseen["reason"] == "timeout"


def test_nobody_there_and_a_name_that_is_none(look):
    unseen = lost(look("mysql://app@127.0.0.1:1/"))
    assert (unseen["reason"], "Connection refused" in unseen["detail"]) == ("unreachable", True)
    unseen = lost(look("mysql://app@nosuch.invalid/"))
    assert unseen["reason"] == "unreachable"
    assert unseen["hint"] == "getent hosts nosuch.invalid"


def test_a_dead_server_beside_one_that_answers(look, gate):
    run = look(gate.dsn(), "--dsn", "mysql://app@127.0.0.1:1/")
    assert [node["reachable"] for node in run.of("db_node")] == [True, False]
    assert "db.unreachable" in {finding["rule"] for finding in run.findings}
    assert run.code == 3


# ── somebody else ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stranger", "who"),
    [
        (web, "an HTTP server"),
        (lambda: address_of(redis.standalone()), "Redis"),
        (lambda: address_of(memcached.server()), "memcached"),
        (lambda: address_of(postgresql.server()), "PostgreSQL"),
    ],
    ids=["http", "redis", "memcached", "postgresql"],
)
def test_a_server_of_another_kind(look, stranger, who):
    with stranger() as address:
        unseen = lost(look(f"mysql://app:{WRONG}@{address}/shop", timeout=30))
    assert unseen["reason"] == "malformed"
    assert f"it is {who}, not MySQL or MariaDB" in unseen["detail"]
    assert "3306" in unseen["hint"]


# ── servers that mean no good ────────────────────────────────────────────────────────────────────


def packet(number, body):
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


def greeting(plugin=b"mysql_native_password", version=b"8.0.36"):
    """The first packet of a server without TLS: protocol 10, PLUGIN_AUTH, SECURE_CONNECTION, 4.1."""
    capabilities = 0x0008_8201
    low, high = struct.pack("<HH", capabilities & 0xFFFF, capabilities >> 16)[:2], struct.pack("<H", capabilities >> 16)
    return packet(
        0,
        b"\x0a" + version + b"\0" + struct.pack("<I", 7) + b"12345678\0" + low + b"\x2d\x02\0" + high
        + bytes([21]) + bytes(10) + b"123456789012\0" + plugin + b"\0",
    )  # fmt: skip


@contextlib.contextmanager
def played(*says):
    """A server that sends one text after each that it gets; what it was sent is in the list."""
    got = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        for says_now in says:
                            connection.sendall(says_now)
                            got.append(connection.recv(4096))

        threading.Thread(target=serve, daemon=True).start()
        yield f"mysql://app:{WRONG}@127.0.0.1:{server.getsockname()[1]}/", got


def test_a_password_is_not_told_as_it_is_to_whoever_asks_for_it(look):
    with played(greeting(), packet(2, b"\xfemysql_clear_password\0")) as (dsn, got):
        unseen = lost(look(dsn))
    assert unseen["reason"] == "unsupported"
    assert "asks for the password as it is" in unseen["detail"]
    assert not [text for text in got if WRONG.encode() in text]


def test_caching_sha2_over_a_plain_connection(look):
    pytest.importorskip("pymysql")
    try:
        import cryptography  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("cryptography is installed: the password can be encrypted")
    key = packet(6, b"\x01-----BEGIN PUBLIC KEY-----")
    says = (greeting(b"caching_sha2_password"), packet(2, b"\x01\x04"), packet(4, key[4:]))
    with played(*says) as (dsn, got):
        unseen = lost(look(dsn))
    assert unseen["reason"] == "unsupported"
    assert "caching_sha2_password" in unseen["detail"]
    assert "pip install cryptography" in unseen["hint"]
    assert not [text for text in got if WRONG.encode() in text]


@pytest.mark.parametrize(
    "says",
    [
        (b"",),
        (b"\xff\xff\xff\x00" + bytes(100),),
        (packet(0, b"\x0a"),),
        (packet(0, b"\x0a" + b"x" * 300),),
        (greeting(version=b"eight"),),
        (greeting(), packet(2, b"\xfe" + b"\xff" * 40)),
        (greeting(), packet(2, b"\x00\x00\x00\x02\x00\x00\x00"), packet(1, b"\xfb/etc/passwd")),
        (greeting(), packet(2, b"\x00\x00\x00\x02\x00\x00\x00"), packet(1, b"\xfe" * 9)),
        (greeting(), packet(9, b"\x00\x00\x00\x02\x00\x00\x00")),
    ],
    ids=["nothing", "zeros", "short", "long", "version", "plugin", "wants-a-file", "eof", "sequence"],
)
def test_nonsense_is_a_reason_and_no_crash(look, says):
    with played(*says) as (dsn, got):
        unseen = lost(look(dsn, timeout=30))
    assert unseen["reason"] in ("malformed", "unreachable", "timeout", "unsupported")
    assert not [text for text in got if b"root:" in text]


def test_a_machine_that_is_blocked(look):
    text = b"Host '10.0.0.9' is blocked because of many connection errors"
    with played(packet(0, b"\xff" + struct.pack("<H", 1129) + text)) as (dsn, _):
        unseen = lost(look(dsn))
    assert unseen["reason"] == "denied"
    assert "FLUSH HOSTS" in unseen["hint"]
