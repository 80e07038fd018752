"""Two samples and the rates between them, whatever happened to the ids and the clock meanwhile."""

from __future__ import annotations

import pytest

from opsdoc.looks import sampling
from opsdoc.looks.sampling import BoxSample, Sample, Usage, others, started_at, usage, usage_of
from opsdoc.model import Unknown
from opsdoc.parsers.procfs import Stat, parse_system


def stat(pid, user=0, system=0, started=10, ppid=1, name="java"):
    return Stat(pid, name, "S", ppid, user, system, 0, 1, started)


def sample(at, *stats):
    return Sample(at, {one.pid: one for one in stats})


def test_usage_is_cores_over_the_time_that_passed_hottest_first():
    rates = usage(
        sample(1.0, stat(1), stat(2, 100, 50), stat(3)), sample(3.0, stat(1, 10), stat(2, 300, 50), stat(3, 0, 100))
    )
    assert list(rates) == [2, 3, 1]
    assert rates == {2: Usage(1.0, 0.0), 3: Usage(0.0, 0.5), 1: Usage(0.05, 0.0)}
    assert rates[2].cpu == 1.0


def test_a_process_of_long_ago_that_idles_now_is_idle():
    rates = usage(sample(0.0, stat(1, 10**7), stat(2, 5)), sample(2.0, stat(1, 10**7), stat(2, 6)))
    assert list(rates) == [2, 1]
    assert rates[1].cpu == 0


def test_a_pid_that_was_used_again_is_charged_with_its_own_time_only():
    earlier, later = sample(0.0, stat(7, 5000, started=10)), sample(2.0, stat(7, 100, started=990))
    assert usage_of(7, earlier, later) == Usage(0.5, 0.0)


def test_a_new_process_is_charged_with_all_it_used_and_an_ended_one_is_gone():
    rates = usage(sample(0.0, stat(1)), sample(2.0, stat(2, 40, 20, started=500)))
    assert rates == {2: Usage(0.2, 0.1)}


def test_counters_and_clocks_that_go_backwards_never_make_less_than_nothing():
    assert usage_of(1, sample(0.0, stat(1, 50, 50)), sample(2.0, stat(1, 40, 70))) == Usage(0.0, 0.1)
    for later in (1.0, 0.5):
        rate = usage_of(1, sample(1.0, stat(1, 50)), sample(later, stat(1, 50)))
        assert rate.cpu == 0
        assert usage_of(1, sample(1.0, stat(1, 50)), sample(later, stat(1, 60))).cpu > 0


def test_opsdoc_and_its_children_are_in_no_ranking():
    later = sample(2.0, stat(50), stat(51, 90, ppid=50), stat(7, 10), stat(8, 20, ppid=7))
    assert later.observer == 50
    assert list(others(later, usage(sample(0.0), later))) == [8, 7]


def test_a_start_time_is_told_in_utc():
    assert started_at(stat(1, started=250), 1_700_000_000) == "2023-11-14T22:13:22+00:00"


# ── the machine ──────────────────────────────────────────────────────────────────────────────────


def box_at(at, *rows, forks=0, runnable=1, blocked=0, cpu_pressure=None):
    """Rows of user, nice, system, idle, iowait, irq, softirq, steal: one for each CPU."""
    total = [sum(column) for column in zip(*rows, strict=True)]
    text = "\n".join(
        [
            f"cpu {' '.join(map(str, total))}",
            *(f"cpu{number} {' '.join(map(str, row))}" for number, row in enumerate(rows)),
            f"processes {forks}\nprocs_running {runnable}\nprocs_blocked {blocked}",
        ]
    )
    return BoxSample(at, parse_system(text), cpu_pressure, None, 0)


IDLE = (0, 0, 0, 0, 0, 0, 0, 0)


def test_the_box_is_told_in_shares_of_all_its_cpus():
    later = box_at(2.0, (150, 10, 20, 10, 5, 1, 3, 1), (0, 0, 0, 190, 10, 0, 0, 0), forks=30, runnable=3, blocked=2)
    box = sampling.box(box_at(0.0, IDLE, IDLE), later, accounted=1.6)
    assert (box.cpus, box.runnable, box.blocked, box.forks_per_second) == (2, 3, 2, 15.0)
    assert (box.user, box.system, box.iowait, box.softirq, box.steal) == (0.4, 0.0525, 0.0375, 0.0075, 0.0025)
    assert box.busy == pytest.approx(0.4625)  # waiting for a disk is idle
    assert (box.busiest_cpu_id, box.busiest_cpu, box.busiest_softirq) == (0, 0.925, 0.015)
    assert box.unattributed == 0.0
    assert isinstance(box.pressure, Unknown)


def test_cpu_that_no_live_process_used_is_told_and_stolen_time_is_not_ours():
    later = box_at(2.0, (150, 0, 0, 0, 0, 0, 0, 50), (0, 0, 0, 200, 0, 0, 0, 0))
    assert sampling.box(box_at(0.0, IDLE, IDLE), later, accounted=0.5).unattributed == 0.25
    assert sampling.box(box_at(0.0, IDLE, IDLE), later, accounted=9.0).unattributed == 0.0


def test_counters_that_stand_still_are_unknown_and_not_idle():
    box = sampling.box(box_at(0.0, IDLE), box_at(0.0, IDLE), accounted=0.0)
    for name in (
        "busy",
        "user",
        "system",
        "iowait",
        "softirq",
        "steal",
        "busiest_cpu",
        "busiest_softirq",
        "unattributed",
    ):
        assert isinstance(getattr(box, name), Unknown), name


def test_a_cpu_that_came_meanwhile_is_not_compared_with_nothing():
    later = box_at(2.0, (100, 0, 0, 100, 0, 0, 0, 0), (900, 0, 0, 0, 0, 0, 0, 0))
    assert sampling.box(box_at(0.0, IDLE), later, accounted=1.0).busiest_cpu_id == 0


def test_pressure_is_a_share_or_unknown():
    def pressure(text):
        return sampling.box(box_at(0.0, IDLE), box_at(1.0, (1,) * 8, cpu_pressure=text), 0.0).pressure

    assert pressure("some avg10=25.00 avg60=0.00 avg300=0.00 total=5") == 0.25
    assert isinstance(pressure("x"), Unknown)


def test_the_parent_of_short_lived_processes_joins_the_ranking():
    def stat(pid, children):
        return Stat(pid, f"p{pid}", "S", 2, 0, 0, children, 1, 5)

    earlier = sampling.Sample(0.0, {1: stat(1, 0), 7: stat(7, 500), 8: stat(8, 900)})
    later = sampling.Sample(1.0, {1: stat(1, 0), 7: stat(7, 580), 8: stat(8, 900)})
    assert sampling.reaped(7, earlier, later) == 0.8
    assert sampling.with_busy_parent([8], earlier, later) == [8, 7]
    assert sampling.with_busy_parent([7, 8], earlier, later) == [7, 8]
    assert sampling.with_busy_parent([8], earlier, earlier) == [8]


def test_what_a_child_had_used_before_the_window_is_not_of_the_window():
    parent = stat(7)
    build = stat(8, user=9000, ppid=7)._replace(children=500)  # for 95 s, when the window begins
    earlier = sample(0.0, parent, build)
    later = sample(2.0, parent._replace(children=9000 + 500 + 100))
    assert sampling.reaped(7, earlier, later) == 0.5
    own = stat(50)  # opsdoc, the first of a sample
    earlier = sample(0.0, own, stat(1), parent, build)
    for ended, ranking in ((9600, [1, 7]), (9500, [1])):
        later = sample(2.0, own, stat(1), parent._replace(children=ended))
        assert sampling.with_busy_parent([1], earlier, later) == ranking
