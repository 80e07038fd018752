"""`jstack PID` or `py-spy dump`, live or from a saved dump, and the one thread of it that matters."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Annotated

from opsdoc.clients.files import SavedFile
from opsdoc.clients.proc import gone
from opsdoc.host import Host
from opsdoc.looks import matching, sampling, saved, watch
from opsdoc.looks.stacks import Seen
from opsdoc.looks.watch import Watched
from opsdoc.model import Denied, Observation, Total, Unreachable, Unseen, Unsupported, UsageError, Window
from opsdoc.options import Duration, Opt, Rows, ThreadId, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import stack as stack_signal
from opsdoc.signals.processes import Thread


@probe(judges=(stack_signal,), example="opsdoc stack 2609 --tid 0xb26")
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
    yield Total(kind="thread", count=len(threads))
    for thread in threads[: rows or None]:
        yield matching.cut(thread, context)


def _live(host: Host, pid: int, window: float) -> Iterator[Thread | Unseen | Window]:
    """The threads of a process as it lives; with a window also their CPU, hottest first."""
    main = sampling.threads(host, pid, (pid,)).stats  # its start time is that of the process
    if pid not in main:
        raise gone(pid)
    (one,) = watch.look_into(host, [main[pid]])
    yield from one.unseen
    if not window and not one.in_container:  # the dump tells all
        for tid, seen in _dumped(host, one).items():
            yield matching.from_dump(tid, seen, pid, _source(one), host.redactor.text)
        return
    first = last = sampling.threads(host, pid)
    if window:
        yield from sampling.let_pass(host, window)
        last = sampling.threads(host, pid)
        one.rates = sampling.usage(first, last)
        yield Window(seconds=round(last.at - first.at, 3))
    watch.find_ids_there(host, one, list(last.stats))
    dumped = _dumped(host, one)
    for tid in one.rates or last.stats:
        there = one.ids_there.get(tid, tid)
        if there in dumped:
            bare = matching.thread(one, last.stats[tid], host.redactor.text)
            yield matching.seen_as(bare, dumped[there], _source(one), host.redactor.text)


def _source(one: Watched) -> str:
    return "" if one.stacks is None else one.stacks.source


def _dumped(host: Host, one: Watched) -> dict[int, Seen]:
    """One dump of the process; raises what stands in the way of it."""
    if one.stacks is None:
        if one.unseen:
            blind = one.unseen[-1]
            raise Denied(blind.detail, blind.hint)
        raise Unsupported(f"opsdoc takes no stacks of a {one.runtime} program")
    if (question := one.stacks.prepare()) is not None:
        host.ask(question)
    dump = host.ask(one.stacks.question()).value
    asked = one.stacks.complement([dump], _Every())
    return one.stacks.read(dump, None, None if asked is None else host.ask(asked).value)


class _Every(Container[int]):
    """All thread ids."""

    def __contains__(self, _tid: object) -> bool:
        return True
