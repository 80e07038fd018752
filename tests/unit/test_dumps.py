"""When a dump is worth its pause."""

from __future__ import annotations

import pytest

from opsdoc.looks import dumps
from opsdoc.looks.sampling import Sample
from opsdoc.looks.stacks import Seen, Stacks
from opsdoc.looks.watched import Dump, Watched
from opsdoc.model import Frame, Malformed
from opsdoc.parsers.procfs import Stat

BUDGET = 0.25
FRAME = Frame("recalculate", "pricer.py", 25)


class Pausing(Stacks):
    """Stacks that stop their process, read before."""

    source = "prepared"
    pauses = True

    def question(self):
        raise NotImplementedError

    def costly(self, names):
        return "Serial" in names

    def read(self, dump, only, complement=None):
        if isinstance(dump, tuple):
            raise Malformed("no dump")
        return {tid: seen for tid, seen in dump.items() if only is None or tid in only}


class Free(Pausing):
    """Stacks that stop nobody."""

    pauses = False


def stat(tid, used=0, name="java"):
    return Stat(tid, name, "R", 1, used, 0, 0, 1, 10)


def watched(*taken, used=None, name="java", kind=Pausing, took=0.01):
    """A process with the dumps `taken`; `used` are clock ticks in a second by thread id."""
    used = {7: 95} if used is None else used
    one = Watched(stat(7, name=name), every=2)
    one.stacks = kind(7, 10)
    one.samples = [
        Sample(0.0, {tid: stat(tid, 0, name) for tid in used}),
        Sample(1.0, {tid: stat(tid, ticks, name) for tid, ticks in used.items()}),
    ]
    one.dumps = [Dump(dump, 0.1, took) for dump in taken]
    return one


def seen(*frames, role="app"):
    return Seen("worker", "RUNNABLE", role, frames)


AT_WORK = {7: seen(FRAME)}
AT_REST = {7: seen()}
NO_DUMP = ()


def test_the_first_is_always_taken_even_where_a_second_must_not_be():
    assert dumps.wanted(watched(name="Serial"), 0, 0.0, 0)


def test_one_tells_enough_when_it_saw_the_hot_thread_at_work():
    assert not dumps.wanted(watched(AT_WORK), 2, BUDGET, 0)


def test_another_is_taken_while_the_threads_that_use_the_cpu_were_seen_at_rest():
    assert dumps.wanted(watched(AT_REST), 2, BUDGET, 0)


@pytest.mark.parametrize(("at_work", "another"), [(6, True), (7, False)])
def test_seven_tenths_of_the_cpu_are_enough(at_work, another):
    used = dict.fromkeys(range(10), 10)
    dump = {tid: seen(FRAME) if tid < at_work else seen() for tid in used}
    assert dumps.wanted(watched(dump, used=used), 2, BUDGET, 0) is another


def test_a_thread_of_the_runtime_or_one_that_it_does_not_know_needs_no_stack():
    assert not dumps.wanted(watched({7: seen(role="gc")}), 2, BUDGET, 0)
    assert not dumps.wanted(watched({}), 2, BUDGET, 0)


def test_a_dump_that_cannot_be_read_tells_nothing():
    assert dumps.wanted(watched(NO_DUMP), 2, BUDGET, 0)


def test_where_one_may_stop_the_process_for_long_there_is_no_second():
    assert not dumps.wanted(watched(AT_REST, name="Serial"), 2, BUDGET, 0)


def test_the_pauses_stay_within_the_budget():
    assert dumps.wanted(watched(AT_REST, took=0.12), 2, BUDGET, 0)
    assert not dumps.wanted(watched(AT_REST, took=0.13), 2, BUDGET, 0)
    assert not dumps.wanted(watched(AT_WORK, took=0.13), 2, BUDGET, 5), "not even when more were asked for"


def test_as_many_are_taken_as_were_asked_for():
    assert dumps.wanted(watched(AT_WORK), 2, BUDGET, 2)
    assert not dumps.wanted(watched(AT_REST, AT_REST), 4, BUDGET, 2)


def test_what_stops_nobody_is_taken_in_every_due_round_unless_it_is_slow():
    assert dumps.wanted(watched(AT_WORK, AT_WORK, kind=Free), 4, 0.0, 0)
    assert not dumps.wanted(watched(AT_WORK, kind=Free), 3, BUDGET, 0)
    assert not dumps.wanted(watched(AT_WORK, kind=Free, took=0.4), 4, BUDGET, 0)
