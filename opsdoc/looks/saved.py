"""The threads of a saved dump: jstack's, or py-spy's as text or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opsdoc.looks import matching
from opsdoc.looks.java_stacks import java_threads
from opsdoc.looks.python_stacks import python_threads
from opsdoc.looks.stacks import Partial, Seen
from opsdoc.model import Malformed, Unseen
from opsdoc.parsers import detect, pyspy
from opsdoc.signals.processes import Thread


def threads(data: bytes, mask: Callable[[str], str]) -> Iterator[Thread | Unseen]:
    """The threads of a saved dump in its order, and whether it was cut short. Raises Malformed if it is not one."""
    kind = detect.kind(data)
    if kind is None:
        raise Malformed(
            f"not a jstack or py-spy dump: {data[:60]!r}",
            "save one: jstack -l PID > FILE, or py-spy dump --pid PID > FILE",
        )
    dump = _READERS[kind](data)
    if isinstance(dump, Partial):
        yield Unseen(subject="the dump", reason="malformed", detail=dump.reason)
    for tid, seen in dump.items():
        yield matching.from_dump(tid, seen, None, "saved dump", mask)


_READERS: dict[str, Callable[[bytes], dict[int, Seen]]] = {
    "hotspot": java_threads,
    "pyspy-json": lambda data: python_threads(pyspy.parse_json(data)),
    "pyspy-text": lambda data: python_threads(pyspy.parse_text(data)),
}
