"""Stacks of a Python process: py-spy, without stopping it."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from opsdoc.clients import Question
from opsdoc.clients.pyspy import PythonDump
from opsdoc.looks.stacks import Seen, Stacks
from opsdoc.model import Unsupported
from opsdoc.parsers import pyspy
from opsdoc.parsers.pyspy import PythonThread
from opsdoc.signals.origin import classify


class PythonStacks(Stacks):
    """Through py-spy, without stopping the process."""

    source = "py-spy dump --nonblocking"

    def question(self) -> Question[bytes]:
        return PythonDump(self.pid)

    def read(self, dump: bytes, only: Container[int] | None, complement: Any = None) -> dict[int, Seen]:  # noqa: ARG002
        seen = python_threads(pyspy.parse_json(dump))
        if not seen:
            raise Unsupported("py-spy gives no thread ids for this Python without stopping it (3.10 and older)")
        return {tid: thread for tid, thread in seen.items() if only is None or tid in only}


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
