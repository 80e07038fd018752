"""The threads of a saved dump: jstack's, or py-spy's as text or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opsdoc.model import Malformed, Unknown
from opsdoc.parsers import detect, pyspy
from opsdoc.signals.processes import Thread
from opsdoc.stacks import Seen, java_threads, python_threads

_NO_CPU = Unknown("a saved dump does not tell what a thread uses now")


def threads(data: bytes, mask: Callable[[str], str]) -> Iterator[Thread]:
    """The threads of a saved dump in its order. Raises Malformed if it is not one."""
    kind = detect.kind(data)
    if kind is None:
        raise Malformed(
            f"not a jstack or py-spy dump: {data[:60]!r}",
            "save one: jstack -l PID > FILE, or py-spy dump --pid PID > FILE",
        )
    for tid, seen in _READERS[kind](data).items():
        name = mask(seen.name)
        yield Thread(
            subject=f"{tid} {tid:#x} {name}",
            cpu=_NO_CPU,
            tid=tid,
            tid_hex=f"{tid:#x}",
            name=name,
            state=seen.state or Unknown("the dump does not tell"),
            role=seen.role,
            source="saved dump",
            frames=Unknown(seen.doubt) if seen.doubt else seen.frames,
        )


_READERS: dict[str, Callable[[bytes], dict[int, Seen]]] = {
    "hotspot": java_threads,
    "pyspy-json": lambda data: python_threads(pyspy.parse_json(data)),
    "pyspy-text": lambda data: python_threads(pyspy.parse_text(data)),
}
