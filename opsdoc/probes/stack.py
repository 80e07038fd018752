"""`jstack PID` or `py-spy dump`, live or from a saved dump, and the one thread of it that matters."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Annotated

from opsdoc.clients.files import SavedFile
from opsdoc.clients.proc import gone
from opsdoc.host import Host
from opsdoc.looks import dark, matching, sampling, saved, touches, watched
from opsdoc.looks.stacks import Partial, Seen
from opsdoc.looks.watched import Watched
from opsdoc.model import Denied, Observation, ProbeError, Total, Unreachable, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, Rows, ThreadId, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import stack as stack_signal
from opsdoc.signals.processes import Thread

MOST_THREADS = 64  # of a program without a runtime: those that have used the most CPU


@probe(judges=(stack_signal,), observes=(Thread,), example="opsdoc stack 2609 --tid 0xb26", touches=touches.OF_STACKS)
def stack(
    host: Host,
    *,
    pid: Annotated[int | None, Opt("the process", metavar="PID", positional=True)] = None,
    tid: Annotated[
        ThreadId | None, Opt("this thread only: decimal or hex, its id here or in its container", metavar="TID")
    ] = None,
    context: Annotated[int, Opt("how many frames of each stack, the innermost first (0 = all)", metavar="N")] = 0,
    dump: Annotated[Path | None, Opt("read a saved jstack or py-spy dump instead", metavar="FILE")] = None,
    window: WindowLength = Duration(0),
    rows: Rows = 0,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Show what the threads of a process are doing, as `jstack` and `py-spy dump` do."""
    if (pid is None) == (dump is None):
        raise UsageError("name a process or a saved dump: opsdoc stack PID, or opsdoc stack --dump FILE")
    if pid is not None:
        found = list(_live(host, pid, window))
    else:
        found = list(saved.threads(host.ask(SavedFile(dump or Path())).value, host.redactor.text))
    threads = [item for item in found if isinstance(item, Thread)]
    yield from (item for item in found if not isinstance(item, Thread))
    if tid is not None:
        threads = [thread for thread in threads if tid in (thread.tid, thread.ns_tid)]
        if not threads:
            raise Unreachable(f"no thread {tid} ({tid:#x}) in {'the dump' if pid is None else f'process {pid}'}")
    yield Total(kind="thread", number=len(threads))
    for thread in threads[: rows or None]:
        yield matching.cut(thread, context)


def _live(host: Host, pid: int, window: float) -> Iterator[Thread | Unseen | Window]:
    """The threads of a process as it lives; with a window also their CPU, hottest first."""
    main = sampling.threads(host, pid, (pid,)).stats  # its start time is that of the process
    if pid not in main:
        raise gone(pid)
    (one,) = watched.look_into(host, [main[pid]])
    yield from one.unseen
    if one.runtime is None and not one.unseen:
        raise gone(pid)
    if one.runtime is not None and one.stacks is None:
        yield from _by_kernel(host, one, window)
        return
    if not window and not one.in_container:  # the dump tells all
        for tid, seen in _dumped(host, one).items():
            yield matching.from_dump(tid, seen, pid, _source(one), host.redactor.text)
        yield from one.unseen
        return
    first = last = sampling.threads(host, pid)
    if window:
        yield from sampling.let_pass(host, window)
        last = sampling.threads(host, pid)
        one.rates = sampling.usage(first, last)
        yield Window(seconds=round(last.at - first.at, 3))
    watched.find_ids_there(host, one, list(last.stats))
    dumped = _dumped(host, one)
    yield from one.unseen
    for tid in one.rates or last.stats:
        there = one.ids_there.get(tid, tid)
        if there in dumped:
            bare = matching.thread(one, last.stats[tid], host.redactor.text)
            yield matching.seen_as(bare, dumped[there], _source(one), host.redactor.text)


def _by_kernel(host: Host, one: Watched, window: float) -> Iterator[Thread | Unseen | Window]:
    """The threads of a program without a runtime that tells stacks: what perf samples in the window, or the kernel."""
    first = last = sampling.threads(host, one.pid)
    tids = sorted(last.stats, key=lambda tid: -last.stats[tid].used)[:MOST_THREADS]
    if window:
        finish = dark.sample(host, [(one, tid) for tid in tids], window)
        yield from sampling.let_pass(host, window)
        last = sampling.threads(host, one.pid)
        one.rates = sampling.usage(first, last)
        finish()
        yield Window(seconds=round(last.at - first.at, 3))
    one.views = dark.kernel_views(host, one, [tid for tid in tids if tid not in one.perf])
    watched.find_ids_there(host, one, list(last.stats))
    yield from one.unseen
    yield from matching.without_dump(one, [tid for tid in tids if tid in last.stats], last, host.redactor.text)


def _source(one: Watched) -> str:
    return "" if one.stacks is None else one.stacks.source


def _dumped(host: Host, one: Watched) -> dict[int, Seen]:
    """One dump of the process; raises what stands in the way of it, and notes what it lacks."""
    if one.stacks is None:
        blind = one.unseen[-1]
        raise Denied(blind.detail, blind.hint)
    if (question := one.stacks.prepare()) is not None:
        host.ask(question)
    one.unseen.clear()
    dump = host.ask(one.stacks.question()).value
    complement = None
    if (asked := one.stacks.complement([dump], _Every())) is not None:
        try:
            complement = host.ask(asked).value
        except ProbeError as error:
            one.unseen.append(error.unseen(f"{one.subject}: stacks"))
    seen = one.stacks.read(dump, None, complement)
    if isinstance(seen, Partial):
        one.unseen.append(Unseen(subject=f"{one.subject}: stacks", reason="malformed", detail=seen.reason))
    return seen


class _Every(Container[int]):
    """All thread ids."""

    def __contains__(self, _tid: object) -> bool:
        return True
