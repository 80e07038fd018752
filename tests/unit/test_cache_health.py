"""A cache's health: what it holds and refuses, who does not answer, whether something takes over, and what is well."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals import cache_cause
from opsdoc.signals.alike import MOST
from opsdoc.signals.cache_health import (
    BigKey,
    CacheCluster,
    CacheNode,
    KeySample,
    Limits,
    Member,
    SentinelView,
    Slab,
    SlowCommand,
    judge,
)
from opsdoc.signals.hit_rate import HitRate
from opsdoc.verdict import ranked

OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL
MIB = 1 << 20
NODE = "10.0.0.1:6379"
DENIED = Unknown("NOPERM this user has no permissions to run the 'info' command")


def node(name=NODE, **more):
    """A small healthy node at its limit, where it evicts."""
    made = {
        "memory_used": 4 * MIB,
        "memory_limit": 4 * MIB,
        "policy": "allkeys-lru",
        "clients": 20,
        "max_clients": 10_000,
        "rejected": 0,
        "oom_errors": 0,
        "latency": 0.0002,
        "role": "master",
        "window_seconds": 2.0,
        "by_hand": ("show info",),
    }
    return CacheNode(subject=name, node=name, id=f"n-{name}", **{**made, **more})


def cluster(**more):
    """Six nodes as redis-cli makes them: three masters, a replica of each."""
    members = tuple(Member(f"n{i}", "master", slots=5461, flags="master", answers=True) for i in range(3))
    members += tuple(Member(f"n{i}", "replica", slots=0, flags="slave", answers=True) for i in range(3, 6))
    made = {
        "state": "ok",
        "states": {"ok": 6},
        "nodes": 6,
        "masters": 3,
        "slots_assigned": 16_384,
        "slots_ok": 16_384,
        "full_coverage": True,
        "node_timeout": 15.0,
        "members": members,
        "by_hand": ("show cluster",),
    }
    return CacheCluster(subject="cluster", id="c", **{**made, **more})


def sentinel(**more):
    made = {
        "master": "mym",
        "usable": 3,
        "sentinels": 3,
        "quorum": 2,
        "quorum_ok": True,
        "agreed": True,
        "addresses": ("10.0.0.1:6379",),
        "master_role": "master",
        "replicas": 1,
        "by_hand": ("show sentinel",),
    }
    return SentinelView(subject="mym", id="s", **{**made, **more})


def findings(*observations):
    return list(judge(observations, (), Limits()))


def bad(*observations):
    return [finding for finding in findings(*observations) if finding.severity is not OK]


def only(*observations):
    (found,) = bad(*observations)
    return found


def fine(*observations):
    return {finding.rule: finding for finding in findings(*observations) if finding.severity is OK}


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "rule", "severity"),
    [
        ({"policy": "noeviction", "memory_used": 95, "memory_limit": 100}, "cache.memory", WARNING),
        ({"policy": "noeviction", "memory_used": 100, "memory_limit": 100}, "cache.memory", CRITICAL),
        ({"policy": None, "memory_used": 99, "memory_limit": 100, "product": "jvm"}, "cache.memory", CRITICAL),
        ({"rss": 75, "system_memory": 100, "memory_used": 40}, "cache.system-memory", WARNING),
        ({"rss": 91, "system_memory": 100, "memory_used": 40}, "cache.system-memory", CRITICAL),
        (
            {"memory_used": 40 * MIB, "fragmentation_ratio": 1.6, "fragmentation_bytes": 24 * MIB},
            "cache.fragmentation",
            WARNING,
        ),
        ({"rejected": 1}, "cache.rejected", CRITICAL),
        ({"clients": 9_000}, "cache.clients", WARNING),
        ({"clients": 9_600}, "cache.clients", CRITICAL),
        ({"clients": 20, "blocked": 10}, "cache.blocked", WARNING),
        ({"slowest": SlowCommand("KEYS", 0.1)}, "cache.slow", WARNING),
        ({"slowest": SlowCommand("KEYS", 1.5)}, "cache.slow", CRITICAL),
        ({"latency": 0.06}, "cache.latency", WARNING),
        ({"latency": 0.6}, "cache.latency", CRITICAL),
        ({"persistence": "the last RDB save failed"}, "cache.persistence", WARNING),
        ({"role": "replica", "link": "down"}, "cache.replica-link", WARNING),
        ({"role": "replica", "link": "down", "link_down_seconds": 61.0}, "cache.replica-link", CRITICAL),
        ({"role": "replica", "link": "up", "lag_bytes": 5 * MIB}, "cache.replica-lag", WARNING),
        ({"role": "replica", "readonly_errors": 1}, "cache.read-only", WARNING),
        ({"role": "replica", "readonly_errors": 10}, "cache.read-only", CRITICAL),
        ({"loading": True}, "cache.loading", CRITICAL),
        ({"reachable": False, "why": "no answer in 1.0 s"}, "cache.node-dead", CRITICAL),
        ({"reachable": False, "role": "replica"}, "cache.node-dead", WARNING),
    ],
)
def test_what_is_wrong_with_a_node_is_found_and_says_what_to_do(facts, rule, severity):
    found = only(node(**facts))
    assert (found.rule, found.key, found.severity) == (rule, f"{rule}:{NODE}", severity)
    assert NODE in found.summary
    assert found.evidence == (f"n-{NODE}",)
    assert found.next_step
    assert found.confidence
    assert found.by_hand == ("show info",)
    if found.threshold is not None:
        assert found.threshold.source
        assert found.threshold.value >= found.threshold.warn
    assert "cache.healthy" not in fine(node(**facts))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"memory_used": 5 * MIB},  # a little over its limit, as it is while it evicts
        {"policy": "volatile-lru"},
        {"policy": "noeviction", "memory_limit": None},
        {"policy": "noeviction", "memory_used": MIB},
        {"fragmentation_ratio": 3.06, "fragmentation_bytes": 8 * MIB},  # measured on an instance of 4 MB
        {"fragmentation_ratio": 10.83, "fragmentation_bytes": 11 * MIB, "memory_used": MIB},  # measured, a bare server
        {"fragmentation_ratio": 1.55, "fragmentation_bytes": 13 * MIB, "memory_used": 24 * MIB},
        {"fragmentation_ratio": 9.0, "fragmentation_bytes": 30 * MIB, "memory_used": 4 * MIB},  # flushed
        {"fragmentation_ratio": 1.05, "fragmentation_bytes": 900 * MIB},
        {"fragmentation_ratio": 0.8, "fragmentation_bytes": -5 * MIB},
        {"blocked": 3},
        {"slow": 12, "slowest": SlowCommand("HGETALL", 0.02)},
        {"role": "replica", "link": "up", "lag_bytes": 100},
        {"rejected_total": 900, "oom_total": 12},  # before the window
    ],
)
def test_what_is_no_finding(facts):
    assert bad(node(**facts)) == []
    assert "cache.healthy" in fine(node(**facts))


def test_a_full_cache_that_cannot_evict_anything_is_full():
    stuck = node(policy="volatile-lru")
    rate = HitRate(subject=NODE, node=NODE, expires=0)
    found = only(stuck, rate)
    assert (found.rule, found.severity) == ("cache.memory", CRITICAL)
    assert found.summary == (f"{NODE} is 100 % full, 4.0 of 4.0 MiB used and nothing can be evicted (volatile-lru)")
    assert bad(stuck, rate.replaced(expires=5)) == []
    assert "12 writes were refused since it started" in only(node(policy="noeviction", oom_total=12)).summary


def test_refused_writes_are_told_by_the_hit_rate_and_not_twice():
    assert bad(node(policy="noeviction", oom_errors=1204)) == []
    assert fine(node(policy="noeviction", oom_errors=1204)) == {}


def test_memory_without_a_known_policy_is_not_judged_but_unknown():
    found = only(node(policy=DENIED))
    assert (found.rule, found.severity) == ("cache.unknown", UNKNOWN)
    assert found.summary.startswith(f"what it does when full of {NODE} unknown: NOPERM")


def test_what_may_not_be_read_is_unknown_and_never_well():
    hidden = dict.fromkeys(("memory_used", "memory_limit", "policy", "clients", "rejected", "oom_errors"), DENIED)
    found = only(node(**hidden))
    assert (found.rule, found.severity) == ("cache.unknown", UNKNOWN)
    assert found.summary.endswith("and 2 more of 10.0.0.1:6379 unknown: " + DENIED.reason)
    assert fine(node(**hidden)) == {}
    rules = {f.rule for f in findings(node(**hidden), node("b", latency=0.9))}
    assert rules == {"cache.unknown", "cache.latency"}


def test_an_unlimited_cache_names_that():
    found = only(node(memory_limit=None, policy="noeviction", rss=92, memory_used=80, system_memory=100))
    assert "it has no limit of its own" in found.summary
    assert found.next_step.startswith("give it a limit")


def test_a_rejected_client_explains_the_many():
    found = only(node(rejected=40, clients=10_000, max_clients=10_000))
    assert found.rule == "cache.rejected"
    assert "turned 40 connections away in 2.0 s: it has as many clients as it may, 10,000 of 10,000" in found.summary


def test_slow_commands_are_told_by_their_name_and_number():
    found = only(node(slow=12, slow_seconds=60.0, slowest=SlowCommand("KEYS", 1.25)))
    assert found.summary == (
        f"KEYS took 1.2 s on {NODE}, the slowest of 12 slow commands in the last 60 s: all other clients waited for it"
    )


def test_writes_to_a_replica_name_its_master():
    found = only(node(role="replica", master="10.0.0.9:6379", readonly_errors=30))
    assert "which is a replica of 10.0.0.9:6379: 30 writes refused (READONLY) in 2.0 s" in found.summary
    assert "point them to 10.0.0.9:6379" in found.next_step


def test_what_is_true_of_all_nodes_is_told_once_of_the_worst():
    found = only(*(node(f"n{i}", clients=9_000 + i) for i in range(6)))
    assert (found.key, found.subject) == ("cache.clients:all", "all 6 nodes")
    assert found.summary.startswith("n5 has 9,005 of 10,000 clients")
    assert found.summary.endswith("; all 6 nodes alike")
    assert len(found.evidence) == 6
    one = only(node("a", clients=9_000), node("b"))
    assert one.key == "cache.clients:a"
    assert fine(node("a", clients=9_000), node("b"))["cache.healthy"].subject == "b"


def test_hundreds_of_nodes_are_few_findings():
    sick = [node(f"n{i:03}", clients=9_000) for i in range(300)]
    assert len(bad(*sick, node("well"))) == MOST + 1


def test_well_is_told_with_what_was_looked_at():
    sample = KeySample(subject=NODE, node=NODE, looked_at=20_000, of=1_200_000, seconds=0.9)
    found = fine(node(), sample)["cache.healthy"]
    assert found.summary == (
        f"{NODE} is well: memory 100 % of its limit, where it evicts, 20 clients, PING 0.2 ms, no big key (looked at "
        "20,000 of 1,200,000 keys in 900 ms)"
    )
    assert fine(node("a"), node("b", clients=5))["cache.healthy"].summary.startswith("2 nodes are well: ")
    assert findings() == []


# ── the cluster ──────────────────────────────────────────────────────────────────────────────────


def frozen(**more):
    """A master stopped with SIGSTOP. `CLUSTER INFO` says ok for up to the node timeout."""
    members = list(cluster().members)
    members[0] = Member("n0", "master", slots=5462, flags="master", answers=False, why="no answer in 1.0 s")
    return cluster(unreachable=("n0",), members=tuple(members), **{"states": {"ok": 5}, **more})


def test_a_frozen_master_is_found_while_the_cluster_says_ok():
    found = only(frozen())
    assert (found.rule, found.key, found.severity) == ("cache.node-dead", "cache.node-dead:n0", CRITICAL)
    assert found.subject == "n0"
    assert found.summary == (
        "the master n0 does not answer (no answer in 1.0 s), though the cluster says that its state is ok: keys of "
        "5,462 of 16,384 (33 %) slots are waited for in vain; the others take it for failed after 15 s"
    )
    assert "no other node suspects it yet" in found.confidence
    assert found.by_hand == ("show cluster",)
    assert fine(frozen()) == {}
    suspected = frozen(suspected=("n0",), slots_pfail=5462)
    assert {f.rule: f.severity for f in bad(suspected)} == {
        "cache.node-dead": CRITICAL,
        "cache.cluster-slots": WARNING,
    }


def test_the_node_itself_is_not_told_twice():
    gone = node("n0", reachable=False, why="no answer in 1.0 s")
    assert [f.rule for f in bad(frozen(), gone)] == ["cache.node-dead"]
    assert fine(frozen(), gone, node("n1"))["cache.healthy"].subject == "n1"


def test_a_failed_cluster_is_told_with_its_slots_and_its_setting():
    failed = frozen(state="fail", states={"fail": 5}, failed=("n0",), slots_fail=5462, slots_ok=10_922)
    found = ranked(bad(failed), cache_cause.PRECEDENCE)
    assert [f.rule for f in found] == ["cache.node-dead", "cache.cluster-failed"]
    assert found[1].summary == (
        "the cluster has failed (state fail, in the view of 5 of 5 nodes): it refuses every command "
        "(cluster-require-full-coverage); 10,922 of 16,384 (67 %) slots are served and 5,462 failed"
    )
    assert "though" not in found[0].summary
    assert found[0].confidence == "one attempt, and the cluster has it as failed"
    part = {f.rule: f for f in bad(frozen(state="fail", full_coverage=False))}
    assert "only" not in part["cache.cluster-failed"].summary
    assert "for the slots that are not covered" in part["cache.cluster-failed"].summary


def test_after_the_failover_the_state_is_ok_and_the_missing_redundancy_is_told():
    members = [Member("n0", "master", slots=0, flags="master,fail", answers=False, why="no answer in 1.0 s")]
    after = cluster(
        unreachable=("n0",),
        failed=("n0",),
        members=(*members, *cluster().members[1:]),
        shards_without_replica=("n3",),
    )
    found = {f.rule: f for f in bad(after)}
    assert {rule: f.severity for rule, f in found.items()} == {"cache.node-dead": WARNING, "cache.no-replica": WARNING}
    assert "it holds no slots, so no key is lost with it" in found["cache.node-dead"].summary
    assert found["cache.no-replica"].summary == (
        "1 shard has no replica: n3; if such a master is lost, its keys are, and the whole cluster stops"
    )
    assert fine(after) == {}


def test_a_dead_replica_is_a_warning_and_an_unknown_node_is_not():
    members = (Member("n3", "replica", slots=0, answers=False),)
    assert only(cluster(unreachable=("n3",), members=members)).severity is WARNING
    assert only(cluster(unreachable=("n9",))).severity is CRITICAL


def test_uncovered_slots_fail_while_the_rest_is_served():
    found = only(cluster(slots_assigned=10_923, full_coverage=False))
    assert (found.rule, found.severity) == ("cache.cluster-slots", CRITICAL)
    assert found.summary == (
        "5,461 of 16,384 (33 %) slots are not covered: commands for their keys fail (the rest is served: "
        "cluster-require-full-coverage is no)"
    )


@pytest.mark.parametrize(
    ("facts", "rule", "words"),
    [
        ({"failover": "n3 asks for votes"}, "cache.failover", "a failover is in progress: n3 asks for votes"),
        ({"disagree": ("n1 takes n0 for failed",)}, "cache.views-differ", "n1 takes n0 for failed"),
        ({"shards_without_replica": ("n0", "n1", "n2")}, "cache.no-replica", "none of 3 shards has a replica"),
    ],
)
def test_other_trouble_of_a_cluster(facts, rule, words):
    found = only(cluster(**facts))
    assert (found.rule, found.key, found.severity) == (rule, f"{rule}:cluster", WARNING)
    assert words in found.summary


def test_uneven_slots_name_the_master_that_has_most():
    members = tuple(Member(f"n{i}", "master", slots=slots) for i, slots in enumerate((12_000, 2192, 2192)))
    found = only(cluster(slot_imbalance=2.2, load_imbalance=2.4, members=members))
    assert (found.rule, found.severity) == ("cache.uneven", WARNING)
    assert found.summary == (
        "slots are not spread evenly: n0 has 12,000 of 16,384 (73 %) slots, 2.2 times an even part, and 2.4 times of "
        "the load"
    )
    assert bad(cluster(slot_imbalance=1.05)) == []


def test_a_cluster_that_may_not_be_asked_is_unknown():
    assert (only(cluster(state=DENIED)).rule, only(cluster(state=DENIED)).severity) == ("cache.unknown", UNKNOWN)


def test_a_healthy_cluster_says_what_was_looked_at():
    assert fine(cluster())["cache.cluster-fine"].summary == (
        "the cluster is ok: 6 nodes answered, 16,384 of 16,384 slots served, 3 masters, each with a replica"
    )


# ── Sentinels ────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_quorum_is_told_though_the_master_works():
    found = only(sentinel(usable=1, quorum_ok=False, said="NOQUORUM 1 usable Sentinels"))
    assert (found.rule, found.key, found.severity) == (
        "cache.sentinel-quorum",
        "cache.sentinel-quorum:sentinel/mym",
        WARNING,
    )
    assert found.summary == (
        "the Sentinels of mym are too few for a failover: 1 of 3 Sentinels can be used, 2 must call it down and most "
        "of all must agree (NOQUORUM 1 usable Sentinels); if the master is lost, nothing takes over"
    )


def test_a_master_that_is_down_is_worse_without_a_quorum():
    down = bad(sentinel(usable=1, quorum_ok=False, flags="master,s_down"))
    assert {f.rule: f.severity for f in down} == {"cache.node-dead": CRITICAL, "cache.sentinel-quorum": WARNING}
    assert "they are too few for a failover" in down[0].summary
    assert "a replica takes over" in only(sentinel(flags="master,s_down,o_down")).next_step


def test_sentinels_that_name_two_masters():
    found = only(sentinel(agreed=False, addresses=("10.0.0.1:6379", "10.0.0.2:6379")))
    assert (found.rule, found.severity) == ("cache.sentinel-disagrees", CRITICAL)
    assert "10.0.0.1:6379 and 10.0.0.2:6379" in found.summary


def test_a_named_master_that_is_none():
    found = only(sentinel(master_role="slave"))
    assert (found.rule, found.severity) == ("cache.sentinel-disagrees", CRITICAL)
    assert "10.0.0.1:6379 as the master of mym, and it says that it is a slave" in found.summary
    during = {f.rule: f.severity for f in bad(sentinel(master_role="slave", failover="wait_start"))}
    assert during == {"cache.sentinel-disagrees": WARNING, "cache.failover": WARNING}


def test_sentinels_without_a_replica_or_an_answer():
    assert only(sentinel(replicas=0)).rule == "cache.no-replica"
    hidden = only(sentinel(quorum_ok=Unknown("none of them answers")))
    assert (hidden.rule, hidden.severity) == ("cache.unknown", UNKNOWN)
    assert fine(sentinel(quorum_ok=Unknown("none of them answers"))) == {}


def test_sentinels_that_are_well():
    assert fine(sentinel())["cache.sentinel-fine"].summary == (
        "3 of 3 Sentinels of mym can do a failover, and name the same master, 10.0.0.1:6379"
    )


# ── what it holds ────────────────────────────────────────────────────────────────────────────────


def slab(number, **more):
    made = {"window_seconds": 2.0, "evicted": 0, "memory_share": 0.1, "by_hand": ("show slabs",)}
    return Slab(subject=f"m:1 slab {number}", node="m:1", slab=number, id=f"slab-{number}", **{**made, **more})


def test_a_slab_class_that_starves_beside_others():
    poor = slab(14, evicted=5460, evicted_age=20.0, item_size=1184, memory_share=0.05)
    rich = slab(5, evicted=10, memory_share=0.9)
    found = only(poor, rich)
    assert (found.rule, found.key, found.severity) == ("cache.slab", "cache.slab:m:1/14", WARNING)
    assert found.summary.startswith(
        "slab class 14 (items up to 1.2 KiB) of m:1 has 5.0 % of the memory and over 99 % of the evictions, 5,460 in "
    )
    assert found.summary.endswith("the last of them read 20 s before; slab class 5 keeps 90 %")
    assert found.threshold.name == "cache_health.slab_evictions"
    assert bad(poor.replaced(memory_share=0.9), rich) == []  # it has the memory: the cache is too small
    assert bad(poor.replaced(evicted_age=90_000.0), rich) == []  # nobody misses it
    assert bad(poor) == []
    assert bad(slab(1), slab(2)) == []


def test_a_slab_class_that_refuses_items():
    found = only(slab(3, out_of_memory=4))
    assert "refused 4 items in 2.0 s" in found.summary
    assert found.threshold.value == pytest.approx(2.0)


def test_what_is_evicted_before_it_was_read():
    seen = HitRate(subject="m:1", node="m:1", id="h", evicted=5460, evicted_unread=5460, window_seconds=2.0)
    found = only(seen)
    assert (found.rule, found.severity) == ("cache.evicted-unread", WARNING)
    assert "5,460 of 5,460 items that m:1 evicted in 2.0 s had never been read" in found.summary
    assert bad(seen.replaced(evicted_unread=1000)) == []
    assert bad(seen.replaced(evicted=10, evicted_unread=10)) == []  # 5 a second


def key(name, octets, **more):
    return BigKey(subject=name, key=name, bytes=octets, id=f"k-{name}", node=NODE, type="hash", **more)


def test_big_keys_are_one_finding_with_the_coverage_of_the_sample():
    sample = KeySample(subject=NODE, node=NODE, looked_at=20_000, of=1_200_000, seconds=0.9)
    found = only(key("b", 2 * MIB), key(r"a\n\x1b[31m", 300 * MIB), key("small", 1000), sample)
    assert (found.rule, found.severity) == ("cache.big-key", WARNING)
    assert found.key == r"cache.big-key:a\n\x1b[31m"
    assert found.summary == (
        rf"the hash a\n\x1b[31m on {NODE} takes 300 MiB: who reads all of it holds up everybody else; 1 more: b"
    )
    assert found.confidence == "looked at 20,000 of 1,200,000 keys in 900 ms"
    assert bad(key("small", 1000)) == []
    unknown = only(key("b", 2 * MIB), sample.replaced(of=DENIED))
    assert unknown.confidence == "looked at 20,000 keys, of how many is unknown in 900 ms"


# ── the rules of the house ───────────────────────────────────────────────────────────────────────


def test_every_limit_says_where_it_comes_from():
    assert all(limit.source for limit in Limits())


def test_the_cause_stands_before_the_symptoms():
    seen = [frozen(shards_without_replica=("n2",)), node("n1", clients=9_700), node("n2", latency=0.7)]
    assert [f.rule for f in ranked(findings(*seen), cache_cause.PRECEDENCE)] == [
        "cache.node-dead",
        "cache.latency",
        "cache.clients",
        "cache.no-replica",
    ]
