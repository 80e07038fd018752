"""Stacks of a Python process: py-spy, without stopping it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opsdoc.clients import Question
from opsdoc.clients.pthreads import PthreadIds
from opsdoc.clients.pyspy import PythonDump
from opsdoc.looks.stacks import Partial, Seen, Stacks
from opsdoc.model import Malformed, Unsupported
from opsdoc.parsers import pyspy
from opsdoc.parsers.pyspy import PythonThread
from opsdoc.signals.origin import classify

_NO_ID = re.compile(rb'"os_thread_id":\s*null\b')  # a name cannot hold it: its quotes are escaped
_REUSED = "the stacks of some threads cannot be told apart: py-spy gives no thread ids for this Python"

_parsed = lru_cache(maxsize=32)(pyspy.parse_json)  # a dump of 1000 threads takes 70 ms, and is read two or three times


class PythonStacks(Stacks):
    """Through py-spy, without stopping the process.

    Of Python 3.10 and older py-spy tells only pthread handles that way; the ids behind them are the complement.
    """

    source = "py-spy dump --nonblocking"

    def question(self) -> Question[bytes]:
        return PythonDump(self.pid)

    def complement(self, dumps: Sequence[bytes], tids: Container[int]) -> Question[Any] | None:  # noqa: ARG002
        if not any(_NO_ID.search(dump) for dump in dumps):
            return None
        names: dict[int, set[str | None]] = {}
        for thread in _all_threads(dumps):
            if thread.tid is None and thread.thread_id is not None:
                names.setdefault(thread.thread_id, set()).add(thread.name)
        # A handle is used again when its thread has ended: which of the two had it at which time is not known. Names
        # show it. Sometimes py-spy misses one, which shows nothing.
        steady = tuple([handle for handle, called in names.items() if len(called - {None}) < 2])
        return PthreadIds(self.pid, self.started, steady) if steady else None

    def read(self, dump: bytes, only: Container[int] | None, complement: Any = None) -> dict[int, Seen]:
        threads = _parsed(dump)
        ids = {handle: tid for handle, tid in complement or ()}  # noqa: C416 - pairs are lists after a replay
        seen = python_threads(with_ids(threads, ids))
        if not seen and any(thread.tid is None for thread in threads):
            raise Unsupported("py-spy gives no thread ids for this Python without stopping it (3.10 and older)")
        if complement is not None and any(t.tid is None and t.thread_id not in ids for t in threads):
            seen = Partial(seen).because(_REUSED)
        if only is None:
            return seen
        found = {tid: thread for tid, thread in seen.items() if tid in only}
        return Partial(found).because(seen.reason) if isinstance(seen, Partial) else found


def _all_threads(dumps: Sequence[bytes]) -> Iterable[PythonThread]:
    for dump in dumps:
        try:
            yield from _parsed(dump)
        except Malformed:  # `read` tells of it
            continue


def with_ids(threads: tuple[PythonThread, ...], ids: Mapping[int, int | None]) -> tuple[PythonThread, ...]:
    """The threads of a dump, those that py-spy gave no id with the one that belongs to their pthread handle."""
    return tuple(
        [
            thread._replace(tid=ids.get(thread.thread_id)) if thread.tid is None and thread.thread_id else thread
            for thread in threads
        ]
    )


def python_threads(threads: tuple[PythonThread, ...]) -> dict[int, Seen]:
    """A py-spy dump by OS thread id; threads without one are left out."""
    return {
        thread.tid: Seen(
            thread.name or f"thread {thread.tid}",
            None,
            "app",
            classify(thread.frames, "python"),
        )
        for thread in threads
        if thread.tid is not None
    }
