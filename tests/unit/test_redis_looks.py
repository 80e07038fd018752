"""Looks at Redis that no server of ours can be brought to: foreign networks, views that differ, hostile text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsdoc.clients.redis import Ask
from opsdoc.clients.redis_sample import KeySample
from opsdoc.clients.redis_target import Target
from opsdoc.host import Answer, Host
from opsdoc.looks import redis_report, redis_watch
from opsdoc.model import Unknown, Unreachable
from opsdoc.options import Url
from opsdoc.recording import INDEX, ReplayHost
from opsdoc.redact import Redactor

ID = "{:040x}".format


def info(mode="standalone", **fields):
    told = {"redis_version": "7.0.15", "redis_mode": mode, "run_id": "r", "role": "master", **fields}
    return "".join(f"{name}:{value}\r\n" for name, value in told.items())


def ok(*values):
    return [{"ok": value} for value in values]


class World:
    """What each node answers, by its port; a question that nobody answers is refused."""

    def __init__(self):
        self.answers = {}

    def says(self, port, commands, *replies):
        key = Ask(Target(f"10.0.0.1:{port}"), commands).key()
        self.answers.setdefault(key, []).append({"at": len(self.answers) / 100, "took": 0.0, "answer": [*replies]})

    def is_lost(self, port, detail="Connection refused", reason="unreachable"):
        key = Ask(Target(f"10.0.0.1:{port}"), (("INFO", "all"),)).key()
        error = {"reason": reason, "detail": f"10.0.0.1:{port}: {detail}", "hint": ""}
        self.answers[key] = [{"at": 0.0, "took": 0.0, "error": error}]

    def seen(self, *ports):
        index = {
            "format": "opsdoc.recording/1", "tool": "0", "probe": "cache.redis", "options": {}, "cut_short": None,
            "started": "2026-01-01T00:00:00+00:00", "redactions": {}, "answers": self.answers,
        }  # fmt: skip
        host = ReplayHost(Path("case"), {INDEX: json.dumps(index).encode()})
        found = redis_watch.watch(host, [Target(f"10.0.0.1:{port}") for port in ports], 2.0, 0)
        return found, list(redis_report.items(found, 2.0, 5))


def of(items, kind):
    return [item for item in items if getattr(item, "kind", "") == kind]


PLAIN = (("INFO", "all"), ("SLOWLOG", "GET", "16"))
CLUSTER = (*PLAIN, ("CLUSTER", "INFO"), ("CLUSTER", "NODES"), ("CONFIG", "GET", "cluster-*"))


# ── addresses of another network ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("link", "detail", "dead"),
    [("up", "Connection refused", False), ("down", "Connection refused", True), ("up", "takes connections, but", True)],
)
def test_a_master_that_is_told_of_is_dead_only_if_its_address_is_right(link, detail, dead):
    world = World()
    told = info(role="slave", master_host="10.0.0.1", master_port="2", master_link_status=link)
    world.says(1, (("INFO", "all"),), *ok(told))
    world.says(1, PLAIN, *ok(told, []))
    world.is_lost(2, detail)
    found, items = world.seen(1)
    assert [found.is_dead(node) for node in found.nodes] == [False, dead]
    assert [node.reachable for node in of(items, "cache_node")] == ([True, False] if dead else [True])
    unknown = [rate for rate in of(items, "hit_rate") if isinstance(rate.hits, Unknown) and rate.node.endswith(":2")]
    assert len(unknown) == (not dead)


# ── clusters ─────────────────────────────────────────────────────────────────────────────────────


def line(number, slots="", flags="master", master="-", port=None):
    return f"{ID(number)} 10.0.0.1:{port or number}@1{number} {flags} {master} 0 0 {number} connected {slots}\n"


def test_views_that_differ_and_a_master_without_a_replica():
    world = World()
    state = "cluster_state:{}\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n"
    others = {
        1: line(1, "0-8191", "myself,master") + line(2, "8192-16383") + line(3, "", "slave", ID(1)),
        2: line(1, "0-8190") + line(2, "8191-16383", "myself,master") + line(3, "", "slave", ID(1)),
        3: line(1, "0-8191") + line(2, "8192-16383") + line(3, "", "myself,slave", ID(1)),
    }
    for port, view in others.items():
        role = {"role": "slave", "master_host": "10.0.0.1", "master_port": "1"} if port == 3 else {}
        told = info("cluster", run_id=f"r{port}", **role)
        world.says(port, (("INFO", "all"),), *ok(told))
        world.says(port, (("CLUSTER", "NODES"),), *ok(view))
        settings = ["cluster-require-full-coverage", "no", "cluster-node-timeout", "15000"]
        said = state.format("fail" if port == 2 else "ok")
        world.says(port, CLUSTER, *ok(told, [], said, view, settings))
    _, items = world.seen(1)
    (cluster,) = of(items, "cache_cluster")
    assert cluster.state == "fail"
    assert cluster.states == {"ok": 2, "fail": 1}
    assert cluster.full_coverage is False
    assert cluster.node_timeout == 15.0
    assert cluster.shards_without_replica == ("10.0.0.1:2",)
    assert len(cluster.disagree) == 2
    assert all("10.0.0.1:2" in said for said in cluster.disagree)
    assert cluster.unreachable == ()


def test_a_cluster_in_a_network_of_its_own_is_not_called_dead():
    world = World()
    view = line(1, "0-8191", "myself,master", port=7) + line(2, "8192-16383")
    told = info("cluster")
    world.says(1, (("INFO", "all"),), *ok(told))
    world.says(1, (("CLUSTER", "NODES"),), *ok(view))
    world.says(1, CLUSTER, *ok(told, [], "cluster_state:ok\r\n", view, []))
    world.is_lost(2)
    _, items = world.seen(1)
    (cluster,) = of(items, "cache_cluster")
    assert cluster.unreachable == ()
    assert isinstance(cluster.state, Unknown)
    assert [node.node for node in of(items, "cache_node")] == ["10.0.0.1:1"]  # by the name it was asked by


# ── Sentinels ────────────────────────────────────────────────────────────────────────────────────


def test_sentinels_that_name_two_masters():
    world = World()
    for port, master in ((1, 8), (2, 9)):
        about = (
            ("SENTINEL", "MASTER", "shop"), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"),
            ("SENTINEL", "SENTINELS", "shop"), ("SENTINEL", "REPLICAS", "shop"),
        )  # fmt: skip
        seen = ["name", "shop", "ip", "10.0.0.1", "port", str(master), "flags", "master", "num-other-sentinels", "1"]
        replies = ok([*seen, "quorum", "2"], ["10.0.0.1", str(master)], [], [])
        told = info("sentinel", run_id=f"s{port}", master0=f"name=shop,status=ok,address=10.0.0.1:{master}")
        world.says(port, (("INFO", "all"),), *ok(told))
        world.says(port, about, *replies)
        lost = {"error": "NOQUORUM 1 usable Sentinels. Not enough"}
        asked = (("ROLE",), *about, ("SENTINEL", "CKQUORUM", "shop"))
        world.says(port, asked, *ok(["sentinel", ["shop"]]), *replies, lost)
    for port in (8, 9):
        told = info(run_id=f"m{port}", role="master" if port == 8 else "slave")
        world.says(port, (("INFO", "all"),), *ok(told))
        world.says(port, PLAIN, *ok(told, []))
    _, items = world.seen(1, 2)
    (view,) = of(items, "sentinel")
    assert view.agreed is False
    assert set(view.addresses) == {"10.0.0.1:8", "10.0.0.1:9"}
    assert (view.quorum_ok, view.usable, view.quorum, view.sentinels, view.replicas) == (False, 1, 2, 2, 0)
    assert view.said.startswith("NOQUORUM")


# ── the same node by two names ───────────────────────────────────────────────────────────────────


def test_a_node_that_is_named_twice_is_one():
    world = World()
    for port in (1, 2):
        world.says(port, (("INFO", "all"),), *ok(info(run_id="same")))
    world.says(1, PLAIN, *ok(info(run_id="same"), []))
    found, _ = world.seen(1, 2)
    assert [node.name for node in found.nodes] == ["10.0.0.1:1"]


# ── hostile text ─────────────────────────────────────────────────────────────────────────────────

WORDS = st.sampled_from(
    [
        info("cluster", cluster_enabled="1"), info("sentinel", master0="name=a b,address=:,slaves=x"),
        info(role="slave"),
        info(role="slave", master_host="::1", master_port="x", slave0="ip=,port="), line(1, "0-99999 [1->-x"), "\0",
        line(2, "5-1 7", "fail,myself") + line(3, flags="noaddr", port=0), "cluster_state:\r\n", "NOQUORUM", "",
    ]
)  # fmt: skip
VALUES = st.recursive(
    WORDS | st.text(max_size=20) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


class Babbler(Host):
    """A world that answers each command with whatever was drawn."""

    def __init__(self, draw):
        self.redactor, self.started, self._draw, self._now = Redactor(), "", draw, 0.0

    def ask(self, question):
        self._now += 0.01
        if isinstance(question, KeySample):
            raise Unreachable("gone")
        if not isinstance(question, Ask):
            return Answer([0.1], self._now, 0.0)
        if self._draw(st.integers(0, 9)) == 0:
            raise Unreachable("gone")
        replies = [
            {"ok": [] if command[0] == "SLOWLOG" else self._draw(VALUES)}
            if self._draw(st.integers(0, 5))
            else {"error": self._draw(st.text(max_size=20))}
            for command in question.commands
        ]
        return Answer(replies, self._now, 0.0)

    def start(self, question, within=None):
        try:
            answer = self.ask(question)
        except Unreachable as error:
            answer = error
        return lambda: answer

    def sleep(self, seconds):
        self._now += seconds

    def now(self):
        return self._now


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_whatever_they_say_there_is_a_report(data):
    from opsdoc.signals import cache_health, hit_rate

    host = Babbler(data.draw)
    found = redis_watch.watch(host, [Target("a:1"), Target("b:2")], 1.0, 30)
    items = [item for item in redis_report.items(found, 1.0, 5) if hasattr(item, "kind") and hasattr(item, "id")]
    for judge in (hit_rate, cache_health):
        list(judge.judge(items, [], judge.Limits()))


# ── what nobody may see ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://bob:pw@h:1/0", "redis://bob:********@h:1/0"), ("redis://:pw@h", "redis://:********@h"),
        ("redis://pw@h", "redis://********@h"), ("bob:p@w@h", "bob:********@h"), ("h:1", "h:1"),
        ("unix:///x?password=pw&db=1", "unix:///x?password=********&db=1"),
    ],
)  # fmt: skip
def test_an_address_shows_no_password_and_is_the_same_one(url, shown):
    assert (str(Url(url)), f"{Url(url)}", repr(Url(url))) == (shown, shown, f"Url({shown!r})")
    assert Target.of(shown).address == Target.of(Url(url)).address
