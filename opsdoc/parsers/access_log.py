"""Access logs of nginx as columns: one list for each wanted variable, at the speed of `bytes.split`.

nginx escapes quotation marks in what it logs, so those of a line are the format's own. A block of lines that is split
at them once has each variable at a fixed distance, and a slice with that stride is its column. Where a block does not
line up, it is halved until its bad lines stand alone. Nothing is ever searched for: what a client writes into its
User-Agent stays there, but for formats that escape nothing (`LogFormat.forgeable`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opsdoc.parsers.log_format import LogFormat, TimeField
from opsdoc.parsers.log_lines import Layout, Lists, Reader, read
from opsdoc.parsers.log_lines import reader as reader_of

BLOCK = 128 << 10  # bytes that are split at once: their pieces stay in the cache of a core
SLOT = 10  # seconds: what happened is told apart by these
_STEPS = 4  # slots in one block that are worth finding their limits


class Columns(NamedTuple):
    """Lines of one format. `values` has a list for each wanted variable that the format has, all of `rows` length.

    `packed` are lists of texts that `layout` takes apart: where variables stand together, they are cheaper to count as
    they are. `unread` are lines that are not of the format. `first` and `last` are the unix times of the first and the
    last line of a block; `slots` the start of the 10 seconds in which its rows were written, one for all of them or
    one for each.
    """

    rows: int
    unread: int
    values: Mapping[str, list[bytes]]
    packed: tuple[list[bytes], ...] = ()
    layout: Layout = Layout()
    first: float | None = None
    last: float | None = None
    slots: int | list[int | None] | None = None


def blocks(data: bytes, fmt: LogFormat, wanted: Sequence[str], packed: Sequence[str] = ()) -> Iterator[Columns]:
    """Lines of a log, of any number, as blocks of columns with their times.

    Rows count as written in between the times of the first and the last line: where those are in the same 10
    seconds, the lines between them are not asked.
    """
    reader = reader_of(fmt, tuple(wanted), tuple(packed))
    for block in _blocks(data):
        if fmt.time is None:
            yield _columns(block, reader)
        else:
            yield from _timed(block, fmt, fmt.time, reader)


def columns(data: bytes, fmt: LogFormat, wanted: Sequence[str], packed: Sequence[str] = ()) -> Columns:
    """The columns of lines; the last one may lack its newline. Rows and unread are all the lines there are.

    A line is of the format when it has all its quotation marks, and between them what the format has around the wanted
    variables. Values are as they stand in the log, escapes included.
    """
    reader = reader_of(fmt, tuple(wanted), tuple(packed))
    lists: Lists = {key: [] for key in reader.keys}
    rows = unread = 0
    for block in _blocks(data):
        found, good, bad = read(block, reader)
        rows, unread = rows + good, unread + bad
        for key, column in found.items():
            lists[key] += column
    return _taken(rows, unread, lists, reader)


def _columns(block: bytes, reader: Reader) -> Columns:
    found, rows, unread = read(block, reader)
    return _taken(rows, unread, found, reader)


def _taken(rows: int, unread: int, lists: Lists, reader: Reader) -> Columns:
    values = {name: lists[name] for name in reader.names}
    return Columns(rows, unread, values, tuple(lists[key] for key in reader.packed), reader.layout)


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def _timed(block: bytes, fmt: LogFormat, time: TimeField, reader: Reader, steps: int = _STEPS) -> Iterator[Columns]:
    """A block with its times, or its parts where they are in different slots."""
    first, last = _edge(block, time, last=False), _edge(block, time, last=True)
    if first is not None and last is not None:
        slot, end = int(first // SLOT) * SLOT, int(last // SLOT) * SLOT
        if slot == end:
            yield _columns(block, reader)._replace(first=first, last=last, slots=slot)
            return
        at = _boundary(block, time, slot + SLOT) if slot < end <= slot + steps * SLOT else 0
        if at:
            yield from _timed(block[:at], fmt, time, reader, 0)
            yield from _timed(block[at:], fmt, time, reader, steps - 1)
            return
    found = _columns(block, reader_of(fmt, (*reader.names, time.variable), reader.layout.names))
    slots = list(map(_Slots(time).__getitem__, found.values[time.variable]))
    yield found._replace(first=first, last=last, slots=slots)


def _boundary(block: bytes, time: TimeField, until: int) -> int:
    """Where the first line written at this time or later begins, if lines are in order; 0 where it is not found."""
    low, high = 0, len(block)
    while high - low > 1:
        middle = block.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if middle <= low:
            middle = block.find(b"\n", low) + 1
        if middle >= high:
            break
        at = time.read(block[middle : block.find(b"\n", middle)])
        if at is None:
            return 0
        low, high = (low, middle) if at >= until else (middle, high)
    return high if high < len(block) else 0


class _Slots(dict[bytes, "int | None"]):
    """The slots of times as they are written; few are distinct."""

    def __init__(self, time: TimeField) -> None:
        self.time = time

    def __missing__(self, text: bytes) -> int | None:
        at = self.time.value(text)
        slot = None if at is None else int(at // SLOT) * SLOT
        self[text] = slot
        return slot


def _edge(block: bytes, time: TimeField, *, last: bool) -> float | None:
    """The time of the first or the last line that has one, of a few."""
    at = len(block) - 1 if last else 0
    for _ in range(4):
        if last:
            start = block.rfind(b"\n", 0, max(0, at)) + 1
            found, at = time.read(block[start : at + 1]), start - 1
        else:
            end = block.find(b"\n", at)
            found, at = time.read(block[at:end]), end + 1
        if found is not None or not 0 <= at < len(block):
            return found
    return None


def _blocks(data: bytes) -> Iterator[bytes]:
    """Whole lines of about BLOCK bytes, each with its newline."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", min(at + BLOCK, len(data)) - 1) + 1
        if not end:
            end = data.rfind(b"\n", at) + 1
            if end <= at:
                yield data[at:] + b"\n"
                return
        yield data[at:end]
        at = end
