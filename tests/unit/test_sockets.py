"""Sockets: the tables of the kernel, what two samples of them say, and what that means."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opsdoc import probes
from opsdoc.clients import Live
from opsdoc.clients import sockets as client
from opsdoc.host import LiveHost
from opsdoc.looks.sockets import stuck_at
from opsdoc.model import Malformed, Observation, Severity, Total, Unknown, Unreachable, Unseen
from opsdoc.parsers import sockets as parser
from opsdoc.redact import Redactor
from opsdoc.signals.connections import Descriptors, Listener, Network, PeerConnections, Ports
from opsdoc.signals.sockets import PRECEDENCE, Limits, judge

SAMPLE = (Path(__file__).parent / "samples/proc-net.txt").read_bytes()
TABLES = dict(zip(("tcp", "tcp6", "unix"), (part.split(b"\n", 1)[1] for part in SAMPLE.split(b"==")[1:]), strict=True))
BLOB = parser.SEPARATOR.join(TABLES.values())
LIMITS = Limits()

# ── the tables ───────────────────────────────────────────────────────────────────────────────────


def test_the_tables_of_a_dual_stack_listener_with_a_full_queue():
    tables = parser.parse_tables(BLOB)
    (listener,) = tables.listeners
    assert (parser.address(listener.local), listener.received, listener.inode) == ("*:8080", 3, 133995)
    closing, asking = sorted(tables.troubled, key=lambda one: one.state, reverse=True)
    assert (closing.state, closing.received, closing.inode) == (parser.CLOSE_WAIT, 1, 133999)
    assert (asking.state, asking.retries, parser.address(asking.remote)) == (parser.SYN_SENT, 1, "127.0.0.1:8080")
    assert sorted(tables.unaccepted) == [  # what was accepted is not among them, whatever its state
        b"00000000000000000000000001000000:1F90 00000000000000000000000001000000:BB72",
        b"0100007F:1F90 0100007F:C030",  # an IPv4 address of an IPv6 socket
        b"0100007F:1F90 0100007F:C03C",
    ]
    survey = parser.survey(tables.rows)
    assert survey.states == {"ESTABLISHED": 6, "FIN_WAIT2": 1, "SYN_SENT": 1, "LISTEN": 1, "CLOSE_WAIT": 1}
    assert tables.unread == survey.unread == 0


def test_unix_listeners_and_who_waits_for_them():
    listeners = parser.parse_tables(BLOB).unix
    assert listeners == (
        parser.UnixListener(b"/run/app.sock", 134002, 1),
        parser.UnixListener(b"@abstract name", 134006, 0),
    )


def test_rows_that_are_none_are_counted_and_the_others_kept():
    tcp = TABLES["tcp"].replace(b"0100007F:C030", b"0100007F/C030") + b"cut\n"
    tables = parser.parse_tables(parser.SEPARATOR.join((tcp, b"", TABLES["unix"] + b"nothing\n")))
    survey = parser.survey(tables.rows)
    assert (survey.unread, tables.unread) == (2, 1)
    assert sum(survey.states.values()) == 3
    assert tables.cut
    assert not parser.parse_tables(BLOB).cut


@pytest.mark.parametrize("blob", [b"", b"\0\0", b"<html>", TABLES["unix"]])
def test_what_is_no_table(blob):
    with pytest.raises(Malformed):
        parser.parse_tables(blob)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"0100007F:1F90", "127.0.0.1:8080"),
        (b"0100007F", "127.0.0.1"),
        (b"00000000:0050", "*:80"),
        (b"00000000000000000000000001000000:1F90", "[::1]:8080"),
        (b"B80D0120000000000000000001000000:01BB", "[2001:db8::1]:443"),
        (b"00000000000000000000000000000000:1F90", "*:8080"),
    ],
)
def test_an_address(raw, said):
    assert parser.address(raw) == said


@pytest.mark.parametrize("raw", [b"", b"x", b"0100007F:", b"01:50", b":1F90", b"0100007F:1F90:1"])
def test_what_is_no_address(raw):
    if raw in (b"", b":1F90"):
        assert parser.address(raw).startswith("*")
        return
    with pytest.raises(Malformed):
        parser.address(raw)


def test_ports_are_counted_for_each_destination_and_local_address():
    pairs = [
        b"0100007F:8000 0300000A:1538 01",
        b"0100007F:8001 0300000A:1538 06",
        b"0200007F:8001 0300000A:1538 01",  # another local address: the same port again
        b"0100007F:7FFF 0300000A:1538 01",  # not of the range
        b"0100007F:8002 0300000A:1539 01",  # another port of the peer
        b"0100007F:8003 00000000:0000 0A",  # a listener
    ]
    first, *others = parser.destinations(pairs, 32768, 60999)
    assert first == parser.Destination(b"0100007F", b"0300000A:1538", 2, 1)
    assert [one.ports for one in others] == [1, 1]


def test_a_listener_has_the_connections_of_its_address_or_of_all():
    waiting = parser.Counter({b"0100007F:1F90": 3, b"0200007F:1F90": 2, b"0100007F:1F91": 9})
    every, one = b"00000000:1F90", b"0200007F:1F90"
    assert stuck_at(every, waiting, frozenset({every})) == 5
    assert stuck_at(every, waiting, frozenset({every, one})) == 3
    assert stuck_at(one, waiting, frozenset({every, one})) == 2


# ── counters and settings ────────────────────────────────────────────────────────────────────────


def test_counters():
    text = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 18 19\nTcp: MaxConn OutSegs\nTcp: -1 7\n"
    assert parser.parse_counters(text) == {
        "TcpExt.ListenOverflows": 18, "TcpExt.ListenDrops": 19, "Tcp.MaxConn": -1, "Tcp.OutSegs": 7,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "TcpExt: A B\nTcpExt: 1\n", "TcpExt: A\nTcp: 1\n", "A: B\nA: ٣\n", "A B\nA 1\n"])
def test_what_are_no_counters(text):
    with pytest.raises(Malformed):
        parser.parse_counters(text)


def test_the_other_files():
    text = "sockets: used 15\nTCP: inuse 1 orphan 4 tw 2 alloc 1 mem 231\nUDP: inuse 0 mem 0\n"
    assert parser.parse_sockstat(text) == {"inuse": 1, "orphan": 4, "tw": 2, "alloc": 1, "mem": 231}
    assert parser.parse_numbers("32768\t60999\n") == (32768, 60999)
    assert parser.parse_ports("8080,9000-9010\n") == ((8080, 8080), (9000, 9010))
    assert parser.parse_ports("\n") == ()
    limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            {} 20000  files \n"
    assert parser.parse_open_files(limits.format("1024")) == 1024
    assert parser.parse_open_files(limits.format("unlimited")) is None
    for parse, bad in ((parser.parse_sockstat, "TCP: inuse"), (parser.parse_numbers, "x"), (parser.parse_ports, "1-x")):
        with pytest.raises(Malformed):
            parse(bad)
    with pytest.raises(Malformed):
        parser.parse_open_files("Max open files  many  many  files\n")


# ── judgement ────────────────────────────────────────────────────────────────────────────────────


def network(**fields) -> Network:
    base = {
        "subject": "this network namespace", "retransmitted": 0.0, "overflows": 0.0, "segments": 5000,
        "memory_aborts": 0.0,
        "listeners": 1, "longest_queue": 0, "seconds": 2.0, "namespace": "this network namespace",
    }  # fmt: skip
    return Network(**(base | fields))


def listener(**fields) -> Listener:
    base = {
        "subject": "127.0.0.1:8080", "queue": 0, "before": 0, "stuck": 0, "program": "shop.py", "pid": 7,
        "state": "sleeping", "family": "tcp", "namespace": "this network namespace",
    }  # fmt: skip
    return Listener(**(base | fields))


def closing(count, peer="10.0.0.7:5432", **fields) -> PeerConnections:
    base = {
        "subject": peer, "count": count, "state": "CLOSE_WAIT", "standing": count, "new": 0, "unread": 0, "peer": peer,
        "incoming": False, "addresses": 1, "program": "shop.py", "pid": 7, "process_standing": count, "process_new": 0,
        "process_peers": 1, "process_state": "sleeping", "namespace": "this network namespace",
    }  # fmt: skip
    return PeerConnections(**(base | fields))


def judged(*observations: Observation, rule: str):
    found = [f for f in judge(observations, (), LIMITS) if f.rule == rule]
    assert len(found) == 1, found
    return found[0]


def severity(*observations: Observation, rule: str) -> Severity:
    return judged(*observations, rule=rule).severity


def test_each_rule_has_its_place_in_the_table():
    full = [
        network(orphans=1, most_orphans=100, tracked=1, most_tracked=100, cut=True),
        Descriptors(subject="pid 7", share=0.1, open=1, limit=10, pid=7),
    ]
    assert {f.rule for f in judge(full, (), LIMITS)} == set(PRECEDENCE)


@pytest.mark.parametrize(
    ("overflows", "queue", "before", "grade"),
    [
        (0.0, 4, 4, Severity.OK),
        (0.0, 5, 9, Severity.WARNING),
        (0.0, 900, 2, Severity.OK),  # a burst that was only just there
        (0.0, 200, 129, Severity.CRITICAL),
        (0.5, 2, 2, Severity.CRITICAL),  # it overflows, however short it is
        (0.5, 0, 0, Severity.WARNING),  # it had room again
        (0.5, 3, None, Severity.WARNING),
    ],
)
def test_a_queue_is_judged_by_what_stands_in_it_and_by_the_overflows(overflows, queue, before, grade):
    rows = network(overflows=overflows, longest_queue=queue), listener(queue=queue, before=before)
    assert severity(*rows, rule="sockets.accept-queue") is grade


def test_overflows_at_a_longer_queue_of_others_are_not_ours():
    rows = network(overflows=3.0, longest_queue=129, of_process=7), listener(queue=1, before=1)
    fine = judged(*rows, rule="sockets.accept-queue")
    assert fine.severity is Severity.OK
    assert fine.summary.endswith("3 times a second at those of others")


def test_only_the_longest_of_several_queues_is_blamed_for_the_overflows():
    rows = network(overflows=3.0, longest_queue=129), listener(queue=129, before=129), listener(queue=2, before=2)
    assert severity(*rows, rule="sockets.accept-queue") is Severity.CRITICAL


@pytest.mark.parametrize(
    ("fields", "files", "said"),
    [
        ({"state": "stopped"}, 0.1, "is stopped"),
        ({"stuck": 6}, 0.1, "accepted none"),
        ({"stuck": 5}, 0.1, "does not accept fast enough"),
        ({"stuck": 6}, 1.0, "has 64 of 64 descriptors open and cannot accept"),
        ({"pid": Unknown("x"), "uid": 33, "program": Unknown("x")}, 0.1, "a process of uid 33"),
    ],
)
def test_the_finding_says_why_nothing_is_accepted(fields, files, said):
    rows = (
        network(overflows=3.0, longest_queue=6),
        listener(queue=6, before=6, **fields),
        Descriptors(subject="shop.py (pid 7)", share=files, open=64, limit=64, pid=7, program="shop.py"),
    )
    assert said in judged(*rows, rule="sockets.accept-queue").summary


def test_counters_that_cannot_be_read_are_unknown_and_what_was_seen_is_still_told():
    broken = network(overflows=Unknown("no counters"), retransmitted=Unknown("no counters"), segments=Unknown("x"))
    assert severity(broken, rule="sockets.accept-queue") is Severity.UNKNOWN
    found = [f.severity for f in judge([broken, listener(queue=9, before=9)], (), LIMITS) if f.rule.endswith("queue")]
    assert found == [Severity.UNKNOWN, Severity.WARNING]


def test_a_leak_that_is_spread_over_many_peers_is_one_leak():
    rows = [closing(2, f"10.0.0.{n}:80", process_standing=600, process_new=9, process_peers=300) for n in range(5)]
    finding = judged(network(), *rows, rule="sockets.close-wait")
    assert finding.severity is Severity.CRITICAL
    assert "600 connections" in finding.summary
    assert finding.summary.endswith("10.0.0.0:80 and 299 more, 9 more in 2.0 s")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "does not close"),
        ({"unread": 30}, "neither reads nor closes"),
        ({"process_state": "stopped"}, "is stopped"),
    ],
)
def test_the_finding_says_what_is_done_with_closed_connections(fields, said):
    assert said in judged(network(), closing(30, **fields), rule="sockets.close-wait").summary


def test_one_sample_warns_of_closed_connections_at_most():
    once = closing(900, standing=Unknown("one"), process_standing=Unknown("one"), process_new=Unknown("one"))
    assert severity(network(), once, rule="sockets.close-wait") is Severity.WARNING


@pytest.mark.parametrize(("unanswered", "grade"), [(0, Severity.OK), (1, Severity.WARNING), (50, Severity.CRITICAL)])
def test_attempts_are_judged_once_they_were_repeated(unanswered, grade):
    row = closing(80, state="SYN_SENT", unanswered=unanswered, retries=3)
    assert severity(network(), row, rule="sockets.syn-sent") is grade


@pytest.mark.parametrize(
    ("fields", "rule", "grade"),
    [
        ({"retransmitted": 0.5, "segments": 40}, "sockets.retransmits", Severity.OK),  # too few to tell
        ({"retransmitted": 0.5}, "sockets.retransmits", Severity.CRITICAL),
        ({"memory": 70, "most_memory": 100}, "sockets.memory", Severity.WARNING),
        ({"memory": 1, "most_memory": 100, "memory_aborts": 0.5}, "sockets.memory", Severity.CRITICAL),
        ({"memory": Unknown("x"), "most_memory": Unknown("x")}, "sockets.memory", Severity.OK),
        ({"orphans": 30, "most_orphans": 100}, "sockets.orphans", Severity.WARNING),
        ({"tracked": 96, "most_tracked": 100}, "sockets.conntrack", Severity.CRITICAL),
    ],
)
def test_what_the_kernel_is_short_of(fields, rule, grade):
    assert severity(network(**fields), rule=rule) is grade


def test_ports_that_can_be_used_again_do_not_count():
    row = Ports(
        subject="10.0.0.1 → 10.0.0.7:5432", share=0.96, used=97, capacity=100, time_wait=1, reusable=True, range="1-2"
    )
    assert judged(network(), row, rule="sockets.ports").summary.startswith(
        "10.0.0.1 → 10.0.0.7:5432: 96 of 100 ephemeral ports are taken"
    )


def test_the_open_files_of_the_machine():
    row = Descriptors(subject="this machine", share=0.96, open=96, limit=100)
    finding = judged(network(), row, rule="sockets.descriptors")
    assert (finding.severity, finding.threshold.name) == (Severity.CRITICAL, "sockets.files_used")


def test_descriptors_that_cannot_be_counted_are_unknown_only_of_the_process_that_was_asked_for():
    hidden = Descriptors(subject="pid 7", share=Unknown("not permitted"), open=Unknown("not permitted"), pid=7)
    assert severity(network(of_process=7), hidden, rule="sockets.descriptors") is Severity.UNKNOWN
    assert severity(network(), hidden, rule="sockets.descriptors") is Severity.OK


# ── from a folder like /proc ─────────────────────────────────────────────────────────────────────

STAT = "{} (shop) S 1 7 7 0 -1 0 0 0 0 0 10 5 2 1 20 0 3 0 99 1 2 3 0 0\n"


class Box:
    """A folder like /proc with a process 7 that holds the sockets of the sample, and opsdoc as process 9."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder
        for pid in ("7", "9"):
            for name in ("net", "fd"):
                (folder / pid / name).mkdir(parents=True)
            (folder / pid / "stat").write_text(STAT.format(pid))
            for name, table in TABLES.items():
                (folder / pid / "net" / name).write_bytes(table)
            text = "TcpExt: ListenOverflows TCPSynRetrans\nTcpExt: 5 0\nTcp: OutSegs RetransSegs\nTcp: 900 0\n"
            (folder / pid / "net/netstat").write_text(text)
            (folder / pid / "net/snmp").write_text("")
        (folder / "self").symlink_to("9")
        (folder / "7/limits").write_text("Max open files  64 64 files\n")
        (folder / "7/cmdline").write_bytes(b"python3\0shop.py\0--password=hunter2\0")
        for number, inode in enumerate((133995, 133999, 134001, 134002)):
            (folder / f"7/fd/{number}").symlink_to(f"socket:[{inode}]")

    def look(self, pid=None, rows=5):
        live = Live(deadline=time.monotonic() + 20, redactor=Redactor(), proc=self.proc)
        run = probes.load("sockets").run(LiveHost(live, "2026-11-03T14:02:11+08:00"), pid=pid, window=0.01, rows=rows)
        return list(run)

    def of(self, kind, **options):
        return [item for item in self.look(**options) if isinstance(item, kind)]


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "proc")


def test_a_look_at_a_process(box):
    listening, unix = box.of(Listener, pid=7)
    assert (listening.subject, listening.queue, listening.before, listening.stuck) == ("*:8080", 3, 3, 3)
    assert (listening.program, listening.pid, listening.family) == ("shop.py", 7, "tcp6")
    assert (unix.subject, unix.queue) == ("/run/app.sock", 1)
    leak, attempt = box.of(PeerConnections, pid=7)
    assert (leak.peer, leak.incoming, leak.top_address, leak.unread) == ("clients of port 8080", True, "127.0.0.1", 1)
    assert (attempt.peer, attempt.unanswered, attempt.peer_queue) == ("127.0.0.1:8080", 1, 3)
    (seen,) = box.of(Network, pid=7)
    assert (seen.overflows, seen.longest_queue, seen.listeners) == (0.0, 3, 3)
    assert isinstance(seen.half_open_drops, Unknown)  # this kernel does not count them


def test_no_more_rows_than_asked_for_but_their_number(box):
    seen = box.look(rows=1)
    assert sum(isinstance(item, Listener) for item in seen) == 1
    assert Total(kind="listener", number=6) in seen  # three in the namespace of each process


def test_files_that_are_broken_or_missing_are_told(box):
    with (box.proc / "9/net/tcp").open("ab") as file:
        file.write(b"\xff not a row\n\n")
    (box.proc / "9/net/netstat").write_text("TcpExt: A\n")
    own = next(one for one in box.of(Network) if one.namespace == "the network namespace of opsdoc")
    assert isinstance(own.overflows, Unknown)
    details = [item.detail for item in box.look() if isinstance(item, Unseen)]
    assert "2 rows of its tables are not what they should be" in details


def test_a_table_that_is_too_long_makes_no_green_light(box, monkeypatch):
    monkeypatch.setattr(client, "TABLE_CAP", 400)
    seen = box.look()
    assert next(item for item in seen if isinstance(item, Network)).cut
    observations = [item for item in seen if isinstance(item, Observation)]
    assert judged(*observations[:1], rule="sockets.hidden").severity is Severity.UNKNOWN


def test_owners_are_found_beyond_the_first_descriptors_unless_the_socket_is_idle(box, monkeypatch):
    monkeypatch.setattr(client, "FEW", 1)
    live = Live(deadline=time.monotonic() + 20, redactor=Redactor(), proc=box.proc)
    inodes = (133995, 133999, 134001)
    found = [inode for inode, _ in client.Owners((7,), inodes).answer(live)["owners"]]
    assert sorted(found) == sorted(inodes)
    assert len(client.Owners((7,), (), inodes).answer(live)["owners"]) <= 1


def test_a_recording_masks_the_paths_and_nothing_else(box):
    blob = BLOB.replace(b"/run/app.sock", b"/run/token=abc")
    kept = client.Tables(7).recorded(blob, Redactor())
    assert kept == blob.replace(b"token=abc", b"token=********")


def test_a_process_that_has_ended(box):
    (box.proc / "7/stat").write_text(STAT.format(7).replace(") S ", ") Z "))
    with pytest.raises(Unreachable, match="zombie"):
        box.look(pid=7)
    with pytest.raises(Unreachable, match="no process 8"):
        box.look(pid=8)


def test_the_box_without_a_network(box):
    for pid in ("7", "9"):
        (box.proc / pid / "net/tcp").unlink()
    with pytest.raises(Unreachable, match="no network namespace"):
        box.look()
