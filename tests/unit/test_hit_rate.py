"""Hit rates: the window decides, each cause has a verdict of its own, and what cannot be judged says so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsdoc.model import Severity, Unknown
from opsdoc.signals import cache_cause
from opsdoc.signals.alike import MOST
from opsdoc.signals.cache_case import Case, cases_of
from opsdoc.signals.cache_facts import CacheCluster, CacheNode, SentinelView
from opsdoc.signals.cache_words import of_limit, reads, size, so_far
from opsdoc.signals.hit_rate import HitRate, Limits, judge
from opsdoc.signals.hit_rate_cause import cause_of, wave_marks
from opsdoc.signals.hit_rate_misses import miss_parts
from opsdoc.signals.hit_rate_samples import Counters, hit_rate, together, was_reset, with_shares, without_window
from opsdoc.signals.hit_rate_words import NEXT_STEPS
from opsdoc.verdict import ranked

SIGNALS = Path(cache_cause.__file__).parent
OK, WARNING, UNKNOWN, CRITICAL = Severity.OK, Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL
MIB = 1 << 20
NODE = "10.0.0.1:6379"
DENIED = Unknown("NOPERM this user has no permissions to run the 'info' command")


def rate(node=NODE, hits=100, misses=900, **more):
    """A node that has run for two hours, at 99 % over that time, read 500 times a second."""
    total = hits + misses if isinstance(hits, int) and isinstance(misses, int) else 0
    made = {
        "ratio": hits / total if total else None,
        "window_seconds": 2.0,
        "uptime": 7200.0,
        "lifetime_ratio": 0.99,
        "lifetime_reads": 1_000_000,
        "evicted": 0,
        "expired": 0,
        "keys": 300,
        "keys_before": 300,
        "expires": 300,
        "by_hand": ("show stats",),
    }
    sets = more.get("sets")
    if isinstance(sets, int) and misses:
        made["fill_ratio"] = sets / misses
    return HitRate(subject=node, node=node, id=f"h-{node}", hits=hits, misses=misses, **{**made, **more})


def health(node=NODE, **more):
    return CacheNode(subject=node, node=node, id=f"n-{node}", **more)


FULL = {"memory_used": 4 * MIB, "memory_limit": 4 * MIB, "policy": "allkeys-lru"}
# What was measured on redis-server 7.0.15 (knowledge: eviction, mass expiry), and what the counters mean for the rest.
EVICTION = {"hits": 636, "misses": 5364, "sets": 20_000, "evicted": 17_730, "keys": 2270, "keys_before": 2200}
WAVE = {
    "hits": 100, "misses": 900, "sets": 880, "expired": 266_000, "keys": 34_000, "keys_before": 300_000,
    "expires": 34_000, "avg_ttl": 0.003, "avg_ttl_before": 1.24, "expired_stale": 0.706, "expire_capped": 29,
}  # fmt: skip
PENETRATION = {"hits": 60, "misses": 5400, "sets": 12}
COLD = {"hits": 200, "misses": 800, "sets": 790, "uptime": 180.0, "keys": 4000, "keys_before": 3210}
SHIFT = {"hits": 200, "misses": 800, "sets": 790, "keys": 4000, "keys_before": 3210}


def findings(*observations, limits=None):
    return list(judge(observations, (), limits or Limits()))


def bad(*observations):
    return [finding for finding in findings(*observations) if finding.severity is not OK]


def only(*observations):
    (found,) = bad(*observations)
    return found


def fine(*observations):
    return {finding.rule: finding for finding in findings(*observations) if finding.severity is OK}


# ── measured: two looks ──────────────────────────────────────────────────────────────────────────


def test_the_window_is_the_difference_and_the_lifetime_stands_beside():
    before = Counters(10.0, hits=990_000, misses=9_000, sets=100, evicted=0, cpu=5.0, uptime=7200.0)
    after = Counters(12.0, hits=990_100, misses=9_900, sets=112, evicted=3, cpu=5.4, uptime=7202.0)
    found = hit_rate(NODE, before, after, role="master")
    assert (found.hits, found.misses, found.ratio) == (100, 900, 0.1)
    assert found.lifetime_ratio == pytest.approx(0.9901)
    assert (found.window_seconds, found.reads_per_second) == (2.0, 500.0)
    assert found.fill_ratio == pytest.approx(12 / 900)
    assert found.cpu == pytest.approx(0.2)
    assert (found.evicted, found.expired, found.role, found.reset) == (3, None, "master", False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Counters(0.0, hits=100, misses=5), Counters(2.0, hits=3, misses=6)),  # CONFIG RESETSTAT
        (Counters(0.0, hits=5, misses=5, evicted=9), Counters(2.0, hits=50, misses=60, evicted=0)),  # and reads since
        (Counters(0.0, hits=5, misses=5, uptime=900.0), Counters(2.0, hits=9, misses=9, uptime=1.0)),
        (Counters(0.0, hits=5, misses=5, run="a"), Counters(2.0, hits=9, misses=9, run="b")),
    ],
)
def test_a_reset_or_a_restart_gives_no_negative_rate_and_no_rate_at_all(before, after):
    assert was_reset(before, after)
    found = hit_rate(NODE, before, after)
    assert found.reset
    assert found.reads is None
    for name in ("hits", "misses", "ratio", "reads_per_second"):
        assert isinstance(getattr(found, name), Unknown), name
    told = only(found)
    assert (told.rule, told.severity) == ("cache.not-judgeable", UNKNOWN)
    assert "is not judgeable yet" in told.summary
    assert "run it again" in told.next_step


def test_looks_within_the_window_tell_its_course():
    looks = [Counters(float(at), hits=hits, misses=misses) for at, hits, misses in
             ((10, 1000, 0), (11, 1090, 10), (12, 1100, 20), (13, 1110, 110), (14, 1110, 210))]  # fmt: skip
    found = hit_rate(NODE, looks[0], looks[-1], looks[1:-1])
    assert [(point.at, point.value) for point in found.course] == [(11, 0.9), (12, None), (13, 0.1), (14, 0.0)]
    assert hit_rate(NODE, looks[0], looks[-1]).course == ()  # two looks are one point
    assert hit_rate(NODE, looks[0], looks[0], [looks[0]]).course == ()  # nothing was read
    assert hit_rate(NODE, looks[1], looks[0], [looks[0]]).course == ()  # a reset
    denied = Counters(11.0, hits=DENIED, misses=DENIED)
    assert [point.value for point in hit_rate(NODE, looks[0], looks[-1], [denied, looks[3]]).course] == [
        None, None, 0.0,
    ]  # fmt: skip
    untold = without_window(found, "no window")
    assert (untold.course, untold.misses_by_cause, untold.ratio) == ((), (), Unknown("no window"))


# ── misses by cause ──────────────────────────────────────────────────────────────────────────────


def parts_of(**told):
    return {part.cause: part.misses for part in miss_parts(rate(**told))}


def test_misses_by_cause_follow_the_verdict():
    assert parts_of(**EVICTION) == {"evicted": 5364, "expired": 0, "never filled": 0, "other": 0}
    assert parts_of(**WAVE) == {"expired": 900, "evicted": 0, "never filled": 0, "other": 0}
    assert parts_of(**PENETRATION)["never filled"] == 5388
    assert parts_of(**COLD)["other"] == 790
    assert parts_of(hits=10, misses=100, checks=60, sets=100)["only checked"] == 50  # the hits may have been checks
    assert parts_of(hits=10, misses=100, bypassed=70, sets=None, keys=None)["bypassed"] == 70
    assert parts_of(hits=10, misses=0) == {}
    assert parts_of(hits=DENIED, misses=DENIED) == {}


def test_misses_by_what_cannot_be_counted_are_unknown():
    found = miss_parts(rate(hits=10, misses=100, evicted=DENIED, sets=DENIED, fill_ratio=DENIED, keys=None, expired=30))
    told = {part.cause: part.misses for part in found}
    assert told == {"expired": 30, "evicted": DENIED, "never filled": DENIED, "other": 70}


COUNT = st.none() | st.just(DENIED) | st.integers(0, 5000)


@given(st.integers(0, 3000), st.integers(0, 3000), *[COUNT] * 6)
def test_misses_by_cause_are_all_misses_and_no_more(hits, misses, evicted, expired, sets, checks, bypassed, keys):
    ratio = sets / misses if isinstance(sets, int) and misses else sets if isinstance(sets, Unknown) else None
    found = miss_parts(
        rate(hits=hits, misses=misses, evicted=evicted, expired=expired, sets=sets, fill_ratio=ratio,
             checks=checks, bypassed=bypassed, keys=keys)
    )  # fmt: skip
    told = [part.misses for part in found if isinstance(part.misses, int)]
    assert sum(told) == misses
    assert min(told, default=0) >= 0


def test_what_was_denied_stays_unknown_and_what_a_product_lacks_does_not_apply():
    found = hit_rate(NODE, Counters(0.0, hits=DENIED, misses=1, sets=DENIED), Counters(2.0, hits=DENIED, misses=2))
    assert found.hits == DENIED
    assert found.ratio == DENIED
    assert found.misses == 1
    assert found.sets == DENIED
    assert found.evicted is None
    assert isinstance(hit_rate(NODE, Counters(0.0), Counters(2.0)).hits, Unknown)


def test_nothing_read_has_no_rate():
    found = hit_rate(NODE, Counters(0.0, hits=5, misses=5), Counters(2.0, hits=5, misses=5))
    assert (found.hits, found.misses, found.ratio, found.reads_per_second) == (0, 0, None, 0.0)
    zero = hit_rate(NODE, Counters(0.0, hits=5, misses=5), Counters(0.0, hits=9, misses=5))
    assert zero.reads_per_second is None


def test_shares_and_sums_over_nodes():
    one, two = with_shares([rate("a", ops=300), rate("b", hits=900, misses=100, ops=100)])
    assert (one.ops_share, two.ops_share) == (0.75, 0.25)
    both = together([one, two, rate("c", hits=DENIED)])
    assert (both.hits, both.misses, both.ratio, both.ops) == (1000, 1000, 0.5, 400)
    assert both.lifetime_ratio == pytest.approx(0.99)
    assert together([one, two.replaced(evicted=None)]).evicted is None
    assert [r.ops_share for r in with_shares([rate("a", ops=None), rate("b", ops=0)])] == [None, None]


# ── judged: six causes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("observations", "rule"),
    [
        ([rate(**EVICTION), health(**FULL)], "cache.eviction"),
        ([rate(**WAVE)], "cache.expiry-wave"),
        ([rate(**PENETRATION)], "cache.penetration"),
        ([rate(**COLD)], "cache.cold"),
        ([rate(**PENETRATION), health(oom_errors=1204, policy="noeviction")], "cache.oom"),
        ([rate(**SHIFT)], "cache.pattern-shift"),
        ([rate(expired=600, sets=850)], "cache.expired"),
        ([rate(bypassed=800)], "cache.bypass"),
        ([rate(checks=950, sets=3)], "cache.checks"),
        ([rate(keys=None)], "cache.low"),
    ],
)
def test_each_cause_has_a_verdict_and_a_next_step_of_its_own(observations, rule):
    found = only(*observations)
    assert found.rule == rule
    assert found.key == f"{rule}:{NODE}"
    assert found.next_step == NEXT_STEPS[rule.partition(".")[2]]
    assert found.by_hand == ("show stats",)
    assert f"h-{NODE}" in found.evidence
    assert found.threshold.name in ("hit_rate.misses", "hit_rate.surge", "hit_rate.refused")
    assert found.threshold.source
    assert re.search(r"reads in 2\.0 s", found.confidence)


def test_next_steps_differ():
    assert len(set(NEXT_STEPS.values())) == len(NEXT_STEPS)


@pytest.mark.parametrize("facts", [EVICTION, WAVE, PENETRATION])
def test_a_server_that_has_just_started_is_judged_by_what_it_shows(facts):
    """A test, or an incident, on a young server: positive evidence does not wait for half an hour."""
    aged, young = only(rate(**facts), health(**FULL)), only(rate(**facts, uptime=30.0), health(**FULL))
    assert (young.rule, young.severity) == (aged.rule, CRITICAL)


def test_lifetime_99_percent_and_the_last_seconds_at_10():
    found = only(rate(**SHIFT | {"hits": 100, "misses": 900}))
    assert found.severity is CRITICAL
    assert found.summary.startswith(f"{NODE} hits in 10 % of 1,000 reads in 2.0 s (99 % over its lifetime): ")
    assert found.threshold.name == "hit_rate.misses"
    assert found.threshold.value == pytest.approx(0.9)


def test_eviction_says_what_was_evicted_and_how_full_it_is():
    found = only(rate(**EVICTION), health(**FULL))
    assert found.summary == (
        f"{NODE} hits in 11 % of 6,000 reads in 2.0 s (99 % over its lifetime): it is too small, 17,730 keys were "
        "evicted while 20,000 were written; 4.0 of 4.0 MiB used (allkeys-lru)"
    )
    unread = only(rate(hits=500, misses=2300, evicted=5460, evicted_unread=5460, product="memcached"))
    assert "5,460 keys were evicted, 100 % of them never read" in unread.summary
    assert unread.rule == "cache.eviction"


def test_a_full_cache_that_evicts_and_hits_is_fine():
    assert bad(rate(hits=950, misses=50, sets=50, evicted=50), health(**FULL)) == []


def test_penetration_in_a_full_cache_is_not_called_eviction():
    assert only(rate(**PENETRATION | {"evicted": 12}), health(**FULL)).rule == "cache.penetration"


def test_penetration_says_that_nobody_fills():
    found = only(rate(**PENETRATION))
    assert found.summary.endswith("nobody fills what is missed, 12 writes for 5,400 misses; nothing evicted or expired")
    assert "scanner" in found.next_step


def test_without_commandstats_the_number_of_keys_tells_of_fills():
    hidden = rate(hits=60, misses=5400, sets=DENIED, fill_ratio=DENIED)
    found = only(hidden)
    assert found.rule == "cache.penetration"
    assert found.confidence == "5,460 reads in 2.0 s, fills told by the number of keys alone"
    assert only(hidden.replaced(keys=5000)).rule == "cache.pattern-shift"
    assert only(hidden.replaced(keys=DENIED)).rule == "cache.low"


def test_fills_by_other_commands_than_sets_are_seen_in_the_number_of_keys():
    assert only(rate(**PENETRATION | {"keys": 5700})).rule == "cache.pattern-shift"


def test_an_expiry_wave_has_several_marks():
    found = only(rate(**WAVE))
    assert "many keys expire at once, 266,000 of 300,000 in the window" in found.summary
    assert "average time to live 1.2 s before and 3 ms now" in found.summary
    assert len(wave_marks(rate(**WAVE))) == 4
    memcached = rate(expired=600, keys=None, keys_before=None)
    assert cause_of(Case(memcached, None)) == "expired"


def test_short_times_to_live_are_no_wave():
    """Measured: 3,000 keys that live 0.3 s, read and filled at random; 23 % of the keys are stale at any time."""
    steady = rate(
        hits=27_680, misses=13_320, sets=13_320, expired=13_533, keys=2634, keys_before=2948, avg_ttl=0.051,
        avg_ttl_before=0.052, expired_stale=0.23, expire_capped=0, expired_total=34_000, uptime=5.0,
    )  # fmt: skip
    assert wave_marks(steady) == ["expired keys are still held"]
    found = only(steady)
    assert (found.rule, found.severity) == ("cache.expired", WARNING)
    assert found.summary.endswith("when they are read, 13,533 expired beside 13,320 misses")


def test_a_wave_is_seen_from_its_end_and_after_it():
    """Measured: 300,000 keys expired at once; the last of them in the window, then none, while they are filled."""
    end = rate(
        hits=2512, misses=37_388, sets=37_352, expired=2762, keys=37_350, keys_before=2762, avg_ttl=3599.2,
        avg_ttl_before=0.0, expired_stale=0.364, expire_capped=0, expired_total=300_000, uptime=20.0,
    )  # fmt: skip
    assert only(end).rule == "cache.expiry-wave"
    after = end.replaced(expired=0, keys=72_877, keys_before=37_397, avg_ttl_before=3599.2, expired_stale=0.13)
    found = only(after)
    assert found.rule == "cache.expiry-wave"
    assert "many keys expired at once shortly before, 300,000 since it started, and are filled again" in found.summary
    assert only(after.replaced(expired_stale=0.02)).rule == "cache.cold"
    assert only(after.replaced(keys=37_397, sets=10, fill_ratio=0.0)).rule == "cache.penetration"


def test_a_wave_far_above_the_usual_expiry():
    """10 keys a second over two hours, 3,000 a second now."""
    surge = rate(expired=6000, expired_total=78_000, expire_capped=3, sets=850)
    assert "far more expire than usual" in wave_marks(surge)
    assert only(surge).rule == "cache.expiry-wave"
    usual = surge.replaced(expired_total=6000 * 3600)
    assert "far more expire than usual" not in wave_marks(usual)


def test_a_wave_is_told_though_few_of_its_keys_are_read_yet():
    assert only(rate(**WAVE | {"expired": 40_000, "keys": 260_000, "misses": 500_000})).rule == "cache.expiry-wave"


def test_what_is_lost_most_is_the_cause():
    assert only(rate(**WAVE | {"evicted": 1000})).rule == "cache.expiry-wave"
    assert only(rate(**EVICTION | {"expired": 3000})).rule == "cache.eviction"


# ── judged: how bad ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hits", "lifetime", "severity"),
    [
        (810, None, OK),
        (800, None, WARNING),
        (501, None, WARNING),
        (500, None, CRITICAL),
        (890, 0.97, WARNING),  # 11 % of misses where 3 % are usual
        (890, 0.99, CRITICAL),  # 11 times
        (890, 0.9, OK),
        (910, 0.999, OK),  # above 90 % no surge is judged
        (700, 0.7, WARNING),  # it is always like that
    ],
)
def test_by_the_share_of_misses_and_by_how_unusual_they_are(hits, lifetime, severity):
    seen = rate(hits=hits, misses=1000 - hits, sets=1000 - hits, lifetime_ratio=lifetime)
    assert max(finding.severity for finding in findings(seen)) is severity


def test_a_surge_is_not_judged_of_a_young_cache():
    seen = rate(hits=890, misses=110, sets=110, lifetime_ratio=0.99)
    assert only(seen).threshold.name == "hit_rate.surge"
    assert bad(seen.replaced(uptime=600.0)) == []
    assert bad(seen.replaced(uptime=None)) == []


def test_a_cold_start_is_a_warning_at_most():
    found = only(rate(**COLD | {"hits": 10, "misses": 990}))
    assert (found.rule, found.severity) == ("cache.cold", WARNING)
    assert "it started 3 min ago and is filling, from 3,210 to 4,000 keys in the window" in found.summary
    assert only(rate(**COLD | {"uptime": 1800.0})).rule == "cache.pattern-shift"
    assert only(rate(hits=10, misses=990, keys=None, uptime=20.0)).rule == "cache.cold"


def test_existence_checks_are_meant_to_miss():
    assert only(rate(checks=950, sets=3)).severity is WARNING
    assert only(rate(checks=100, sets=3)).rule == "cache.penetration"


def test_limits_can_be_moved():
    limits = Limits()
    moved = limits._replace(misses=limits.misses._replace(warn=0.95, crit=0.99))
    assert [f for f in findings(rate(lifetime_ratio=None), limits=moved) if f.severity is not OK] == []


def test_a_store_without_times_to_live_lowers_the_confidence():
    found = only(rate(**PENETRATION | {"expires": 0}))
    assert found.confidence.endswith("so it may be a store and no cache")


# ── judged: writes that fail ─────────────────────────────────────────────────────────────────────


def test_refused_writes_are_critical_though_reads_hit_and_nothing_is_evicted():
    full = health(oom_errors=1204, memory_used=MIB, memory_limit=MIB, policy="noeviction", window_seconds=2.0)
    found = only(rate(hits=990, misses=10, sets=0), full)
    assert (found.rule, found.severity) == ("cache.oom", CRITICAL)
    assert found.summary == (
        f"{NODE} refuses writes: 1,204 writes failed for want of memory in 2.0 s, 1.0 of 1.0 MiB used and nothing can "
        "be evicted (noeviction); it hits in 99 % of 1,000 reads in 2.0 s (99 % over its lifetime)"
    )
    assert found.threshold.name == "hit_rate.refused"
    assert found.evidence == (f"h-{NODE}", f"n-{NODE}")
    assert fine(rate(hits=990, misses=10), full) == {}
    assert {f.rule for f in bad(rate(hits=0, misses=0), full)} == {"cache.oom", "cache.not-judgeable"}
    assert only(full).rule == "cache.oom"  # though nothing is known of its reads


def test_a_policy_that_evicts_only_keys_with_a_ttl_refuses_where_there_are_none():
    full = health(oom_errors=3, memory_used=MIB, memory_limit=MIB, policy="volatile-lru")
    assert "nothing can be evicted (volatile-lru)" in only(rate(hits=990, misses=10, expires=0), full).summary
    assert "nothing can be evicted" not in only(rate(hits=990, misses=10), full).summary


# ── judged: what is fine, and what nobody can judge ──────────────────────────────────────────────


def test_a_fine_rate_is_told_with_its_reads_and_its_window():
    found = fine(rate(hits=1180, misses=24, lifetime_ratio=0.97))["cache.fine"]
    assert found.summary == f"{NODE} hits in 98 % of 1,204 reads in 2.0 s (97 % over its lifetime)"
    assert found.confidence == "1,204 reads in 2.0 s"


def test_few_reads_are_not_judged_by_the_window_whatever_the_lifetime_says():
    found = only(rate(hits=0, misses=99))
    assert (found.rule, found.severity) == ("cache.not-judgeable", UNKNOWN)
    assert found.summary == (
        f"the hit rate of {NODE} is not judgeable: 99 reads in 2.0 s are too few; over its lifetime it is 99 %"
    )
    assert "--window" in found.next_step
    assert only(rate(hits=0, misses=100, keys=None)).rule == "cache.low"
    assert only(rate(hits=0, misses=0)).rule == "cache.not-judgeable"


def test_all_hits_at_two_reads_a_second_are_not_called_healthy():
    found = only(rate(hits=120, misses=0, window_seconds=60.0))
    assert (found.rule, found.severity) == ("cache.not-judgeable", UNKNOWN)
    assert "2.0 reads/s are too few to call it well" in found.summary
    assert bad(rate(hits=1200, misses=0, window_seconds=600.0)) == []  # as many as these are enough
    slow = only(rate(hits=10, misses=110, window_seconds=60.0, sets=100))
    assert slow.severity is WARNING  # nor does it melt what stands behind


def test_a_node_that_may_not_be_read_is_unknown_and_the_others_are_judged_all_the_same():
    hidden = rate("b:1", hits=DENIED, misses=DENIED)
    rules = {finding.rule: finding for finding in findings(rate("a:1", **PENETRATION), hidden)}
    assert set(rules) == {"cache.penetration", "cache.not-judgeable"}
    assert "NOPERM" in rules["cache.not-judgeable"].summary
    assert rules["cache.not-judgeable"].severity is UNKNOWN


def test_nodes_with_one_reason_are_one_finding():
    found = only(*(rate(f"n{i}", hits=DENIED, misses=DENIED) for i in range(6)))
    assert found.summary.startswith("the hit rate of 6 nodes (n0, n1, n2 and 3 more) is not judgeable: NOPERM")


def test_nothing_seen_is_nothing_said():
    assert findings() == []
    assert findings(health()) == []


# ── judged: several nodes ────────────────────────────────────────────────────────────────────────


def test_all_nodes_with_one_cause_are_one_finding_that_names_the_worst():
    nodes = [rate(f"n{i}", **PENETRATION | {"hits": 60 + i * 50}) for i in range(6)]
    found = only(*nodes)
    assert (found.rule, found.key, found.severity) == ("cache.penetration", "cache.penetration:all", CRITICAL)
    assert found.subject == "all 6 nodes"
    assert found.summary.startswith("all 6 nodes miss alike, together the cache hits in 3.3 % of 33,510 reads in 2.0 s")
    assert "72 writes for 32,400 misses" in found.summary
    assert found.summary.endswith("; lowest n0 with 1.1 %")
    assert len(found.evidence) == 5


def test_idle_replicas_do_not_keep_masters_from_being_told_together():
    masters = [rate(f"m{i}", **PENETRATION, role="master") for i in range(3)]
    replicas = [rate(f"r{i}", hits=0, misses=0, role="replica", asked=False) for i in range(3)]
    assert only(*masters, *replicas).subject == "all 3 nodes"


def test_different_causes_are_told_one_by_one_and_the_rest_is_fine():
    worst, other = rate("a", **PENETRATION), rate("b", **EVICTION)
    rules = [finding.rule for finding in findings(worst, other, rate("c", hits=990, misses=10))]
    assert rules == ["cache.penetration", "cache.eviction", "cache.fine"]
    found = fine(worst, rate("c", hits=990, misses=10), rate("d", hits=950, misses=50))["cache.fine"]
    assert found.summary.startswith("2 other nodes together: hits in 97 % of 2,000 reads in 2.0 s")
    assert found.summary.endswith(", lowest d with 95 %")


def test_nodes_with_few_reads_each_are_judged_as_one():
    found = only(*(rate(f"n{i}", hits=5, misses=45, sets=0) for i in range(6)))
    assert (found.rule, found.key) == ("cache.penetration", "cache.penetration:all")
    assert "hits in 10 % of 300 reads" in found.summary


def test_hundreds_of_nodes_are_few_findings():
    sick = [rate(f"n{i:03}", **(PENETRATION if i % 2 else EVICTION)) for i in range(200)]
    found = bad(*sick)
    assert len(found) == 2 * (MOST + 1)
    assert {f.key for f in found if f.key.endswith("rest:critical")} == {
        "cache.penetration:rest:critical",
        "cache.eviction:rest:critical",
    }


def test_a_part_is_told_with_the_whole_and_is_not_counted_twice():
    zone = rate("zone cz", hits=500, misses=500, keys=None, product="nginx", uptime=None, lifetime_ratio=None)
    good = rate("/img", hits=450, misses=50, part_of="zone cz")
    poor = rate("/api", hits=50, misses=450, part_of="zone cz")
    found = only(zone, good, poor)
    assert found.summary.startswith("zone cz hits in 50 % of 1,000 reads in 2.0 s: ")
    assert found.summary.endswith("; most in /api (450 of 500 reads missed)")
    well = fine(zone.replaced(hits=950, misses=50), good, poor)["cache.fine"]
    assert well.summary.endswith("; lowest in /api with 10 %")
    assert [case.name for case in cases_of([poor])] == ["/api"]


# ── judged: load ─────────────────────────────────────────────────────────────────────────────────


def spread(*ops, **more):
    return [rate(f"n{i}", hits=990, misses=10, ops=count, **more) for i, count in enumerate(ops)]


def test_one_hot_node_is_named_though_the_hit_rate_is_fine():
    found = only(*spread(1000, 1100, 9000))
    assert (found.rule, found.severity, found.subject) == ("cache.hot-key", WARNING, "n2")
    assert found.summary.startswith("n2 gets 81 % of all commands of 3 nodes, 8.6 times as many as the median of the")
    assert found.threshold.name == "hit_rate.hot_node"
    assert "more nodes do not help" in found.next_step
    nodes = spread(1000, 1100, 9000)
    busy = only(*nodes[:2], nodes[2].replaced(cpu=0.97))
    assert (busy.severity, busy.threshold.name) == (CRITICAL, "hit_rate.busy")
    assert "its main thread uses 0.97 cores" in busy.summary
    assert "the others have hardly any" in only(*spread(0, 0, 9000)).summary


def test_no_node_is_hot_at_a_few_commands_or_by_its_slots():
    assert bad(*spread(10, 10, 150)) == []
    assert bad(*spread(1000, 1100, 1400)) == []
    assert bad(*spread(9000)) == []
    slots = CacheCluster(subject="c", state="ok", slot_imbalance=2.4, masters=3)
    assert "cache.hot-key" not in {f.rule for f in bad(*spread(1000, 1100, 9000), slots)}


def test_replicas_have_no_part_of_the_load():
    replica = rate("r", hits=990, misses=10, ops=0, role="replica", asked=False)
    assert bad(*spread(1000, 1100), replica) == []


def test_servers_that_do_not_get_their_part():
    found = only(*spread(3000, 3000, 40))
    assert (found.rule, found.severity) == ("cache.uneven", WARNING)
    assert found.summary == "the load is not spread evenly over 3 nodes: n0 50 %, n1 50 % and n2 0.7 %"
    assert "same list" in found.next_step


def test_a_single_node_with_a_busy_thread():
    found = only(*spread(90_000, cpu=0.9))
    assert (found.rule, found.severity) == ("cache.busy", WARNING)
    assert "uses 0.90 cores of the one that it can, 45,000 commands/s" in found.summary
    assert only(*spread(90_000, cpu=0.96)).severity is CRITICAL


# ── judged: replicas ─────────────────────────────────────────────────────────────────────────────


def test_a_replica_in_place_of_the_master_says_so():
    replica = health(role="replica", master="10.0.0.9:6379")
    idle = only(rate(hits=0, misses=0, role="replica"), replica)
    assert (idle.rule, idle.severity) == ("cache.is-replica", UNKNOWN)
    assert idle.summary.startswith(f"{NODE} is a replica of 10.0.0.9:6379, not the master: it counts only its own")
    assert idle.next_step.startswith("ask 10.0.0.9:6379")
    read = only(rate(hits=990, misses=10, role="replica"), replica)
    assert read.severity is WARNING
    assert fine(rate(hits=990, misses=10, role="replica"), replica)["cache.fine"]
    master = rate("10.0.0.9:6379", hits=990, misses=10, role="master")
    assert fine(rate(hits=0, misses=0, role="replica"), replica, master)["cache.is-replica"]


@pytest.mark.parametrize("beside", [CacheCluster(subject="c"), SentinelView(subject="m")])
def test_a_replica_that_was_found_is_none_that_was_named(beside):
    replica = rate(hits=0, misses=0, role="replica")
    master = rate("m", hits=990, misses=10, role="master")
    assert bad(replica, master, beside) == []
    assert bad(replica.replaced(asked=False), master) == []


# ── the table, and words ─────────────────────────────────────────────────────────────────────────


def test_the_cause_stands_before_the_symptoms():
    seen = [rate(**PENETRATION), health(oom_errors=5, policy="noeviction")]
    assert [f.rule for f in ranked(findings(*seen), cache_cause.PRECEDENCE)] == ["cache.oom"]
    hot = [*spread(1000, 1100), rate("n2", **PENETRATION, ops=9000, cpu=0.99)]
    assert [f.rule for f in ranked(findings(*hot), cache_cause.PRECEDENCE)][:2] == [
        "cache.penetration",
        "cache.hot-key",
    ]


def test_the_table_has_each_rule_once_and_each_limit_a_source():
    rules = set()
    for path in [*SIGNALS.glob("cache_*.py"), *SIGNALS.glob("hit_rate*.py")]:
        texts = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        rules |= {t for t in texts if isinstance(t, str) and re.fullmatch(r"cache\.[a-z]+(-[a-z]+)*", t)}
    assert rules | {f"cache.{cause}" for cause in NEXT_STEPS} == set(cache_cause.PRECEDENCE)
    assert len(set(cache_cause.PRECEDENCE)) == len(cache_cause.PRECEDENCE)
    assert all(limit.source for limit in Limits())
    names = {f"hit_rate.{name}" for name in Limits._fields}
    assert names.isdisjoint(rules)


def test_what_is_known_before_the_window():
    told = "1 node answers, at a hit rate of 99 % over the lifetime; the hit rate of now is known in 2.0 s"
    assert so_far(1, (), 99, 1, 2.0) == told
    assert so_far(0, ("a", "b"), 0, 0, 60.0) == "a and b do not answer; the hit rate of now is known in 60 s"
    assert so_far(3, ("a",), 0, 0, 2.0).startswith("a does not answer; 3 nodes answer, unread; ")


def test_sizes_and_reads():
    assert [size(n) for n in (0, 1, 820, 95 * 1024, 4 * MIB, 12 << 30)] == [
        "0 bytes",
        "1 byte",
        "820 bytes",
        "95 KiB",
        "4.0 MiB",
        "12 GiB",
    ]
    assert (of_limit(2 * MIB, 4 * MIB), of_limit(900, MIB)) == ("2.0 of 4.0 MiB", "900 bytes of 1.0 MiB")
    assert (reads(1204, 2.0), reads(1, 600.0)) == ("1,204 reads in 2.0 s", "1 read in 10 min")
