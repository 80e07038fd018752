"""The live door: answers in order and in time, children that end, and what was begun is undone."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest
from servers.programs import state, wait_until

from opsdoc.clients import Live, command
from opsdoc.host import Answer, LiveHost
from opsdoc.model import Denied, Interrupted, Malformed, TimedOut, Unsupported
from opsdoc.redact import MASK, Redactor


def live_for(seconds=10.0):
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor())


def host_for(seconds=10.0):
    return LiveHost(live_for(seconds), "2026-11-03T14:02:11+08:00")


class Asked:
    """A question with a prepared answer, error or function of the live host."""

    def __init__(self, what, name="asked"):
        self.what = what
        self.name = name

    def key(self):
        return self.name

    def answer(self, live):
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what(live) if callable(self.what) else self.what


# ── ask and gather ───────────────────────────────────────────────────────────────────────────────


def test_the_clock_stands_where_the_last_answer_came():
    host = host_for()
    assert host.now() == 0
    answer = host.ask(Asked(7))
    assert answer.value == 7
    assert host.now() == pytest.approx(answer.at + answer.took)
    before = host.now()
    host.sleep(0.01)
    assert host.now() >= before + 0.01


def test_an_error_of_a_target_is_raised_without_secrets():
    host = host_for()
    error = Denied("no entry with --password=hunter2hunter2", "sudo x --token=hunter2hunter2")
    with pytest.raises(Denied) as caught:
        host.ask(Asked(error))
    assert (caught.value.detail, caught.value.hint) == (f"no entry with --password={MASK}", f"sudo x --token={MASK}")
    assert host.redactor.counts == {"sensitive-key": 2}


def test_answers_come_in_the_order_asked_and_not_in_that_of_their_coming():
    first_may_go = threading.Event()
    questions = [
        Asked(lambda _: first_may_go.wait(5) and "first"),
        Asked(Denied("no")),
        Asked(lambda _: first_may_go.set() or "last"),
    ]
    first, error, last = host_for().gather(questions)
    assert (first.value, last.value) == ("first", "last")
    assert isinstance(error, Denied)


def test_a_question_that_was_started_is_answered_while_others_are_asked():
    host, go = host_for(), threading.Event()
    wait = host.start(Asked(lambda _: go.wait(5) and "slow"))
    assert host.ask(Asked("quick")).value == "quick"
    before = host.now()
    go.set()
    assert wait().value == "slow"
    assert host.now() >= before, "the clock never runs backwards"


def test_an_error_of_a_started_question_is_handed_back():
    assert isinstance(host_for().start(Asked(Denied("no")))(), Denied)


def test_one_that_hangs_is_given_up_alone():
    host, never = host_for(), threading.Event()
    began = time.monotonic()
    late, prompt = host.gather([Asked(lambda _: never.wait(20)), Asked("prompt")], within=0.2)
    never.set()
    assert isinstance(late, TimedOut)
    assert prompt.value == "prompt"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_errors_are_handed_back_and_not_raised(count):
    answers = host_for().gather([Asked(Denied("no"))] * count)
    assert [type(answer) for answer in answers] == [Denied] * count


def test_a_question_that_is_stuck_blocks_nobody_beyond_the_deadline():
    over = threading.Event()
    host = host_for(0.2)
    began = time.monotonic()
    quick, stuck = host.gather([Asked("quick"), Asked(lambda _: over.wait(20))])
    assert time.monotonic() - began < 10
    over.set()
    assert isinstance(quick, Answer)
    assert isinstance(stuck, TimedOut)
    with pytest.raises(TimedOut, match="no time was left"):
        host.ask(Asked(1))


def test_a_bug_in_a_gathered_question_is_a_bug_and_not_a_late_answer():
    with pytest.raises(ZeroDivisionError):
        host_for().gather([Asked(1), Asked(ZeroDivisionError())])


def test_sleep_ends_at_the_deadline_and_by_a_stop():
    began = time.monotonic()
    with pytest.raises(TimedOut):
        host_for(0.05).sleep(20)
    host = host_for()
    threading.Thread(target=host.stop, args=(0.4,), daemon=True).start()
    with pytest.raises(Interrupted):
        host.sleep(20)
    assert time.monotonic() - began < 2


# ── what is undone ───────────────────────────────────────────────────────────────────────────────


def test_what_was_begun_is_undone_once_at_the_end_of_the_block():
    undone = []
    live = live_for()
    with live.undone_by(lambda: undone.append(1)):
        assert undone == []
    live.stop()
    live.stop()
    assert undone == [1]


def test_what_was_begun_is_undone_by_a_stop_from_another_thread_and_not_again():
    undone = []
    live = live_for()
    with live.undone_by(lambda: undone.append("outer")), live.undone_by(lambda: undone.append("inner")):
        thread = threading.Thread(target=live.stop)
        thread.start()
        thread.join(5)
        assert undone == ["inner", "outer"]
    assert undone == ["inner", "outer"]


def test_it_is_undone_when_the_block_fails():
    undone = []
    with pytest.raises(Denied), live_for().undone_by(lambda: undone.append(1)):
        raise Denied("no")
    assert undone == [1]


def test_nothing_is_begun_after_a_stop():
    undone = []
    live = live_for()
    live.stop(1.0)
    with pytest.raises(Interrupted), live.undone_by(lambda: undone.append(1)):
        pytest.fail("the block was run")
    assert undone == [1]
    assert 0 < live.remaining() <= 1.0


def test_what_questions_share_is_made_once_and_closed_at_the_end():
    live, made, closed = live_for(), [], []

    def make():
        made.append(len(made))
        return made[-1]

    assert [live.session(key, make, closed.append) for key in ("a", "a", "b", "a")] == [0, 0, 1, 0]
    live.stop()
    live.stop()
    assert closed == [1, 0]
    with pytest.raises(Interrupted):
        live.session("c", make, closed.append)
    assert made == [0, 1]


# ── children ─────────────────────────────────────────────────────────────────────────────────────


def python(code):
    return [sys.executable, "-S", "-c", code]


def ended(pid):
    wait_until(lambda: state(pid) in ("X", "Z"), f"the end of {pid}", timeout=5)
    return True


def test_a_child_is_run_to_its_end():
    output = command.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), live_for(), 10)
    assert output == (3, b"out\n", b"err\n")
    assert command.run(python("print(open(0).read() == '')"), live_for(), 10).stdout == b"True\n"


def test_what_is_missing_or_forbidden_says_so(tmp_path):
    with pytest.raises(Unsupported, match="no-such-program is not installed") as caught:
        command.run(["no-such-program"], live_for(), 1, "apt-get install it")
    assert caught.value.hint == "apt-get install it"
    (tmp_path / "x").write_text("")
    with pytest.raises(Denied):
        command.run([str(tmp_path / "x")], live_for(), 1)


FAMILY = """
import os, sys, time
path = sys.argv[1]
if os.fork() == 0:
    with open(path + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".part", path)
    time.sleep(60)
if {leader_stays}:
    time.sleep(60)
os._exit(0)
"""


@pytest.mark.parametrize("leader_stays", [True, False])
def test_the_whole_group_ends_at_the_deadline(tmp_path, leader_stays):
    path = tmp_path / "pid"
    argv = [*python(FAMILY.format(leader_stays=leader_stays)), str(path)]
    began = time.monotonic()
    with pytest.raises(TimedOut, match="did not end in time"):
        command.run(argv, live_for(), 1.5)
    assert time.monotonic() - began < 10
    assert ended(int(path.read_text()))


def test_a_stop_kills_the_child_and_wakes_the_reader(tmp_path):
    path = tmp_path / "pid"
    live = live_for()

    def stop():
        wait_until(path.exists, "the child's child")
        live.stop(0)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises((TimedOut, Interrupted)):
        command.run([*python(FAMILY.format(leader_stays=True)), str(path)], live, 30)
    assert ended(int(path.read_text()))


def test_output_is_bounded(monkeypatch):
    monkeypatch.setattr(command, "OUTPUT_CAP", 100_000)
    with pytest.raises(Malformed, match="wrote more than"):
        command.run(python("while True: print('x' * 10000)"), live_for(), 20)


def test_a_child_that_closes_its_output_and_stays_is_late():
    with pytest.raises(TimedOut, match="did not end"):
        command.run(python("import os, time; os.close(1); os.close(2); time.sleep(60)"), live_for(), 1.0)


def test_no_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    command.run(python("pass"), live_for(), 10)
    with pytest.raises(TimedOut):
        command.run(python("import time; time.sleep(60)"), live_for(0.3), 10)
    assert len(os.listdir("/proc/self/fd")) == before
