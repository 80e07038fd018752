"""Quotas: one for each cgroup, by what grew in the window, and told so that one knows whose quota to raise."""

from __future__ import annotations

import pytest

from opsdoc.host import Answer
from opsdoc.looks.quotas import blind, limited, quotas
from opsdoc.model import Severity, Unknown
from opsdoc.signals.processes import Process
from opsdoc.signals.quota import Limits, Quota, judge

ID = "0123456789ab" + "c" * 52
DOCKER = f"/docker/{ID}"


def level(path, quota=None, periods=None, throttled=None, seconds=None, used=None, held=None):
    return {
        "path": path,
        "folder": f"/sys/fs/cgroup{path}",
        "quota": quota,
        "periods": periods,
        "throttled_periods": throttled,
        "throttled_seconds": seconds,
        "held_seconds": held,
        "used_seconds": used,
    }


def answer(at, *levels, memory=None, path=None, unknown=None):
    value = {
        "version": 2,
        "path": path or levels[0]["path"],
        "levels": list(levels),
        "memory": memory,
        "unknown": unknown or {},
    }
    return Answer(value, at, 0.001)


# ── measured ─────────────────────────────────────────────────────────────────────────────────────


def test_rates_come_from_what_grew_in_the_window():
    earlier = answer(1.0, level(DOCKER, 0.2, 100, 50, 7.0, 90.0))
    later = answer(3.0, level(DOCKER, 0.2, 120, 69, 9.8, 90.4))
    (quota,) = quotas([(7, "java", earlier, later)])
    assert (quota.subject, quota.path, quota.level) == ("docker 0123456789ab", DOCKER, DOCKER)
    assert (quota.throttled, quota.periods, quota.throttled_seconds) == (0.95, 20, 1.4)
    assert (quota.quota, quota.used) == (0.2, 0.2)
    assert (quota.pids, quota.program) == ((7,), "java")


def test_processes_share_their_cgroup_and_their_cpu_is_added_up_where_the_kernel_keeps_no_account():
    one, two = answer(0.0, level("/web", 1.0, 0, 0, 0.0)), answer(2.0, level("/web", 1.0, 20, 0, 0.0))
    other = answer(0.0, level("/db", 2.0, 0, 0, 0.0)), answer(2.0, level("/db", 2.0, 20, 10, 0.5))
    found = quotas([(7, "a", one, two), (8, "b", *other), (9, "c", one, two)], {7: 0.3, 9: 0.25, 1: 5.0})
    assert [(quota.path, quota.pids, quota.used) for quota in found] == [
        ("/web", (7, 9), 0.55),
        ("/db", (8,), Unknown("this kernel keeps no account of the CPU of a cgroup")),
    ]


def test_of_several_quotas_the_one_that_holds_up_is_told():
    before = level("/pod/web", 2.0, 0, 0, 0.0), level("/pod", 0.5, 0, 0, 0.0), level("/")
    after = level("/pod/web", 2.0, 20, 1, 0.0), level("/pod", 0.5, 20, 20, 3.0), level("/")
    (quota,) = quotas([(7, "java", answer(0.0, *before), answer(2.0, *after))])
    assert (quota.path, quota.level, quota.quota, quota.throttled) == ("/pod/web", "/pod", 0.5, 1.0)
    (quota,) = quotas([(7, "java", answer(0.0, *before), answer(2.0, *before))])
    assert (quota.level, quota.throttled, quota.periods) == ("/pod", 0.0, 0)  # the smaller of two that are not reached


def test_without_a_quota_there_is_nothing_to_tell():
    free = answer(0.0, level("/web", held=0.0), level("/"))
    assert quotas([(7, "java", free, free)]) == []
    assert not limited(free.value)
    assert limited(answer(0.0, level("/web"), level("/", 0.5)).value)
    assert limited(answer(0.0, level("/web", held=3.0)).value)


def test_a_process_that_changed_its_cgroup_is_left_out():
    one, two = answer(0.0, level("/a", 1.0, 0, 0, 0.0)), answer(2.0, level("/b", 1.0, 0, 0, 0.0))
    assert quotas([(7, "java", one, two)]) == []


def test_counters_that_start_anew_never_make_less_than_nothing():
    earlier, later = answer(1.0, level("/a", 1.0, 90, 90, 9.0, 9.0)), answer(1.0, level("/a", 1.0, 3, 1, 0.1, 0.1))
    (quota,) = quotas([(7, "java", earlier, later)])
    assert (quota.throttled, quota.throttled_seconds, quota.used) == (0.0, 0.0, 0.0)


def test_counters_that_are_not_there_are_unknown():
    look = answer(1.0, level("/a", 1.0))
    (quota,) = quotas([(7, "java", look, look)])
    assert isinstance(quota.throttled, Unknown)
    assert isinstance(quota.throttled_seconds, Unknown)


def test_time_held_up_by_a_quota_out_of_sight_is_told():
    earlier, later = answer(0.0, level("/../web", held=1.0)), answer(2.0, level("/../web", held=2.6))
    (quota,) = quotas([(7, "java", earlier, later)])
    assert quota.throttled_seconds == 0.8
    assert isinstance(quota.quota, Unknown)
    assert isinstance(quota.throttled, Unknown)
    (still,) = [quotas([(7, "java", later, later)])]
    assert still == []


def test_a_cgroup_at_its_memory_limit_is_told_without_a_quota_too():
    def look(used):
        return answer(0.0, level("/web"), memory={"path": "/web", "limit_bytes": 64 << 20, "used_bytes": used})

    assert quotas([(7, "java", look(10 << 20), look(10 << 20))]) == []
    (quota,) = quotas([(7, "java", look(63 << 20), look(63 << 20))])
    assert (quota.quota, quota.throttled, quota.memory_limit, quota.memory_used) == (None, None, 64 << 20, 63 << 20)
    assert quota.short_of_memory
    assert list(judge([quota], [], Limits())) == []


def test_what_could_not_be_read_is_a_blind_spot():
    hidden = answer(0.0, path="/../web", unknown={"cpu": "no mount shows /../web", "memory": "no mount shows /../web"})
    (unseen,) = blind([(7, "java", hidden, hidden)])
    assert (unseen.subject, unseen.detail) == ("quota of process 7 java", "no mount shows /../web")
    assert quotas([(7, "java", hidden, hidden)]) == []


# ── judged ───────────────────────────────────────────────────────────────────────────────────────

THROTTLED = Quota(
    id="o7",
    subject="docker 0123456789ab",
    throttled=0.95,
    quota=0.2,
    used=0.19,
    throttled_seconds=1.4,
    periods=20,
    path=DOCKER,
    level=DOCKER,
    folder=f"/sys/fs/cgroup{DOCKER}",
    pids=(7,),
    program="java",
)
ORDERS = Process(id="o3", subject="7 java", pid=7, name="java", command="java -jar /srv/orders.jar", cpu=0.19)


def finding(*others, **changes):
    (found,) = judge([THROTTLED.replaced(**changes), *others], [], Limits())
    return found


def test_a_throttled_container_is_named_with_its_quota_and_what_to_do():
    found = finding(ORDERS)
    assert (found.rule, found.severity, found.key) == ("cpu.throttled", Severity.CRITICAL, "cpu.throttled:orders.jar")
    assert found.summary == (
        "orders.jar (pid 7) in docker 0123456789ab is throttled in 95 % of the periods: it may use 0.20 cores, "
        "and its threads together are held up 1.4 s of every second"
    )
    assert found.confidence == "19 of 20 periods"
    assert found.evidence == ("o7", "o3")
    assert (found.threshold.name, found.threshold.value) == ("quota.throttled", 0.95)
    assert "docker update --cpus N 0123456789ab" in found.next_step
    assert "start fewer" in found.next_step
    stat = f"/sys/fs/cgroup{DOCKER}/cpu.stat"
    assert found.by_hand == (f"cat {stat}; sleep 5; cat {stat}",)


@pytest.mark.parametrize(("share", "severity"), [(0.09, "ok"), (0.1, "warning"), (0.49, "warning"), (0.5, "critical")])
def test_the_share_of_throttled_periods_decides(share, severity):
    assert finding(throttled=share).severity.word == severity


def test_a_quota_that_is_not_hit_is_ruled_out():
    found = finding(throttled=0.0, throttled_seconds=0.0)
    assert found.summary == "docker 0123456789ab used 0.19 cores of the 0.20 cores that it may"
    assert found.threshold is None


def test_who_else_is_in_it_and_whose_quota_it_is():
    found = finding(pids=(7, 8, 9), level="/kubepods/pod1", throttled_seconds=0.4)
    assert found.subject == "java (pid 7) and 2 more in docker 0123456789ab"
    assert "it may use 0.20 cores, the quota of /kubepods/pod1, and is held up 0.4 s of every second" in found.summary
    assert "start fewer" not in found.next_step


@pytest.mark.parametrize(
    ("subject", "how"),
    [
        ("systemd unit my app@1.service", "systemctl set-property 'my app@1.service' CPUQuota=N%"),
        ("kubernetes pod 1f3b2c4d, container 0123456789ab", "resources.limits.cpu of the pod"),
        ("podman 0123456789ab", "podman update --cpus N 0123456789ab"),
    ],
)
def test_where_the_quota_is_set_is_told(subject, how):
    assert how in finding(subject=subject).next_step
    assert ":" not in finding(subject="nightly", throttled_seconds=0.4).next_step


def test_a_folder_with_a_hostile_name_is_quoted():
    assert finding(folder="/a'; rm -rf /").by_hand[0].startswith("cat '/a'\\''; rm -rf //cpu.stat';")


def test_a_quota_out_of_sight_is_unknown_once_it_matters():
    above = Unknown("the quota is further up")
    found = finding(quota=above, throttled=above, throttled_seconds=0.8, used=None)
    assert found.severity is Severity.UNKNOWN
    assert "is held up 0.8 s of every second by a quota out of sight" in found.summary
    assert finding(quota=above, throttled=above, throttled_seconds=0.01).severity is Severity.OK
