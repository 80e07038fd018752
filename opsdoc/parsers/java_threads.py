"""What the JVM's own dump of all threads (`jcmd Thread.dump_to_file -format=json`) says of some of them.

Read from files of Java 21 and 25. There may be a million threads in one: it is searched, not read as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NamedTuple

from opsdoc.model import Frame, Malformed
from opsdoc.parsers.hotspot_dump import frame

LONGEST = 1 << 20  # bytes of one thread: a stack has 1024 frames at most, if the JVM was not told otherwise

_BEGIN = re.compile(rb'\s*\{\s*"threadDump"\s*:\s*\{')
_END = re.compile(rb"\]\s*\}\s*\}\s*\Z")  # the list of containers and the two objects around it
_LAST = 200  # bytes that the end stands in


class ListedThread(NamedTuple):
    """One thread of the file. `state` is None on Java 21; frames are innermost first.

    `carrier` is the Java thread id of the thread that carries it: None where it is not mounted, and always on Java 21.
    """

    number: int
    name: str
    state: str | None
    carrier: int | None
    frames: tuple[Frame, ...]


class ListedThreads(NamedTuple):
    """The threads that were looked for and found, by their Java thread id. `complete`: the end of the file was seen."""

    threads: dict[int, ListedThread]
    complete: bool


def parse(data: bytes, wanted: Collection[int]) -> ListedThreads:
    """The threads with the Java thread ids (`#23`) `wanted`; one that is not there has ended.

    A file that was cut short is read as far as it goes. Raises Malformed for what is no such file, and where a thread
    is not as the format has it or is there twice.
    """
    if _BEGIN.match(data) is None:
        raise Malformed(f"not a JSON dump of threads: {data[:80]!r:.80}")
    complete = _END.search(data, max(0, len(data) - _LAST)) is not None
    found: dict[int, ListedThread] = {}
    for match in _objects(data, wanted):
        thread = _thread(data[match.start() : match.start() + LONGEST])
        if thread is None and not complete and match.start() + LONGEST > len(data):
            break  # the file was cut within this thread
        if thread is None or thread.number in found:
            raise Malformed(f"thread {_text(match[1])} is not told as one thread should be")
        found[thread.number] = thread
    return ListedThreads(found, complete)


def _objects(data: bytes, wanted: Collection[int]) -> list[re.Match[bytes]]:
    """Where the objects of the threads begin. No string can forge it: a quote within one stands behind a backslash."""
    if not wanted:
        return []
    numbers = b"|".join([b"%d" % number for number in sorted(wanted)])
    return list(re.finditer(rb'\{\s{0,40}"tid"\s{0,9}:\s{0,9}"?(' + numbers + rb')"?\s{0,9}[,}]', data))


def _thread(text: bytes) -> ListedThread | None:
    """The object that the text begins with, or None."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))
        stack = value.get("stack", [])
        if not isinstance(stack, list):
            return None
        return ListedThread(
            number=int(value["tid"]),
            name=_word(value.get("name")) or "",
            state=_word(value.get("state")),
            carrier=None if value.get("carrier") is None else int(value["carrier"]),
            frames=tuple([frame(_whole(line)) for line in stack if isinstance(line, str)]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # OverflowError: int(1e999)
        return None


def _word(value: Any) -> str | None:
    return _whole(value) if isinstance(value, str) and value else None


def _whole(text: str) -> str:
    r"""Text without lone surrogates: JSON may spell them as `\ud800`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(number: bytes) -> str:
    return number.decode("ascii", "replace")
