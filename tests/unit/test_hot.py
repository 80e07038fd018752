"""What burns the CPU is named as exactly as it was seen: code, role, thread or process."""

from __future__ import annotations

import pytest

from opsdoc.model import Frame, Severity, Share, Unknown
from opsdoc.signals.hot import Limits, codes, judge
from opsdoc.signals.processes import Process, Thread

HOT = Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 13)
OTHER = Frame("com.acme.Page.render", "Page.java", 7)
COMMAND = "java -cp /srv/shop com.acme.Shop --port 8080"


def process(cpu=1.0, pid=100, **changes):
    values = {"id": f"p{pid}", "subject": f"{pid} java", "name": "java", "command": COMMAND, "runtime": "jvm"}
    return Process(pid=pid, cpu=cpu, **{**values, **changes})


def thread(tid=107, cpu=0.95, frames=(HOT,), role="app", pid=100, **changes):
    name = changes.pop("name", f"worker-{tid}")
    values = {"id": f"t{tid}", "subject": f"{tid} {tid:#x} {name}", "tid_hex": f"{tid:#x}", "agreement": Share(9, 10)}
    return Thread(tid=tid, pid=pid, cpu=cpu, name=name, frames=frames, role=role, **{**values, **changes})


def found(*observations, limits=None):
    return list(judge(observations, [], limits or Limits()))


def judged(processes, threads, limits=None):
    """As the probe does it: the threads' codes are observations too."""
    return found(*processes, *threads, *codes(threads, processes), limits=limits)


def bad(findings):
    return [(f.rule, f.severity.word) for f in findings if f.severity is not Severity.OK]


def test_one_hot_thread_names_pid_tid_hex_function_line_and_agreement():
    findings = judged([process()], [thread(name="order-worker-3"), thread(tid=108, cpu=0.01, frames=(OTHER,))])
    assert bad(findings) == [("cpu.app-code", "critical")]
    finding = findings[0]
    assert finding.subject == "com.acme.Shop (pid 100) · thread 107 0x6b order-worker-3"
    assert "com.acme.OrderPricer.recalculate (OrderPricer.java:13)" in finding.summary
    assert finding.confidence == "9 of 10 samples"
    assert (finding.threshold.name, finding.threshold.value) == ("hot.thread_cpu", 0.95)
    assert finding.evidence == ("p100", "t107")
    assert finding.by_hand[0] == "top -Hp 100"
    assert "nid=(0x6b|107)" in finding.by_hand[1]
    assert finding.key == "cpu.app-code:com.acme.Shop/com.acme.OrderPricer.recalculate"


def test_many_lukewarm_threads_in_one_function_are_one_culprit():
    threads = [thread(tid=100 + n, cpu=0.02, frames=(HOT._replace(line=n),), agreement=Share(4, 5)) for n in range(60)]
    (code,) = codes(threads, [process()])
    assert (code.cpu, code.threads, code.agreement) == (1.2, 60, Share(240, 300))
    findings = judged([process(1.2)], threads)
    assert bad(findings) == [("cpu.app-code", "critical")]
    assert "by 60 threads" in findings[0].summary
    assert findings[0].threshold.name == "hot.code_cpu"
    assert len(findings[0].evidence) == 5  # the process, the code, and three of its threads


def test_threads_of_two_processes_or_two_functions_are_not_added_up():
    apart = [thread(cpu=0.3), thread(tid=207, cpu=0.3, pid=200), thread(tid=108, cpu=0.3, frames=(OTHER,))]
    assert [code.threads for code in codes(apart, [])] == [1, 1, 1]


def test_threads_without_a_stack_are_not_added_up_by_their_ignorance():
    blind = [thread(tid=n, cpu=0.3, frames=Unknown("denied"), role=Unknown("denied")) for n in (1, 2, 3)]
    assert len(codes(blind, [])) == 3
    empty = [thread(tid=n, cpu=0.3, frames=()) for n in (1, 2)]
    assert len(codes(empty, [])) == 2


@pytest.mark.parametrize(
    ("role", "cpu", "expected"),
    [
        ("gc", 0.95, []),  # judged beside the heap
        ("jit", 0.95, []),
        ("vm", 0.6, [("cpu.vm", "warning")]),
        ("native", 0.95, [("cpu.native", "critical")]),
        ("kernel", 0.95, [("cpu.kernel-thread", "critical")]),
    ],
)
def test_a_role_is_judged_as_a_whole(role, cpu, expected):
    threads = [thread(tid=n, cpu=cpu / 4, frames=(), role=role, agreement=None) for n in range(1, 5)]
    if role == "kernel":  # each kernel thread serves something else
        threads = [thread(tid=1, cpu=cpu, frames=(), role=role, agreement=None)]
    assert bad(judged([process(cpu)], threads)) == expected


def test_native_threads_in_one_function_are_one_culprit_and_its_library_is_named():
    kernel = Frame("dgemm_kernel", "libopenblas.so", None, "library")
    threads = [thread(tid=n, cpu=0.6, frames=(kernel,), role="native", agreement=Share(58, 60)) for n in (1, 2)]
    (finding,) = judged([process(1.2)], threads)
    assert (finding.rule, finding.severity, finding.confidence) == (
        "cpu.native",
        Severity.CRITICAL,
        "116 of 120 samples",
    )
    assert "in native code, dgemm_kernel (libopenblas.so), by 2 threads" in finding.summary
    assert "libopenblas.so" in finding.next_step
    own = judged([process()], [thread(frames=(Frame("spin_here", "spin", None, "app"),), role="native")])
    assert own[0].next_step.startswith("read spin_here for a loop")


@pytest.mark.parametrize(("name", "meaning"), [("ksoftirqd/1", "packets"), ("kswapd0", "memory"), ("else", "serves")])
def test_a_kernel_thread_is_told_by_its_name(name, meaning):
    (finding,) = judged([process(runtime="kernel")], [thread(name=name, frames=(), role="kernel", agreement=None)])
    assert meaning in finding.next_step


def test_what_could_not_be_seen_is_told_and_not_guessed():
    blind = thread(frames=Unknown("not permitted"), role=Unknown("not permitted"), agreement=None)
    findings = judged([process(command=Unknown("not permitted"))], [blind])
    assert bad(findings) == [("cpu.hot-thread", "critical")]
    assert "in code that could not be seen" in findings[0].summary
    doubtful = thread(frames=Unknown("two threads claim this id"), agreement=None)
    assert "two threads claim this id" in judged([process()], [doubtful])[0].summary


def test_a_process_is_named_when_its_threads_explain_too_little():
    threads = [thread(tid=n, cpu=0.1, frames=(Frame(f"f{n}", "a.py", n),)) for n in range(9)]
    findings = judged([process(0.95)], threads)
    assert bad(findings) == [("cpu.hot-process", "critical")]
    assert "spread over 9 places" in findings[0].summary


def test_a_process_does_not_take_the_headline_from_the_thread_that_explains_it():
    assert bad(judged([process(0.91)], [thread(cpu=0.89)])) == [("cpu.app-code", "warning")]


def test_threads_alone_are_judged_without_their_stacks():
    findings = found(process(), thread(frames=None, role=None, agreement=None))
    assert bad(findings) == [("cpu.hot-thread", "critical")]
    assert findings[0].next_step == "see what it runs: opsdoc stack 100 --tid 107"


def test_processes_alone_are_judged_hottest_first():
    findings = found(process(), process(0.6, pid=200), process(0.1, pid=300))
    assert bad(findings) == [("cpu.hot-process", "critical"), ("cpu.hot-process", "warning")]


def test_unknown_cpu_is_no_finding_and_nothing_is_ruled_out_by_it():
    findings = found(process(Unknown("it ended within the window")), thread(cpu=Unknown("one sample")))
    assert findings == []


def test_what_was_looked_at_and_is_not_the_cause_is_told():
    idle = judged([process(0.02)], [thread(cpu=0.02)])
    assert {f.rule for f in idle} == {"cpu.hot-process"}
    assert {f.severity for f in idle} == {Severity.OK}
    native = judged([process(0.02, runtime="native")], [])
    assert [f.summary for f in native] == ["hottest process 100 java at 0.02 cores"]


def test_limits_of_the_user_decide():
    limits = Limits()._replace(thread_cpu=Limits().thread_cpu._replace(warn=0.97, crit=0.99))
    assert bad(judged([process(0.95)], [thread(cpu=0.95)], limits=limits)) == [("cpu.hot-process", "critical")]
    calm = limits._replace(process_cpu=limits.thread_cpu)
    assert bad(judged([process(0.95)], [thread(cpu=0.95)], limits=calm)) == []
