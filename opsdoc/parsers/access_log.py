"""Access logs of nginx as columns: one list for each wanted variable, many lines at once.

nginx escapes quotation marks in what it logs, so those of a line are the format's own. A regular expression that takes
`[^"]*` between them is fast, and reads by position: what a client writes into its User-Agent stays there, but for
formats that escape nothing (`LogFormat.forgeable`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opsdoc.parsers.log_format import LogFormat, TimeField
from opsdoc.parsers.log_lines import Layout, read, reader

BLOCK = 128 << 10  # bytes that are read at once: what is made of them stays in the cache of a core
SLOT = 10  # seconds: what happened is told apart by these
_STEPS = 4  # slots in one block that are worth finding their limits


class Columns(NamedTuple):
    """Lines of one format. `values` has a list for each wanted variable that the format has, all of `rows` length.

    `packed` are lists of texts that `layout` takes apart: where variables stand together, they are cheaper to count as
    they are. `unread` are lines that are not of the format. `slots` are the beginnings of the 10 seconds in which the
    rows were written (unix time), one for all of them or one for each; None where that is not known.
    """

    rows: int
    unread: int
    values: Mapping[str, Sequence[bytes]]
    packed: tuple[Sequence[bytes], ...] = ()
    layout: Layout = Layout()
    slots: int | Sequence[int | None] | None = None


class Block(NamedTuple):
    """Whole lines; `first` and `last` are the unix times of the first and the last of them.

    `slot` is the one in which both were written. Then the lines between them are not asked.
    """

    data: bytes
    fmt: LogFormat
    first: float | None = None
    last: float | None = None
    slot: int | None = None

    @property
    def rows(self) -> int:
        """How many of the lines are of the format, in all that it says."""
        return self.columns(self.fmt.variables).rows

    def columns(self, wanted: Sequence[str], packed: Sequence[str] = ()) -> Columns:
        """Its columns.

        A line is of the format when it has all its quotation marks, and between them what the format has around the
        variables that are asked for. Values are as they stand in the log, escapes included.
        """
        time = self.fmt.time
        apart = time is not None and self.slot is None
        names = (*wanted, time.variable) if time is not None and apart else tuple(wanted)
        how = reader(self.fmt, names, tuple(packed))
        found, rows, unread = read(self.data, how)
        values = {name: found[name] for name in how.names}
        slots: int | Sequence[int | None] | None = self.slot
        if time is not None and apart:
            slots = list(map(_Slots(time).__getitem__, values[time.variable]))
        return Columns(rows, unread, values, tuple(found[key] for key in how.packed), how.layout, slots)


def blocks(data: bytes, fmt: LogFormat) -> Iterator[Block]:
    """Lines of a log, of any number, as blocks with their times; the last line may lack its line break."""
    for block in _blocks(data):
        if fmt.time is None:
            yield Block(block, fmt)
        else:
            yield from _timed(block, fmt, fmt.time, _STEPS)


def columns(data: bytes, fmt: LogFormat, wanted: Sequence[str], packed: Sequence[str] = ()) -> Columns:
    """The columns of lines; rows and unread are all the lines there are. Their times are not looked at."""
    how = reader(fmt, tuple(wanted), tuple(packed))
    lists: dict[str, list[bytes]] = {key: [] for key in (*how.names, *how.packed)}
    rows = unread = 0
    for block in _blocks(data):
        found, good, bad = read(block, how)
        rows, unread = rows + good, unread + bad
        for key, column in lists.items():
            column.extend(found[key])
    values = {name: lists[name] for name in how.names}
    return Columns(rows, unread, values, tuple(lists[key] for key in how.packed), how.layout)


def _blocks(data: bytes) -> Iterator[bytes]:
    """Whole lines of about BLOCK bytes, each with its line break."""
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


# ── times ────────────────────────────────────────────────────────────────────────────────────────


def _timed(data: bytes, fmt: LogFormat, time: TimeField, steps: int) -> Iterator[Block]:
    """A block with its times, or its parts where they are in different slots."""
    first, last = _edge(data, time, last=False), _edge(data, time, last=True)
    if first is None or last is None:
        yield Block(data, fmt, first, last)
        return
    slot, end = int(first // SLOT) * SLOT, int(last // SLOT) * SLOT
    at = _boundary(data, time, slot + SLOT) if slot < end <= slot + steps * SLOT else 0
    if at:
        yield from _timed(data[:at], fmt, time, 0)
        yield from _timed(data[at:], fmt, time, steps - 1)
    else:
        yield Block(data, fmt, first, last, slot if slot == end else None)


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
