"""CPU and stacks matched by thread id: exactly, by integers, and with honest counting."""

from __future__ import annotations

import json

import pytest

from opsdoc.looks import matching
from opsdoc.looks.java_stacks import HotspotStacks
from opsdoc.looks.python_stacks import PythonStacks
from opsdoc.looks.sampling import Sample, Usage, usage
from opsdoc.looks.stacks import Seen
from opsdoc.looks.watched import Dump, Watched
from opsdoc.model import Frame, Malformed, Share, Unknown, Unseen
from opsdoc.parsers.procfs import Stat

HOT = Frame("recalculate", "/srv/shop/pricer.py", 25)
OTHER = Frame("render", "/srv/shop/page.py", 7)
LIBRARY = Frame("wait", "/usr/lib/python3.11/threading.py", 320, "runtime")


def plain(text):
    return text


def stat(tid, user=0, name="python3", state="R"):
    return Stat(tid, name, state, 1, user, 0, 0, 1, 10)


class Prepared:
    """Dumps that were read before; an error stands for one that cannot be."""

    source = "prepared"

    def __init__(self):
        self.asked = []

    def read(self, dump, only, complement=None):
        self.asked.append(only)
        if isinstance(dump, Exception):
            raise dump
        return {tid: seen for tid, seen in dump.items() if only is None or tid in only}


def seen(*frames, name="worker", state=None, role="app", doubt=None):
    return Seen(name, state, role, frames, doubt)


def watched(dumps=(), hot=(7,), stacks=True, **changes):
    """A process with threads 7 and 8, of which `hot` used CPU, sampled at 0, 1 and 2 s, a dump every half second."""
    one = Watched(stat(7), details={"runtime": "python 3.11"})
    one.stacks = Prepared() if stacks else None
    one.samples = [Sample(at, {t: stat(t, int(at * 50) * (t in hot)) for t in (7, 8)}) for at in (0.0, 1.0, 2.0)]
    one.rates = usage(one.samples[0], one.samples[-1])
    one.dumps = [Dump(dump, 0.1 + number * 0.5, 0.01) for number, dump in enumerate(dumps)]
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def threads_of(one):
    return list(matching.threads(one, plain))


# ── one thread ───────────────────────────────────────────────────────────────────────────────────


def test_a_thread_has_its_cpu_from_the_kernel_and_its_stack_from_the_dump_of_the_same_id():
    one = watched([{7: seen(LIBRARY, HOT, name="order-worker-3"), 8: seen(OTHER)}])
    (thread,) = threads_of(one)
    assert (thread.tid, thread.tid_hex, thread.name, thread.subject) == (
        7,
        "0x7",
        "order-worker-3",
        "7 0x7 order-worker-3",
    )
    assert (thread.cpu, thread.role, thread.source) == (0.5, "app", "prepared")
    assert thread.frames == (LIBRARY, HOT)
    assert thread.agreement == Share(1, 1)


def test_agreement_counts_the_dumps_that_saw_the_same_code_whatever_the_line():
    dumps = [{7: seen(frame)} for frame in (HOT, HOT._replace(line=26), OTHER, HOT._replace(line=27))]
    (thread,) = threads_of(watched([*dumps, {8: seen(OTHER)}]))
    assert thread.agreement == Share(3, 5)  # the one that did not see it does not agree
    assert thread.frames == (HOT._replace(line=27),)  # the last that saw it


def test_the_same_function_of_another_file_is_other_code():
    dumps = [{7: seen(HOT)}, {7: seen(HOT._replace(file="/srv/shop/other.py"))}]
    (thread,) = threads_of(watched(dumps))
    assert thread.agreement == Share(1, 2)


def test_dumps_in_which_a_thread_was_running_count_more_than_those_in_which_it_waited():
    dumps = [{7: seen(OTHER, state="WAITING")}, {7: seen(OTHER, state="WAITING")}, {7: seen(HOT, state="RUNNABLE")}]
    (thread,) = threads_of(watched(dumps))
    assert (thread.frames, thread.state, thread.agreement) == ((HOT,), "RUNNABLE", Share(1, 3))


def test_a_stack_without_any_code_of_the_user_has_no_agreement_to_boast_of():
    (thread,) = threads_of(watched([{7: seen(LIBRARY)}]))
    assert (thread.frames, thread.agreement) == ((LIBRARY,), None)


def test_a_doubtful_stack_is_no_stack():
    (thread,) = threads_of(watched([{7: seen(doubt="two threads claim this id")}]))
    assert thread.frames == Unknown("two threads claim this id")


def test_the_history_carries_the_code_of_each_moment():
    dumps = [{7: seen(HOT)}, {7: seen(HOT)}, {7: seen(OTHER)}]  # at 0.1, 0.6 and 1.1 s
    (thread,) = threads_of(watched(dumps))
    assert [(point.at, point.value, point.label) for point in thread.samples] == [
        (1.0, 0.5, "recalculate"),
        (2.0, 0.5, "render"),
    ]


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_container_the_dump_knows_the_inner_id_and_both_are_told():
    one = watched([{2: seen(HOT, name="order-worker-3"), 7: seen(OTHER, name="innocent")}])
    one.in_container, one.ids_there = True, {7: 2}
    (thread,) = threads_of(one)
    assert (thread.tid, thread.ns_tid, thread.tid_hex, thread.name) == (7, 2, "0x2", "order-worker-3")
    assert thread.frames == (HOT,)


def test_an_inner_id_that_could_not_be_read_is_unknown():
    one = watched([{7: seen(HOT)}], in_container=True)
    assert isinstance(threads_of(one)[0].ns_tid, Unknown)


DUMP = """2026-11-03 14:02:11
Full thread dump OpenJDK 64-Bit Server VM (17.0.9+9 mixed mode):

"nid=0x7" #21 prio=5 os_prio=0 cpu=1.00ms elapsed=1.00s tid=0x00007f0000000000 nid=0x8 waiting on condition
   java.lang.Thread.State: WAITING (parking)
\tat com.acme.Parked.waitForWork(Parked.java:9)

"order-worker-3" #22 prio=5 os_prio=0 cpu=9.00ms elapsed=1.00s tid=0x00007f0000000001 nid=0x7 runnable
   java.lang.Thread.State: RUNNABLE
\tat com.acme.OrderPricer.recalculate(OrderPricer.java:13)

JNI global refs: 4, weak refs: 0
"""


def test_a_thread_named_after_an_id_fools_nobody():
    one = watched([DUMP.encode()])
    one.stacks = HotspotStacks(7, 10)
    (thread,) = threads_of(one)
    assert (thread.name, thread.frames[0].function) == ("order-worker-3", "com.acme.OrderPricer.recalculate")


def test_a_dump_that_was_cut_short_is_a_blind_spot_and_what_it_has_counts():
    one = watched([DUMP[: DUMP.index("JNI")].encode()], hot=(7, 8))
    one.stacks = HotspotStacks(7, 10)
    unseen, *threads = threads_of(one)
    assert (unseen.reason, "cut short" in unseen.detail) == ("malformed", True)
    assert [thread.role for thread in threads] == ["app", "app"]


# ── what is missing ──────────────────────────────────────────────────────────────────────────────


def test_a_dump_that_is_none_is_a_blind_spot_and_the_others_count():
    unseen, thread = threads_of(watched([{7: seen(HOT)}, Malformed("not a dump: b'x'"), {7: seen(HOT)}]))
    assert isinstance(unseen, Unseen)
    assert (unseen.reason, unseen.detail) == ("malformed", "not a dump: b'x'")
    assert thread.frames == (HOT,)


def test_when_no_dump_can_be_read_the_stack_is_unknown_for_that_reason():
    _, thread = threads_of(watched([Malformed("not a dump")]))
    assert thread.frames == thread.role == Unknown("not a dump")
    assert thread.cpu == 0.5


def test_a_thread_that_the_runtime_does_not_know_is_native():
    (thread,) = threads_of(watched([{8: seen(OTHER)}]))
    assert thread.role == "native"
    assert "does not list this thread" in thread.frames.reason


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"details": {"runtime": "native"}}, "native"),
        ({"stat": stat(7)._replace(ppid=2)}, "kernel"),
        (
            {"details": {}, "unseen": [Unseen(subject="x", reason="denied", detail="not permitted")]},
            Unknown("not permitted"),
        ),
    ],
)
def test_without_stacks_it_is_said_why(changes, role):
    (thread,) = threads_of(watched(stacks=False, **changes))
    assert thread.role == role
    assert isinstance(thread.frames, Unknown)
    assert (thread.agreement, thread.source) == (None, None)


def test_idle_threads_are_left_out_and_hostile_names_are_masked():
    one = watched([{7: seen(HOT, name="--password=hunter2"), 8: seen(HOT)}])
    (thread,) = list(matching.threads(one, lambda text: text.replace("hunter2", "********")))
    assert (thread.tid, thread.name) == (7, "--password=********")


# ── processes and cuts ───────────────────────────────────────────────────────────────────────────


def test_a_process_that_was_not_looked_into_says_so_and_one_that_ended_too():
    process = matching.process(stat(7, name="java"), Usage(0.2, 0.1), None, 0, plain)
    assert (process.cpu, process.cpu_user, process.name) == (0.3, 0.2, "java")
    assert isinstance(process.command, Unknown)
    assert process.subject == "7 java"
    ended = matching.process(stat(7), None, None, 0, plain)
    assert ended.cpu == Unknown("it ended within the window")


def test_a_process_is_told_with_its_arguments_or_in_brackets_without():
    one = watched(details={"argv": ["java", "-jar", "two words.jar"], "unknown": {}, "user": "shop", "runtime": "jvm"})
    assert matching.process(one.stat, Usage(0, 0), one, 0, plain).command == "java -jar two words.jar"
    one.details = {"argv": [], "unknown": {}}
    assert matching.process(stat(7, name="kworker/0:1"), Usage(0, 0), one, 0, plain).command == "[kworker/0:1]"
    one.details = {"argv": None, "unknown": {"cmdline": "not permitted"}}
    assert matching.process(one.stat, Usage(0, 0), one, 0, plain).command == Unknown("not permitted")


def test_a_stack_is_cut_to_its_innermost_frames():
    (thread,) = threads_of(watched([{7: seen(LIBRARY, HOT, OTHER)}]))
    assert matching.cut(thread, 2).frames == (LIBRARY, HOT)
    assert matching.cut(thread, 0) is thread
    (native,) = threads_of(watched(stacks=False, details={"runtime": "native"}))
    assert matching.cut(native, 2) is native


def test_python_threads_are_matched_by_the_id_of_the_kernel():
    frame = {"name": "recalculate", "filename": "/srv/shop/pricer.py", "line": 25}
    dump = [
        {
            "pid": 7,
            "thread_id": 139,
            "thread_name": "7",
            "os_thread_id": 8,
            "active": True,
            "owns_gil": False,
            "frames": [],
        },
        {
            "pid": 7,
            "thread_id": 140,
            "thread_name": "w",
            "os_thread_id": 7,
            "active": True,
            "owns_gil": True,
            "frames": [frame],
        },
    ]
    one = watched([json.dumps(dump).encode()])
    one.stacks = PythonStacks(7, 10)
    (thread,) = threads_of(one)
    assert (thread.name, thread.frames[0].function, thread.frames[0].line) == ("w", "recalculate", 25)
