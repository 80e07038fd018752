"""The records of an observation beneath its row in a terminal: a small table, or a flow of items where it is narrow."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.render import words
from opsdoc.render.layout import Page, first_and_rest, flow, left, right, wrap
from opsdoc.render.parts import Parts

_GAP = "  "
_LEAST_NAME = 12  # columns
_MOST = 50


def write_parts(page: Page, parts: Parts, margin: int, *, least: int) -> None:
    """The first records, and what is to be said of them; a wide table begins further left, up to a `least` margin."""
    shown = parts.records[:_MOST]
    heads = [parts.title, *(column.title for column in parts.columns[1:])]
    lines = [[page.say(cell) for cell in line] for line in (heads, *map(parts.cells, shown))]
    widths = [max(map(words.cells, column)) for column in zip(*lines, strict=True)]
    rest = sum(widths[1:]) + len(_GAP) * (len(widths) - 1)
    if least + min(widths[0], _LEAST_NAME) + rest <= page.width:
        margin = max(least, min(margin, page.width - rest - widths[0]))
        widths[0] = min(widths[0], page.width - rest - margin)
        _write_table(page, parts, lines, widths, margin)
    else:
        _write_flow(page, parts, margin)
    more = len(parts.records) - len(shown)
    for note in [*([f"+ {more:,} more, all of them in the JSON"] if more else []), *parts.notes]:
        for line in wrap(page.say(note), page.width - margin):
            page.line((" " * margin + line, "dim"))


def _write_table(page: Page, parts: Parts, lines: Sequence[Sequence[str]], widths: Sequence[int], margin: int) -> None:
    numbers = [column.is_number for column in parts.columns[1:]]
    for index, (name, *cells) in enumerate(lines):
        shown = left(words.shorten(name, widths[0], page.ellipsis), widths[0])
        padded = zip(cells, widths[1:], numbers, strict=True)
        fitted = [right(cell, width) if number else left(cell, width) for cell, width, number in padded]
        page.line((" " * margin + _GAP.join([shown, *fitted]), "" if index else "dim"))


def _write_flow(page: Page, parts: Parts, margin: int) -> None:
    page.line((" " * margin + page.say(f"{parts.title}:"), "dim"))
    for record in parts.records[:_MOST]:
        items = [page.say(item) for item in parts.items(record)]
        for first, line in first_and_rest(flow(items, page.width - margin - 4, page.between)):
            page.line((" " * (margin + (2 if first else 4)) + line, ""))
