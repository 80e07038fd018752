"""The thread dump inside a RocketMQ client's running information: each line begins with the name of its thread.

`MixAll`/`UtilAll.jstack` of the client writes `NAME   TID: 27 STATE: TIMED_WAITING`, then a line for each frame with
the same name before it, then a blank line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from opsdoc.model import Frame
from opsdoc.parsers.hotspot_dump import frame

MOST_THREADS = 4096
MOST_FRAMES = 256  # of one thread

LONGEST = 4096  # characters of a line: names and frames are far shorter

_HEAD = re.compile(r"\d{1,19} STATE: ([A-Z_]{1,20})", re.ASCII)
CONSUMING = "ConsumeMessageThread_"  # how consume threads are called, with the group since 4.9 and a number behind it


class Stack(NamedTuple):
    """One thread: what it is called, its state as Java spells it, and its frames, innermost first."""

    name: str
    state: str
    frames: tuple[Frame, ...]


def parse(text: str) -> tuple[Stack, ...]:
    """The threads of a dump, in its order. What does not look like one is passed over."""
    found: list[Stack] = []
    for block in text[: 8 << 20].split("\n\n"):
        lines = block.strip("\n").split("\n")
        name, _, rest = lines[0].partition(" TID: ")
        head = _HEAD.fullmatch(rest)
        if head is None or len(name) > LONGEST:
            continue
        name = name.rstrip()
        frames = [_frame(line[:LONGEST], name) for line in lines[1 : 1 + MOST_FRAMES]]
        found.append(Stack(name, head[1], tuple(filter(None, frames))))
        if len(found) == MOST_THREADS:
            break
    return tuple(found)


def _frame(line: str, name: str) -> Frame | None:
    read = frame(line.removeprefix(name).strip())
    return read if read.function else None
