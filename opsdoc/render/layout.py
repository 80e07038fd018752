"""Lines of a terminal: ink in spans, wrapping by words and by items, in columns that wide characters do not break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from opsdoc.render import words

Span = tuple[str, str]  # text and the name of its style
_Printer = Callable[[Sequence[Span]], None]

# A number and its unit stay together.
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|min|h|d|cores|B|KiB|MiB|GiB|TiB)(?:[^\w]|$))")
_GLUE = "\x00"

_STYLES = {
    "critical": "bold red",
    "warning": "bold yellow",
    "unknown": "bold magenta",
    "ok": "bold green",
    "strong": "bold",
    "dim": "dim",
    "": "",
}

_ASCII = {
    " · ": ", ",
    "·": "-",
    "…": "...",
    "◀": "<-",
    "←": "<-",
    "→": "->",
    "\N{EM DASH}": "-",
    "\N{EN DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "≥": ">=",
}


class Page:
    """Where the lines go: plain into a pipe, with colour by rich. All text passes `say` on its way."""

    def __init__(self, out: TextIO, width: int, *, color: bool) -> None:
        self.width = max(40, width)
        self._out = out
        self._encoding = getattr(out, "encoding", None) or "utf-8"
        self._print = self._in_color() if color else self._plain
        self.ellipsis = self.say("…")
        self.between = self.say(" · ")

    def say(self, text: str) -> str:
        """Outside text made visible, in characters that the output can carry."""
        text = words.visible(text)
        if text.isascii() or self._carries(text):
            return text
        for char, spelled in _ASCII.items():
            if not self._carries(char):
                text = text.replace(char, spelled)
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding, "replace")

    def line(self, *spans: Span) -> None:
        """One line of spans; trailing blanks are left out."""
        self._print(_trimmed(spans))

    def _carries(self, text: str) -> bool:
        try:
            text.encode(self._encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def _plain(self, spans: Sequence[Span]) -> None:
        self._out.write("".join(text for text, _ in spans) + "\n")

    def _in_color(self) -> _Printer:
        from rich.console import Console
        from rich.text import Text

        console = Console(
            file=self._out,
            force_terminal=True,
            color_system="standard",
            no_color=False,
            width=self.width,
            highlight=False,
        )

        def in_color(spans: Sequence[Span]) -> None:
            text = Text.assemble(*((text, _STYLES[style]) for text, style in spans))
            console.print(text, soft_wrap=True, crop=False, markup=False, emoji=False)

        return in_color


def wrap(text: str, width: int) -> list[str]:
    """A sentence in lines of a width, broken at blanks, a number and its unit kept together, a long word whole."""
    lines: list[str] = []
    line = ""
    for word in _BEFORE_UNIT.sub(_GLUE, text).split(" "):
        if line and words.cells(line) + 1 + words.cells(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [each.replace(_GLUE, " ") for each in [*lines, line]]


def flow(items: Iterable[str], width: int, between: str) -> list[str]:
    """Short items in lines of a width, an item kept together where it can be."""
    lines: list[str] = []
    for item in items:
        if lines and words.cells(lines[-1]) + words.cells(between) + words.cells(item) <= width:
            lines[-1] += between + item
        else:
            lines.extend(wrap(item, width))
    return lines


def left(text: str, width: int) -> str:
    """Padded on the right to a number of columns."""
    return text + " " * (width - words.cells(text))


def right(text: str, width: int) -> str:
    """Padded on the left to a number of columns."""
    return " " * (width - words.cells(text)) + text


def _trimmed(spans: Sequence[Span]) -> list[Span]:
    kept = [span for span in spans if span[0]]
    while kept and not kept[-1][0].strip(" "):
        kept.pop()
    if kept:
        kept[-1] = (kept[-1][0].rstrip(" "), kept[-1][1])
    return kept


def first_and_rest(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is the first."""
    return ((index == 0, line) for index, line in enumerate(lines))
