"""What the threads of a process are doing at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Observation, Severity, Unknown, Unseen, known
from opsdoc.signals.origin import first_app
from opsdoc.signals.processes import Thread


class Limits(NamedTuple):
    """A stack alone is neither good nor bad: there is nothing to limit."""


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Say what was seen, or that nothing was."""
    threads = [o for o in observations if isinstance(o, Thread)]
    if len(threads) == 1:
        yield _one(threads[0])
    elif threads:
        states = Counter(state for thread in threads if (state := known(thread.state)))
        own = sum(thread.role in ("gc", "jit", "vm") for thread in threads)
        words = [f"{count} {state}" for state, count in states.most_common()]
        words += [f"{own} of the JVM itself"] if own else []
        told = f"{len(threads)} threads" + (": " + ", ".join(words) if words else "")
        yield _finding(Severity.OK, f"{len(threads)} threads", told, ())


def _one(thread: Thread) -> Finding:
    if isinstance(thread.frames, Unknown):
        unknown = _finding(
            Severity.UNKNOWN, thread.subject, f"thread {thread.subject}: {thread.frames.reason}", (thread.id,)
        )
        if thread.role in ("native", "kernel"):
            step = f"sample it with perf: opsdoc stack {thread.pid} --tid {thread.tid} --window 1s"
            return unknown._replace(next_step=step)
        return unknown
    frame = first_app(thread.frames or ())
    state = known(thread.state)
    kernel = known(thread.kernel)
    words = f" is {state}" if state else " is"
    where = f" in {frame}" if frame else f": by the kernel it {kernel}" if kernel else ", with an empty stack"
    if frame is None and kernel is None and thread.frames:
        where = f" in {thread.frames[0]}"
    return _finding(Severity.OK, thread.subject, f"thread {thread.subject}{words}{where}", (thread.id,))


def _finding(severity: Severity, subject: str, summary: str, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        rule="stack.seen",
        key=f"stack.seen:{subject}",
        severity=severity,
        subject=subject,
        summary=summary,
        evidence=evidence,
        next_step="" if severity is Severity.OK else "take the stack again",
    )
