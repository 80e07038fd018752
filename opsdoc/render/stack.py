"""A stack as a person reads it: the first frame of the user's own code marked, the runtime's folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from opsdoc.model import Frame

_MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class Line:
    """A frame to show, whether it is the one to look at, and how many alike are folded into it."""

    frame: Frame
    marked: bool = False
    folded: int = 0

    @property
    def is_app(self) -> bool:
        """Whether it is the user's own code."""
        return self.frame.origin == "app"

    @property
    def where(self) -> str:
        """`OrderPricer.java:88`."""
        return place(self.frame)


def place(frame: Frame) -> str:
    """File and line of a frame, as far as they are known."""
    if not frame.file:
        return "" if frame.line is None else f"line {frame.line}"
    return frame.file if frame.line is None else f"{frame.file}:{frame.line}"


def folded(frames: Sequence[Frame], most: int = _MOST_LINES) -> list[Line]:
    """At most so many lines: runs of library and runtime frames as their innermost and a count."""
    lines: list[Line] = []
    for frame in frames:
        last = lines[-1] if lines else None
        if last and not last.is_app and frame.origin != "app":
            lines[-1] = replace(last, folded=last.folded + 1)
        else:
            lines.append(Line(frame))
    if len(lines) > most:
        kept, rest = lines[:most], lines[most:]
        more = sum(1 + line.folded for line in rest)
        lines = [*kept[:-1], replace(kept[-1], folded=kept[-1].folded + more)]
    return lines


def marked(lines: Sequence[Line]) -> list[Line]:
    """The same, with the first frame of the user's own code marked."""
    first = next((index for index, line in enumerate(lines) if line.is_app), None)
    return [replace(line, marked=index == first) for index, line in enumerate(lines)]
