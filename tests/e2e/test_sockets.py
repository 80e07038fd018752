"""`opsdoc sockets` beside real trouble: queues that overflow, sockets that leak, ports and descriptors that run out."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from servers import programs, users
from servers.cli import Opsdoc
from servers.programs import Program, wait_until

SCRIPT = str(programs.PY / "connections.py")


class Net:
    """A network namespace in which nobody else is; as a plain user the one that all share."""

    def __init__(self, start, folder: Path, *mode: object) -> None:
        self._start = start
        self.alone = os.geteuid() == 0 and bool(shutil.which("unshare") and shutil.which("nsenter"))
        self.first: Program = start(self._program, ["unshare", "-n"] if self.alone else [], *(mode or ("rest",)))
        self.into = ["nsenter", "-t", str(self.first.pid), "-n"] if self.alone else []
        self.opsdoc = Opsdoc(folder, [*self.into, sys.executable, "-m", "opsdoc"])

    @staticmethod
    def _program(prefix, *args) -> Program:
        return Program([*prefix, sys.executable, SCRIPT, *map(str, args)])

    def start(self, *args: object) -> Program:
        """One of the modes of connections.py, in this namespace."""
        return self._start(self._program, self.into, *args)


@pytest.fixture
def net(start, tmp_path):
    return Net(start, tmp_path)


@pytest.fixture
def own_net(net):
    if not net.alone:
        programs.lacking("a network namespace of its own needs root, unshare and nsenter")
    return net


def rows(pid, state, port):
    """How many TCP sockets of a process's network namespace are in a state, with this remote or local port."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == state and f"{port:04X}" in (row[1][-4:], row[2][-4:]) for row in lines)


def overflowing(net, server):
    """Knock at a server until connections get no answer, and go on."""
    client = net.start("knock", server.facts["port"])
    client.say("hot")
    wait_until(lambda: rows(server.pid, "02", server.facts["port"]) >= 2, "connections without an answer")
    return client


# ── accept queues ────────────────────────────────────────────────────────────────────────────────


def test_a_program_that_does_not_accept(net):
    server = net.start("listen", 5)
    overflowing(net, server)
    run = net.opsdoc.json("sockets", server.pid)
    finding = run.finding("sockets.accept-queue")
    where = f"127.0.0.1:{server.facts['port']}"
    assert (run.code, finding["severity"], run.report["summary"]) == (2, "critical", finding["summary"])
    assert finding["summary"].startswith(f"the accept queue of {where} overflows")
    assert f"connections.py (pid {server.pid}) accepted none; 6 connections wait" in finding["summary"]
    assert finding["threshold"]["name"] == "sockets.overflows"
    assert f"ss -ltn 'sport = :{server.facts['port']}'" in finding["by_hand"]
    (listener,) = run.of("listener")
    assert (listener["queue"], listener["before"], listener["stuck"]) == (6, 6, 6)
    assert listener["backlog"] is None
    assert "netlink" in listener["unknown"]["backlog"]
    assert run.of("network")[0]["overflows"] > 0


def test_a_program_that_is_stopped(net):
    server = net.start("listen", 5)
    overflowing(net, server)
    with server.stopped():
        finding = net.opsdoc.json("sockets", server.pid).finding("sockets.accept-queue")
    assert f"connections.py (pid {server.pid}) is stopped" in finding["summary"]
    assert f"kill -CONT {server.pid}" in finding["next_step"]


def test_a_program_without_descriptors_cannot_accept(net):
    server = net.start("listen", 5, "", 40)
    overflowing(net, server)
    run = net.opsdoc.json("sockets", server.pid)
    assert "has 40 of 40 descriptors open and cannot accept" in run.finding("sockets.accept-queue")["summary"]
    assert run.report["summary"] == run.finding("sockets.descriptors")["summary"]  # it explains the other


def test_a_stopped_program_with_a_unix_socket(net, tmp_path):
    path = tmp_path / "x.sock"
    server = net.start("listen", 5, path)
    client = net.start("knock", path)
    client.say("hot")
    at = f" {path}\n"
    wait_until(lambda: Path(f"/proc/{server.pid}/net/unix").read_text().count(at) >= 7, "a full queue")
    run = net.opsdoc.json("sockets", server.pid)
    finding = run.finding("sockets.accept-queue")
    assert (run.code, finding["severity"]) == (1, "warning")  # no counter tells whether it overflows
    assert f"6 connections wait at {path} to be accepted: connections.py (pid {server.pid})" in finding["summary"]
    with server.stopped():
        assert "is stopped" in net.opsdoc.json("sockets", server.pid).finding("sockets.accept-queue")["summary"]


def test_a_full_queue_on_this_machine_is_why_its_client_gets_no_answer(net):
    server = net.start("listen", 5)
    client = overflowing(net, server)
    run = net.opsdoc.json("sockets", client.pid)
    finding = run.finding("sockets.syn-sent")
    where = f"127.0.0.1:{server.facts['port']}"
    assert finding["summary"].startswith(f"{where} does not answer ")
    assert f"of connections.py (pid {client.pid}) to connect" in finding["summary"]
    assert "the accept queue there, on this machine, has 6 waiting" in finding["summary"]
    assert not run.of("listener")  # those of others are not looked at
    (peer,) = run.of("peer_connections")
    assert (peer["state"], peer["peer"]) == ("SYN_SENT", where)
    assert peer["count"] >= peer["unanswered"] >= 1
    if net.alone:  # nor are they blamed on it
        assert [f["rule"] for f in run.findings if f["severity"] != "ok"] == ["sockets.syn-sent"]


# ── leaks ────────────────────────────────────────────────────────────────────────────────────────


def test_a_leak_of_connections_that_the_peer_has_closed(net):
    peer = net.start("goodbye")
    leaker = net.start("leak", peer.facts["port"], 60)
    where = f"127.0.0.1:{peer.facts['port']}"
    assert rows(leaker.pid, "08", peer.facts["port"]) == 60
    finding = net.opsdoc.json("sockets", leaker.pid).finding("sockets.close-wait")
    assert finding["severity"] == "warning"
    said = f"connections.py (pid {leaker.pid}) does not close 60 connections that the other side has closed"
    assert finding["summary"] == f"{said} (CLOSE_WAIT): {where}"
    with leaker.hot():
        run = net.opsdoc.json("sockets", leaker.pid, "--limit", "sockets.unclosed=20:60")
    growing = run.finding("sockets.close-wait")
    assert (run.code, growing["severity"], growing["threshold"]["crit"]) == (2, "critical", 60)
    assert " more in 2" in growing["summary"]
    (row,) = run.of("peer_connections")
    assert row["standing"] >= 60
    assert row["new"] >= 10
    assert row["unread"] == 0  # it has read to the end, and knows


def test_descriptors_that_run_out(net):
    program = net.start("descriptors", 64, 62)
    run = net.opsdoc.json("sockets", program.pid)
    finding = run.finding("sockets.descriptors")
    assert (run.code, finding["severity"]) == (2, "critical")
    assert finding["summary"] == f"connections.py (pid {program.pid}) has 62 of 64 descriptors open"
    (row,) = [row for row in run.of("descriptors") if row["pid"] == program.pid]
    assert (row["open"], row["limit"], row["growth"]) == (62, 64, 0)


def test_ports_that_run_out(start, tmp_path, own_net):
    """The limit is per destination: the same ports serve another one at once."""
    crowded = Net(start, tmp_path, "ports", 40000, 40049, 49)
    run = crowded.opsdoc.json("sockets")
    finding = run.finding("sockets.ports")
    assert (run.code, finding["severity"]) == (2, "critical")
    said = "127.0.0.1 → 127.0.0.1:8080: 49 of 50 ephemeral ports are taken (40000-40049)"
    assert finding["summary"] == said
    outside = Opsdoc(tmp_path).json("sockets", crowded.first.pid)  # where its settings cannot be read
    (row,) = outside.of("ports")
    assert (row["used"], row["range"]) == (49, "32768-60999")
    assert "cannot be read" in row["assumed"]
    assert outside.code == 0


# ── nothing wrong, and what cannot be seen ───────────────────────────────────────────────────────


def test_a_healthy_namespace_is_ok(own_net):
    """A look at the whole box sees other namespaces too, whose trouble is not this one's."""
    own_net.start("goodbye")
    own_net.start("listen", 5)
    run = own_net.opsdoc.json("sockets")
    (here,) = [one for one in run.of("network") if one["namespace"] == "this network namespace"]
    assert (here["listeners"], here["longest_queue"], here["overflows"]) == (2, 0, 0)
    assert not [f for f in run.findings if f["severity"] != "ok" and here["id"] in f["evidence"]]
    rules = {f["rule"] for f in run.findings}
    assert {"sockets.accept-queue", "sockets.close-wait", "sockets.syn-sent", "sockets.ports"} <= rules
    assert "sockets.descriptors" in rules


def test_a_healthy_process_is_ok(own_net):
    server = own_net.start("goodbye")
    run = own_net.opsdoc.json("sockets", server.pid)
    assert (run.code, run.report["severity"]) == (0, "ok"), run.report["summary"]
    assert "1 listener, none waiting, no overflow in 2" in run.report["summary"]
    assert run.of("descriptors")[1]["pid"] == server.pid


def test_another_namespace_is_seen_from_the_box(opsdoc, own_net):
    server = own_net.start("listen", 5)
    overflowing(own_net, server)
    run = opsdoc.json("sockets", "-n", 0)
    found = [f for f in run.findings if f["rule"] == "sockets.accept-queue" and f"(pid {server.pid})" in f["summary"]]
    assert [f["severity"] for f in found] == ["critical"]
    assert found[0]["by_hand"][0].startswith(f"nsenter -t {own_net.first.pid} -n ss -ltn")


def test_without_root_only_own_processes_are_seen(opsdoc_as_nobody, start, net):
    script = 'printf \'{"ready": true, "pid": %d}\\n\' $$; while read -r word; do :; done'
    own = start(Program, ["/bin/sh", "-c", script], user=users.NOBODY)
    run = opsdoc_as_nobody.json("sockets", own.pid, "--limit", "sockets.overflows=999:999")
    assert run.code == 0, run.report["summary"]
    other = net.start("listen", 5)
    blind = opsdoc_as_nobody.json("sockets", other.pid)
    finding = blind.finding("sockets.hidden")
    assert (blind.code, finding["severity"]) == (3, "unknown")
    assert any(f"sudo {opsdoc_as_nobody.command[0]}" in unseen["hint"] for unseen in blind.unseen)


def test_one_sample_tells_no_overflow(net):
    run = net.opsdoc.json("sockets", net.first.pid, "--window", 0)
    assert run.code == 3
    assert "that needs two samples" in run.finding("sockets.accept-queue")["summary"]


def test_a_process_that_is_not_there(opsdoc):
    run = opsdoc.json("sockets", 99999999)
    assert (run.code, run.finding("target.unreachable")["summary"]) == (
        3,
        "sockets: no process 99999999 (it may have ended)",
    )


def test_a_replay_judges_the_same(net, tmp_path):
    server = net.start("listen", 5)
    overflowing(net, server)
    live = net.opsdoc.json("sockets", server.pid, "--record", tmp_path / "case")
    again = net.opsdoc.json("sockets", "--replay", tmp_path / "case")
    for key in ("cost", "elapsed_seconds"):
        live.report.pop(key)
        again.report.pop(key)
    assert again.report == live.report
