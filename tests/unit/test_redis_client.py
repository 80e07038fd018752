"""The clients of Redis and memcached, over real sockets: real servers, and servers that are something else."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import memcached, redis
from servers.programs import wait_until
from servers.redis import certificates
from servers.redis_client import fill, names, populate

from opsdoc.clients import Live
from opsdoc.clients.memcached import Server, Stats
from opsdoc.clients.redis import Ask, Latency
from opsdoc.clients.redis_sample import KeySample
from opsdoc.clients.redis_target import Target
from opsdoc.host import LiveHost
from opsdoc.model import Denied, Interrupted, Malformed, ProbeError, TimedOut, Unreachable, Unsupported, UsageError
from opsdoc.parsers import memcached as memcached_stats
from opsdoc.parsers import redis_info
from opsdoc.recording import RecordingHost, ReplayHost
from opsdoc.redact import MASK, Redactor

SECRET = "hunter2hunter2"
# What a look at one node asks for: the first sample, and the second.
FIRST = (
    ("INFO", "all"), ("ROLE",), ("CONFIG", "GET", "maxmemory*"), ("SLOWLOG", "GET", "10"), ("LATENCY", "LATEST"),
)  # fmt: skip
SECOND = (("INFO", "all"),)


@pytest.fixture
def server() -> Iterator[Callable[..., redis.Redis]]:
    """`server(maxmemory="4mb")`: a real one until the test ends."""
    with contextlib.ExitStack() as made:
        yield lambda **options: made.enter_context(redis.standalone(**options))


@pytest.fixture
def live() -> Iterator[Live]:
    made = live_for()
    yield made
    made.stop()


def live_for(seconds=20.0):
    return Live(time.monotonic() + seconds, Redactor())


def ask(target, *commands, **options):
    return Ask(target, tuple(tuple(command.split()) for command in commands), **options)


def told(server):
    """The target that a server is."""
    return Target.of(server.url)


# ── others that answer ───────────────────────────────────────────────────────────────────────────


class Impostor:
    """A server on loopback: each connection is given to a function, in a thread of its own."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.connections = 0
        self.heard = b""
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        with contextlib.suppress(OSError), connection:
            self.heard += connection.recv(4096)
            self._serve(connection)

    def close(self):
        for opened in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def impostor():
    with contextlib.ExitStack() as stack:

        def start(serve):
            made = Impostor(serve)
            stack.callback(made.close)
            return made

        yield start


def says(data):
    """What says the same bytes to the first words and hangs up."""
    return lambda connection: connection.sendall(data)


def drips(connection):
    """A byte now and then, and never an end."""
    with contextlib.suppress(OSError):
        connection.sendall(b"$1000\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


def floods(connection):
    while True:
        connection.sendall(b"x" * (1 << 20))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", Malformed, "an HTTP server"),
        (b"<!DOCTYPE HTML>\n<html>", Malformed, "an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Malformed, "an SSH server"),
        (b"ERROR\r\nERROR\r\n", Malformed, "memcached"),
        (b"J\0\0\0\x0a8.0.36\0", Malformed, "a MySQL server"),
        (b"\x15\x03\x01\0\x02\x02F", Unsupported, "speaks TLS only"),
        (b"*1\r\n" * 100, Malformed, "items"),
        (b":9_9\r\n", Malformed, "not a number"),
        (b"$9999999999\r\nx", Malformed, "longer than 16 MiB"),
        (b"$100\r\nhalf", Malformed, "broke off"),
        (b"", Unreachable, "without an answer"),
        (b"-DENIED Redis is running in protected mode because ...\r\n", Denied, "protected mode"),
        (b"-ERR max number of clients reached\r\n", Unreachable, "no more clients"),
    ],
)
def test_a_stranger_is_named(impostor, live, data, error, words):
    other = impostor(says(data))
    with pytest.raises(error) as caught:
        ask(Target.of(other.address), "INFO all").answer(live)
    assert type(caught.value) is error
    assert words in caught.value.detail
    assert other.address in caught.value.detail
    assert caught.value.hint


@pytest.mark.parametrize("serve", [drips, lambda connection: connection.recv(1)])
def test_who_never_ends_is_not_waited_for(impostor, live, serve):
    other = impostor(serve)
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"did not answer within 0\.4 s"):
        ask(Target.of(other.address), "INFO all", within=0.4).answer(live)
    assert time.monotonic() - began < 5
    with pytest.raises(TimedOut, match="not asked again"):
        ask(Target.of(other.address), "INFO all").answer(live)
    assert other.connections == 1


def test_a_flood_is_not_drunk(impostor, live):
    tracemalloc.start()
    with pytest.raises(Malformed):
        ask(Target.of(impostor(floods).address), "INFO all").answer(live)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_nobody_listens(live):
    (port,) = redis.free_ports(1)
    with pytest.raises(Unreachable, match="refused") as caught:
        ask(Target.of(f"127.0.0.1:{port}"), "PING").answer(live)
    assert str(port) in caught.value.hint


def test_a_real_memcached_is_not_redis_and_the_other_way_round(server, live):
    with memcached.server() as other, pytest.raises(Malformed, match="it is memcached, not Redis"):
        ask(Target.of(other.address), "INFO all").answer(live)
    with pytest.raises(Malformed, match="it is Redis, not memcached"):
        Stats(Server.of(server().address)).answer(live)


def test_a_stop_ends_the_wait(impostor):
    live, errors = live_for(), []
    other = impostor(lambda connection: connection.recv(1))

    def put():
        try:
            ask(Target.of(other.address), "PING", within=15).answer(live)
        except ProbeError as error:
            errors.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    wait_until(lambda: other.heard, "a question")
    live.stop()
    thread.join(2)
    assert not thread.is_alive()
    assert isinstance(errors[0], Interrupted)


# ── what is asked ────────────────────────────────────────────────────────────────────────────────


def test_one_error_does_not_lose_the_others(server, live):
    answers = ask(told(server()), "INFO all", "CLUSTER NODES", "ROLE", "CONFIG GET maxmemory*").answer(live)
    assert redis_info.parse(answers[0]["ok"]).text("role") == "master"
    assert answers[1] == {"error": "ERR This instance has cluster support disabled"}
    assert answers[2] == {"ok": ["master", 0, []]}
    assert "maxmemory-policy" in answers[3]["ok"]
    assert json.loads(json.dumps(answers)) == answers


@pytest.mark.parametrize(
    "command",
    [
        "GET a", "SET a b", "FLUSHALL", "CONFIG SET maxmemory 1", "CONFIG GET *", "CONFIG GET requirepass", "MONITOR",
        "CONFIG GET masterauth", "DEBUG SLEEP 1", "CLUSTER FAILOVER", "SENTINEL FAILOVER shop", "CONFIG RESETSTAT",
        "SLOWLOG RESET", "SLOWLOG GET 100000", "CLIENT LIST", "SCAN 0", "KEYS *", "XINFO STREAM s", "INFO ALL", "info",
        "MEMORY PURGE", "LATENCY RESET", "SHUTDOWN", "ROLE x", "SENTINEL SET shop quorum 1",
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_harmless_is_never_sent(impostor, live, command):
    other = impostor(floods)
    with pytest.raises(ValueError, match="harmless"):
        ask(Target.of(other.address), "PING", command).answer(live)
    assert other.connections == 0


def look(target, live):
    """What is asked of one node in a run."""
    Ask(target, FIRST).answer(live)
    Latency(target).answer(live)
    sample = KeySample(target, 30, 0.5).answer(live)
    Ask(target, SECOND).answer(live)
    return sample


def spent(server):
    """The calls of each command, and the seconds that all of them took."""
    info = redis_info.parse("\n".join(f"{name}:{value}" for name, value in server.info().items()))
    return {command.name: command.calls for command in info.commands}, sum(one.seconds for one in info.commands)


def test_a_server_that_is_looked_at_twice_counts_nothing(server, live):
    one = server()
    with contextlib.closing(one.client()) as client:
        fill(client, names(2000))
        client.do("GET", "item:1")
        client.do("GET", "nobody")
    assert one.counters() == (1, 1)
    for _ in range(2):
        assert look(told(one), live)["looked_at"] >= 25
    assert one.counters() == (1, 1)


def test_a_look_costs_a_server_little(server, live):
    one = server()
    with contextlib.closing(one.client()) as client:
        populate(client, 300_000, size=10)
    costs = []
    for _ in range(3):  # the server measures by the clock: on a crowded machine some of it is ours
        calls, seconds = spent(one)
        look(told(one), live)
        calls_after, seconds_after = spent(one)
        costs.append(seconds_after - seconds)
        ours = {name: count - calls.get(name, 0) for name, count in calls_after.items() if count != calls.get(name, 0)}
        assert ours["info"] == 3  # one of them is that of `spent`
        assert sum(ours.values()) - 1 < 50
        assert not ours.keys() & {"client|setinfo", "client|setname", "hello"}
    assert min(costs) < 0.005


def test_what_monitor_shows_only_reads(server, live):
    one = server()
    with contextlib.closing(one.client()) as client:
        fill(client, names(100))
    with one.monitored() as sent:
        look(told(one), live)
        lines = sent()
    words = [line.split(b'"')[1].decode() for line in lines]
    # MONITOR does not show CONFIG, LATENCY and SLOWLOG: they are commands of administrators.
    assert set(words) == {"INFO", "ROLE", "PING", "DBSIZE", "SCAN", "MEMORY"}
    assert words.count("SCAN") <= 3
    assert words.count("MEMORY") <= 30
    assert all(b"USAGE" in line for line in lines if b'"MEMORY"' in line)
    assert all(b"TYPE" not in line for line in lines if b'"SCAN"' in line)  # it would count as hits


def ask_info(server, live):
    return ask(told(server), "INFO all").answer(live)[0]["ok"]


def test_many_questions_share_one_connection(server, live):
    one = server()
    before = int(one.info()["total_connections_received"])
    host = LiveHost(live, "2026-11-22T21:53:54Z")
    answers = host.gather([ask(told(one), "PING", "TIME", *["ROLE"] * number) for number in range(10)])
    assert [len(answer.value) for answer in answers] == [2 + number for number in range(10)]
    assert all(answer.value[0] == {"ok": "PONG"} for answer in answers)
    assert int(one.info()["total_connections_received"]) == before + 2


def test_a_connection_that_the_server_closed_is_made_anew(server, live):
    one = server(requirepass=SECRET)
    target = Target.of(f"redis://:{SECRET}@{one.address}")
    assert ask(target, "PING").answer(live) == [{"ok": "PONG"}]
    assert one.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 1
    assert ask(target, "PING").answer(live) == [{"ok": "PONG"}]


def test_latencies_are_those_of_single_questions(server, live):
    seconds = Latency(told(server()), 3).answer(live)
    assert len(seconds) == 3
    assert all(0 < value < 1 for value in seconds)


def test_the_slow_log_tells_no_values(server, live):
    one = server(slowlog_log_slower_than=0)
    one.do("SET", "session:7", SECRET)
    answer = ask(told(one), "SLOWLOG GET 10").answer(live)[0]["ok"]
    slow = next(entry for entry in answer if entry["command"] == "SET")
    assert slow["arguments"] == 2
    assert slow["client"].startswith("127.0.0.1:")
    assert SECRET not in json.dumps(answer)
    assert "session:7" not in json.dumps(answer)


def test_a_recording_answers_the_same_without_a_server(server, tmp_path):
    one = server(requirepass=SECRET)
    target = Target.of(f"redis://app:{SECRET}@{one.address}".replace("app", "default"))
    host = RecordingHost(live_for(), "2026-11-22T21:53:54Z")
    questions = [Ask(target, FIRST), Latency(target), KeySample(target, 10, 0.2), ask(target, "CLUSTER INFO")]
    seen = [host.ask(question).value for question in questions]
    host.stop(0)
    host.save(tmp_path / "case", {"tool": "opsdoc", "probe": "cache.redis", "options": {}, "cut_short": None})
    replay = ReplayHost(tmp_path / "case")
    assert [replay.ask(question).value for question in questions] == seen
    assert all(SECRET.encode() not in path.read_bytes() for path in (tmp_path / "case").rglob("*") if path.is_file())


# ── frozen ───────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_server_takes_connections_and_is_given_up(server, live):
    one, other = server(), server()
    host = LiveHost(live, "2026-11-22T21:53:54Z")
    with one.frozen():
        began = time.monotonic()
        frozen, well = host.gather([ask(told(one), "PING", within=0.5), ask(told(other), "PING", within=0.5)])
        assert time.monotonic() - began < 5
        assert isinstance(frozen, TimedOut)
        assert "takes connections" in frozen.detail
        assert well.value == [{"ok": "PONG"}]
        with pytest.raises(TimedOut, match="not asked again"):
            ask(told(one), "PING").answer(live)


def test_a_server_that_freezes_within_the_window_is_asked_once_more(server, live):
    one = server()
    assert ask(told(one), "PING").answer(live)
    with one.frozen(), pytest.raises(TimedOut, match=r"did not answer within 0\.3 s"):
        ask(told(one), "PING", within=0.3).answer(live)
    assert ask(told(one), "PING").answer(live) == [{"ok": "PONG"}]  # no late answer is taken for this one


# ── who asks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def locked(server):
    return server(requirepass=SECRET)


def test_a_password_is_wanted(locked, live):
    with pytest.raises(Denied, match="wants a password") as caught:
        ask(told(locked), "INFO all").answer(live)
    assert "--password-env" in caught.value.hint


@pytest.mark.parametrize("url", ["redis://:wrongwrong@{}", "redis://nobody:wrongwrong@{}", "redis://wrongwrong@{}"])
def test_a_wrong_password_is_denied_and_not_told(locked, live, url):
    with pytest.raises(Denied, match="WRONGPASS") as caught:
        ask(Target.of(url.format(locked.address)), "INFO all").answer(live)
    assert "wrongwrong" not in caught.value.detail + caught.value.hint


def test_a_wrong_password_is_tried_once(locked, live):
    target = Target.of(f"redis://:wrongwrong@{locked.address}")
    for _ in range(3):
        with pytest.raises(Denied, match="WRONGPASS"):
            ask(target, "PING").answer(live)
    assert locked.info()["errorstat_WRONGPASS"] == "count=1"


def test_a_password_from_anywhere(locked, live, tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_PASSWORD", SECRET)
    (tmp_path / "password").write_text(f"{SECRET}\nanother line\n")
    for target in (
        Target.of(f"redis://:{SECRET}@{locked.address}"),
        Target.of(f"redis://{SECRET}@{locked.address}"),  # as redis-cli has it
        Target.of(locked.url, password_env="CACHE_PASSWORD"),
        Target.of(locked.url, password_env="CACHE_PASSWORD", user="default"),
        Target.of(f"redis://default:wrong@{locked.address}", password_file=tmp_path / "password"),
    ):
        assert ask(target, "ACL WHOAMI").answer(live) == [{"ok": "default"}]
        assert SECRET not in f"{target} {target!r} {ask(target, 'PING').key()} {target.login!r}"


def test_a_password_that_is_not_there(locked, live, tmp_path):
    for options in ({"password_env": "NO_SUCH_VARIABLE"}, {"password_file": tmp_path / "missing"}):
        with pytest.raises(UsageError):
            ask(Target.of(locked.url, **options), "PING").answer(live)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://cache", {}),
        ("redis://cache", {"password_env": "A", "password_file": "B"}),
        ("redis://cache", {"ca": "ca.pem"}),
        ("rediss://cache", {"private_key": "key.pem"}),
    ],
)
def test_options_that_do_not_fit(url, options):
    with pytest.raises(UsageError):
        Target.of(url, **options)


def test_a_password_that_nobody_asked_for_does_no_harm(server, live):
    one = server()
    assert ask(Target.of(f"redis://:{SECRET}@{one.address}"), "PING").answer(live) == [{"ok": "PONG"}]


def test_a_user_who_may_do_little_sees_what_is_permitted(server, live):
    one = server()
    one.do("ACL", "SETUSER", "viewer", "on", f">{SECRET}", "~*", "+ping", "+role", "+dbsize", "+scan")
    target = Target.of(f"redis://viewer:{SECRET}@{one.address}")
    refused, role, _ = ask(target, "INFO all", "ROLE", "SLOWLOG GET 10").answer(live)
    assert refused["error"].startswith("NOPERM")
    assert "info" in refused["error"]
    assert role["ok"][0] == "master"
    one.do("SET", "a", "b")
    sample = KeySample(target, 10, 0.2).answer(live)
    assert sample["ended"] == "error"
    assert sample["error"].startswith("NOPERM")
    assert (sample["looked_at"], sample["of"]) == (0, 1)


def test_commands_that_were_renamed_are_missing_and_nothing_else(server, live):
    one = server(words=("--rename-command", "CONFIG", "", "--rename-command", "SLOWLOG", "hidden"))
    answers = ask(told(one), "INFO all", "CONFIG GET maxmemory*", "SLOWLOG GET 10").answer(live)
    assert "ok" in answers[0]
    assert all("unknown command" in answer["error"] for answer in answers[1:])


def test_no_more_clients_are_taken(server, live):
    one = server(maxclients=2)
    with contextlib.closing(one.client()) as first, contextlib.closing(one.client()) as second:
        assert first.do("PING") == second.do("PING") == b"PONG"
        with pytest.raises(Unreachable, match="max number of clients"):
            ask(told(one), "INFO all").answer(live)


# ── TLS and unix sockets ─────────────────────────────────────────────────────────────────────────


def test_tls(server, live):
    one = server(mode="tls")
    ca = certificates() / "ca.pem"
    assert ask(Target.of(one.url, ca=ca), "PING").answer(live) == [{"ok": "PONG"}]
    with pytest.raises(Unreachable, match="not trusted") as caught:
        ask(told(one), "PING").answer(live)
    assert "--tls-ca" in caught.value.hint
    with pytest.raises(UsageError):
        ask(Target.of(one.url, ca=certificates() / "missing.pem"), "PING").answer(live)


def test_a_certificate_of_ours_is_wanted(server, live):
    one = server(mode="tls", words=("--tls-auth-clients", "yes"))
    files = {"certificate": certificates() / "cert.pem", "private_key": certificates() / "key.pem"}
    ca = certificates() / "ca.pem"
    assert ask(Target.of(one.url, ca=ca, **files), "PING").answer(live) == [{"ok": "PONG"}]
    with pytest.raises(Denied, match="certificate of ours") as caught:
        ask(Target.of(one.url, ca=ca), "PING").answer(live)
    assert "--tls-cert" in caught.value.hint


def test_tls_is_spoken_where_it_was_not_expected(server, live):
    one = server(mode="tls")
    with pytest.raises(Unsupported, match="speaks TLS only") as caught:
        ask(Target.of(one.address), "PING").answer(live)
    assert "rediss://" in caught.value.hint


def test_tls_is_not_spoken_where_it_was_expected(server, live):
    one = server()
    with pytest.raises((Malformed, TimedOut), match="TLS") as caught:
        ask(Target.of(f"rediss://{one.address}"), "PING").answer(live)
    assert "redis://" in caught.value.hint


def test_a_unix_socket(server, live, tmp_path):
    one = server(mode="unix")
    assert ask(told(one), "PING").answer(live) == [{"ok": "PONG"}]
    with pytest.raises(Unreachable, match="No such file"):
        ask(Target.of(f"unix://{tmp_path}/missing.sock"), "PING").answer(live)
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable):
        ask(Target.of(f"unix://{tmp_path}/file"), "PING").answer(live)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_biggest_keys_by_names_that_can_be_printed(server, live):
    one = server()
    hostile = [b"two\nlines", b"\x1b[31mred\x1b[0m", b"\xff\x00binary", "\u202egnp".encode(), b'"quoted\\']
    with contextlib.closing(one.client()) as client:
        fill(client, names(100))
        for number, key in enumerate(hostile, 1):
            client.do("SET", key, b"v" * 10_000 * number)
        client.do("RPUSH", f"password={SECRET}", *["v" * 1000] * 100)
    sample = KeySample(told(one), 1000, 2.0).answer(live)
    assert (sample["looked_at"], sample["of"], sample["ended"]) == (106, 106, "all")
    shown = [key["key"] for key in sample["keys"]]
    assert shown[0] == f"password={MASK}"
    assert shown[1:6] == [r"\"quoted\\", r"\xe2\x80\xaegnp", r"\xff\x00binary", r"\x1b[31mred\x1b[0m", r"two\nlines"]
    assert all(name.isprintable() for name in shown)
    assert sample["keys"][1]["bytes"] > 50_000
    assert len(shown) == 20


def test_a_sample_is_as_small_as_wanted(server, live):
    one = server()
    with contextlib.closing(one.client()) as client:
        populate(client, 30_000)
    sample = KeySample(told(one), 200, 2.0).answer(live)
    assert (sample["looked_at"], sample["of"], sample["ended"]) == (200, 30_000, "most")
    commands = {command.name: command.calls for command in redis_info.parse(ask_info(one, live)).commands}
    assert commands["memory|usage"] == 200
    assert commands["scan"] <= 2
    late = KeySample(told(one), 10_000, 0.0).answer(live)
    assert late["ended"] == "time"
    assert late["looked_at"] < 10_000


def test_a_table_that_was_emptied_has_no_end_of_empty_pages(server, live):
    one = server(activerehashing="no")
    with contextlib.closing(one.client()) as client:
        populate(client, 50_000)
        for start in range(1, 50_000, 5000):
            client.do("DEL", *names(50_000)[start : start + 5000])
    sample = KeySample(told(one), 20, 2.0).answer(live)
    commands = {command.name: command.calls for command in redis_info.parse(ask_info(one, live)).commands}
    assert sample["of"] == 1
    assert commands["scan"] <= 10


def test_keys_of_another_database(server, live):
    one = server()
    with contextlib.closing(one.client()) as client:
        client.do("SELECT", 3)
        client.do("SET", "there", "v")
    sample = KeySample(Target.of(f"{one.url}/3"), 10, 0.5).answer(live)
    assert [key["key"] for key in sample["keys"]] == ["there"]
    assert KeySample(Target.of(one.url), 10, 0.5).answer(live)["of"] == 0
    missing = KeySample(Target.of(f"{one.url}/9999"), 10, 0.5).answer(live)
    assert "out of range" in missing["error"]


# ── memcached ────────────────────────────────────────────────────────────────────────────────────


def test_stats_and_their_groups(live):
    with memcached.server() as one:
        with contextlib.closing(one.client()) as client:
            client.set_many(["a"])
        question = Stats(Server.of(one.address), ("", "items", "slabs", "settings"))
        general, items, slabs, settings = (answer["ok"] for answer in question.answer(live))
        assert general["cmd_set"] == "1"
        assert settings["maxconns"] == "1024"
        (slab,) = [slab for slab in memcached_stats.Stats({**items, **slabs}).slabs if slab.items]
        assert slab.items == 1
        Stats(Server.of(one.address)).answer(live)
        with contextlib.closing(one.client()) as client:
            assert client.number("total_connections") == int(general["total_connections"]) + 1


def test_a_group_that_could_do_harm_is_never_asked_for(live):
    for group in ("reset", "cachedump 1 100", "detail on", "sizes"):
        with pytest.raises(ValueError, match="harmless"):
            Stats(Server.of("127.0.0.1:1"), (group,)).answer(live)


def test_a_frozen_memcached(live):
    with memcached.server() as one, one.frozen(), pytest.raises(TimedOut, match="takes connections"):
        Stats(Server.of(one.address), within=0.3).answer(live)


def test_memcached_over_tls_and_over_a_unix_socket(live):
    with memcached.server(mode="unix") as one:
        assert Stats(Server.of(one.address)).answer(live)[0]["ok"]["version"]
    with memcached.server(mode="tls") as one:
        ca = certificates() / "ca.pem"
        assert Stats(Server.of(one.address, tls=True, ca=ca)).answer(live)[0]["ok"]["version"]
        with pytest.raises(ProbeError) as caught:
            Stats(Server.of(one.address)).answer(live)
        assert "--tls" in caught.value.hint


def test_a_memcached_that_wants_a_password_is_told_none(live):
    with tempfile.TemporaryDirectory() as folder:  # it runs as nobody
        users = Path(folder) / "users"
        users.write_text("shop:secret\n")
        users.parent.chmod(0o755)
        with memcached.server("-Y", str(users), mode="shut") as one, pytest.raises(Denied, match="password"):
            Stats(Server.of(one.address)).answer(live)


def test_a_memcached_that_takes_no_more_connections(live):
    with memcached.server("-c", "32") as one, contextlib.ExitStack() as stack:
        for _ in range(64):
            with contextlib.suppress(OSError):
                stack.enter_context(contextlib.closing(one.client()))
        with pytest.raises((Unreachable, TimedOut), match=r"no more connections|takes connections"):
            Stats(Server.of(one.address), within=0.5).answer(live)
