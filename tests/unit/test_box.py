"""The box is judged before code is blamed: each trouble by its own name, and what is unknown is never OK."""

from __future__ import annotations

import pytest

from opsdoc.looks import sampling
from opsdoc.looks.sampling import BoxSample
from opsdoc.model import Severity, Unknown
from opsdoc.parsers.procfs import parse_system
from opsdoc.parsers.vmstat import wanted
from opsdoc.signals import box as box_signal
from opsdoc.signals import cpu_cause
from opsdoc.signals.box import Box, Limits, judge
from opsdoc.signals.processes import Process
from opsdoc.signals.quota import Quota

CALM = Box(
    id="o1",
    subject="this machine",
    busy=0.1,
    cpus=4,
    user=0.08,
    system=0.02,
    iowait=0.0,
    softirq=0.0,
    steal=0.0,
    busiest_cpu=0.3,
    busiest_cpu_id=1,
    busiest_softirq=0.01,
    runnable=1,
    blocked=0,
    forks_per_second=2.0,
    unattributed=0.0,
    pressure=0.0,
    io_pressure=0.0,
    busiest_softirq_id=2,
    memory_pressure=0.0,
    swapped_in=0.0,
    swapped_out=0.0,
    reclaim_stalls=0.0,
    scanned_direct=0.0,
    scanned_kswapd=0.0,
    compaction_stalls=0.0,
    refaults=0.0,
)
HOT = Process(subject="7 java", pid=7, name="java", command="java", cpu=1.0)


def findings(*others, limits=None, **changes):
    judged = judge([CALM.replaced(**changes), *others], [], limits or Limits())
    return {finding.rule: finding for finding in judged}


def bad(*others, **changes):
    return {rule: f.severity.word for rule, f in findings(*others, **changes).items() if f.severity is not Severity.OK}


def test_a_calm_box_is_ok_and_says_what_was_ruled_out():
    found = findings()
    assert {f.severity for f in found.values()} == {Severity.OK}
    assert set(found) == {*box_signal._RULES.values(), "box.reclaim"}
    assert all(f.evidence == ("o1",) for f in found.values())
    assert found["box.busy"].summary == "CPUs 10 % busy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steal": 0.15}, {"box.steal": "warning"}),
        ({"steal": 0.3}, {"box.steal": "critical"}),
        ({"busiest_softirq": 0.75, "softirq": 0.2}, {"box.softirq": "critical"}),
        ({"iowait": 0.2, "blocked": 3}, {"box.not-cpu": "warning"}),
        ({"iowait": 0.6, "blocked": 9}, {"box.not-cpu": "critical"}),
        ({"system": 0.4}, {"box.kernel": "warning"}),
        ({"unattributed": 1.2, "forks_per_second": 400.0}, {"box.short-lived": "critical"}),
        ({"unattributed": 1.2, "forks_per_second": 0.5}, {"box.hidden": "unknown"}),
        ({"memory_pressure": 0.2}, {"box.reclaim": "warning"}),
        ({"memory_pressure": 0.7}, {"box.reclaim": "critical"}),
        ({"swapped_in": 30_000.0}, {"box.reclaim": "warning"}),
        ({"reclaim_stalls": 40.0}, {"box.reclaim": "warning"}),
        ({"reclaim_stalls": 400.0}, {"box.reclaim": "critical"}),
        ({"busiest_cpu": 0.99}, {"box.one-cpu": "warning"}),
        ({"busy": 0.95, "busiest_cpu": 1.0, "runnable": 9}, {"box.busy": "warning"}),
    ],
)
def test_each_trouble_has_its_own_name(changes, expected):
    assert bad(**changes) == expected


def test_waiting_for_a_disk_is_told_to_be_no_cpu_problem():
    finding = findings(iowait=0.6, blocked=9)["box.not-cpu"]
    assert finding.summary == (
        "not a CPU problem: the CPUs are 10 % busy and idle 60 % of the time while 9 tasks wait for a disk"
    )
    assert (finding.threshold.name, finding.threshold.value) == ("box.iowait", 0.6)
    assert finding.by_hand
    assert finding.next_step


def test_one_saturated_cpu_is_named_unless_its_process_is_known():
    assert "CPU 1 is 99 % busy while all 4 together are 10 %" in findings(busiest_cpu=0.99)["box.one-cpu"].summary
    assert bad(HOT, busiest_cpu=0.99) == {}
    idle = HOT.replaced(cpu=0.1)
    unknown = HOT.replaced(cpu=Unknown("it ended"))
    assert bad(idle, unknown, busiest_cpu=0.99) == {"box.one-cpu": "warning"}


@pytest.mark.parametrize(
    "field", ["busy", "busiest_cpu", "steal", "busiest_softirq", "iowait", "system", "unattributed"]
)
def test_what_is_unknown_is_never_ok(field):
    found = [f for f in findings(**{field: Unknown("no such file")}).values() if f.severity is Severity.UNKNOWN]
    assert len(found) == 1
    assert "no such file" in found[0].summary


def test_unknown_numbers_beside_the_judged_one_do_not_break_the_sentence():
    unknown = Unknown("x")
    found = findings(steal=0.5, iowait=0.6, busy=unknown, blocked=unknown, forks_per_second=unknown, unattributed=2.0)
    assert "unknown tasks wait for a disk" in found["box.not-cpu"].summary
    assert found["box.hidden"].severity is Severity.UNKNOWN


def test_limits_of_the_user_decide():
    limits = Limits()._replace(busy=Limits().busy._replace(warn=0.05, crit=0.1))
    assert findings(limits=limits)["box.busy"].severity is Severity.CRITICAL
    assert bad(steal=0.15, limits=Limits()._replace(steal=limits.busy)) == {"box.steal": "critical"}


def test_every_rule_of_the_box_has_its_place_in_the_table():
    assert {*box_signal._RULES.values(), "box.hidden", "box.reclaim"} <= set(cpu_cause.PRECEDENCE)
    place = cpu_cause.PRECEDENCE.index
    assert place("box.steal") < place("cpu.app-code") < place("box.short-lived") < place("box.busy")
    assert place("cpu.gc") < place("cpu.app-code") < place("cpu.hot-process")


def test_no_box_is_no_finding():
    assert list(judge([HOT], [], Limits())) == []


# ── soft interrupts ──────────────────────────────────────────────────────────────────────────────


def test_soft_interrupts_are_named_with_their_cpu_and_kind():
    found = findings(busiest_softirq=0.75, softirq_kind="NET_RX", softirq_rate=213000.4)["box.softirq"]
    assert found.summary == "CPU 2 spends 75 % of its time in soft interrupts, most often NET_RX (213000/s)"
    assert "queues of the network card" in found.next_step
    for kind in (None, Unknown("x"), "IRQ_POLL"):
        found = findings(busiest_softirq=0.75, softirq_kind=kind, softirq_rate=None)["box.softirq"]
        assert "which kind" in found.next_step


TASKS = "processes 0\nprocs_running 1\nprocs_blocked 0\n"


def sample(at, softirq=(0, 0), **texts):
    rows = [f"cpu{n} 0 0 0 {100 * at - ticks} 0 0 {ticks} 0" for n, ticks in enumerate(softirq)]
    total = f"cpu 0 0 0 {200 * at - sum(softirq)} 0 0 {sum(softirq)} 0"
    return BoxSample(float(at), parse_system("\n".join([total, *rows, TASKS])), None, None, 0, **texts)


def softirqs(**rows):
    lines = [f"{kind:>12}: {first:>10} {second:>10}" for kind, (first, second) in rows.items()]
    return "\n".join(["                    CPU0       CPU1       ", *lines]) + "\n"


def measured(earlier, later, softirq=(0, 0), key="softirqs"):
    return sampling.box(sample(0, **{key: earlier}), sample(2, softirq, **{key: later}), 0.0)


def test_the_kind_is_the_one_that_ran_most_on_the_cpu_with_most_soft_interrupts():
    """The clock raises its own on every CPU at every tick: they are the reason only if nothing else ran."""
    before = softirqs(TIMER=(0, 0), NET_RX=(0, 50), BLOCK=(0, 0), RCU=(0, 0))
    after = softirqs(TIMER=(900, 900), NET_RX=(99_999, 650), BLOCK=(5, 10), RCU=(900, 900))
    box = measured(before, after, (10, 120))
    assert (box.busiest_softirq_id, box.softirq_kind, box.softirq_rate) == (1, "NET_RX", 300.0)
    quiet = softirqs(TIMER=(900, 900), NET_RX=(9, 59), BLOCK=(5, 10), RCU=(900, 800))
    assert measured(before, quiet, (10, 120)).softirq_kind == "TIMER"
    assert measured(before, before, (10, 120)).softirq_kind is None


def test_a_kernel_that_does_not_tell_the_kinds_leaves_them_unknown():
    assert isinstance(measured(None, None).softirq_kind, Unknown)
    assert isinstance(measured("x", softirqs(HI=(0, 0))).softirq_rate, Unknown)
    new = "CPU0 CPU1 CPU2\nHI: 1 2 3\n"
    assert measured("CPU0 CPU1\nHI: 1 2\n", new, (9, 0)).softirq_kind is None


# ── memory ───────────────────────────────────────────────────────────────────────────────────────

VMSTAT = """\
nr_free_pages 5
pswpin {0}
pswpout {0}
allocstall_dma {0}
allocstall_normal {0}
allocstall_movable 0
pgscan_kswapd {0}
pgscan_direct {0}
pgscan_direct_throttle 77777
compact_stall {0}
workingset_refault_anon {0}
workingset_refault_file {0}
"""
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={0}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"


def test_the_counters_of_memory_become_rates():
    """Those that a kernel keeps by zone are added up; `pgscan_direct_throttle` counts no pages."""
    for cut in (str, wanted):
        box = measured(cut(VMSTAT.format(100)), cut(VMSTAT.format(300)), key="vmstat")
        assert (box.swapped_in, box.swapped_out, box.compaction_stalls) == (100.0, 100.0, 100.0)
        assert (box.reclaim_stalls, box.scanned_direct, box.scanned_kswapd, box.refaults) == (
            200.0,
            100.0,
            100.0,
            200.0,
        )
    assert wanted(VMSTAT).count("\n") < VMSTAT.count("\n")


def test_what_this_kernel_does_not_count_does_not_apply_and_what_cannot_be_read_is_unknown():
    box = measured("pgscan_direct 5\n", "pgscan_direct 9\n", key="vmstat")
    assert (box.scanned_direct, box.swapped_in, box.compaction_stalls) == (2.0, None, None)
    for earlier, later in ((None, None), (None, VMSTAT.format(1)), ("x", "y")):
        assert isinstance(measured(earlier, later, key="vmstat").swapped_in, Unknown)


def test_memory_pressure_is_the_share_of_the_window():
    box = measured(PRESSURE.format(1_000_000), PRESSURE.format(1_500_000), key="memory_pressure")
    assert box.memory_pressure == 0.25
    assert isinstance(measured(None, None, key="memory_pressure").memory_pressure, Unknown)
    assert isinstance(measured("x", "x", key="memory_pressure").memory_pressure, Unknown)


KSWAPD = Process(id="o5", subject="41 [kswapd0]", pid=41, ppid=2, name="kswapd0", command="[kswapd0]", cpu=0.43)


def test_a_machine_that_is_short_of_memory_is_told_with_what_it_does_about_it():
    found = findings(
        KSWAPD,
        memory_pressure=0.7,
        swapped_in=2800.0,
        reclaim_stalls=120.0,
        scanned_direct=9000.0,
        scanned_kswapd=5000.0,
        refaults=400.0,
    )["box.reclaim"]
    assert found.summary == (
        "this machine is short of memory: tasks wait for memory 70 % of the time, 120 allocations/s have to free some "
        "first, 2800 pages/s are swapped in, 400 pages/s were thrown out and are needed again, kswapd0 burns 0.43 cores"
    )
    assert found.evidence == ("o1", "o5")
    assert (found.threshold.name, found.threshold.value) == ("box.memory_pressure", 0.7)
    assert "vmstat 1 5" in found.by_hand


def test_a_hot_kswapd_alone_is_told_but_not_a_program_of_that_name():
    assert bad(KSWAPD) == {"box.reclaim": "warning"}
    assert "kswapd0 burns 0.43 cores" in findings(KSWAPD)["box.reclaim"].summary
    assert bad(KSWAPD.replaced(ppid=1)) == {}
    assert bad(KSWAPD.replaced(cpu=Unknown("x"))) == {}
    assert bad(KSWAPD.replaced(cpu=0.1)) == {}


def test_a_cgroup_at_its_limit_is_told_from_a_machine_that_is_short():
    """The kernel counts scans and stalls for the machine only: no such count and yet a wait is a cgroup."""
    found = findings(memory_pressure=0.3, refaults=147_000.0)["box.reclaim"]
    assert found.summary.startswith("a cgroup is at its memory limit: tasks wait for memory 30 % of the time")
    assert "systemd-cgtop -m" in found.by_hand
    full = Quota(
        id="o9",
        subject="docker 0123456789ab",
        path="/docker",
        program="java",
        pids=(7,),
        memory_limit=64 << 20,
        memory_used=63 << 20,
    )
    found = findings(full, memory_pressure=0.3, refaults=147_000.0, scanned_kswapd=3.0)["box.reclaim"]
    assert found.summary.startswith("docker 0123456789ab is at its memory limit")
    assert "o9" in found.evidence
    assert "this machine" in findings(full, memory_pressure=0.3, scanned_direct=3.0)["box.reclaim"].summary


def test_a_kernel_that_counts_nothing_of_memory_gives_no_finding():
    unknown = dict.fromkeys(("memory_pressure", "swapped_in", "reclaim_stalls"), Unknown("no such file"))
    assert "box.reclaim" not in findings(**unknown)
    assert findings(**unknown | {"swapped_in": 0.0})["box.reclaim"].severity is Severity.OK
