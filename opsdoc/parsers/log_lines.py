"""Lines of an access log taken apart at their quotation marks: all of a block at once, or the bad ones one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from opsdoc.parsers.log_format import LogFormat, Segment, Token, escaped, expression, unescaped

_FEW = 24  # lines that are read one by one
_SAMPLE = 32  # values that tell whether a column repeats itself
_STATUS = re.compile(rb"\d{3}", re.ASCII)
_NOT_EDGES = bytes(set(range(256)) - set(b'"\n'))

Lists = dict[str, list[bytes]]


class Layout(NamedTuple):
    """What texts that belong together hold: the value of one variable, or a whole segment with several of them."""

    parts: tuple[tuple[tuple[str, ...], re.Pattern[bytes] | None], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that are in there."""
        return tuple(name for names, _ in self.parts for name in names)

    def place(self, name: str) -> int | None:
        """Where the value of a variable stands by itself."""
        return next((place for place, (names, pattern) in enumerate(self.parts) if not pattern and name in names), None)

    def values(self, texts: Sequence[bytes]) -> dict[str, bytes]:
        """The values by variable; `texts` are one row of `Columns.packed`."""
        found: dict[str, bytes] = {}
        for (names, pattern), text in zip(self.parts, texts, strict=True):
            match = pattern and pattern.fullmatch(text)
            found |= zip(names, match.groups() if match else (text,), strict=False)
        return found


class _Cut(NamedTuple):
    """A segment in which a wanted variable has company: its place, its pattern, and names by number of group."""

    place: int
    whole: re.Pattern[bytes]
    lines: re.Pattern[bytes]
    groups: tuple[str, ...]
    words: tuple[str, ...] = ()  # where it is words with one space around each: their names, empty if not wanted


class Reader(NamedTuple):
    """What is taken from each line, by the places of its segments."""

    stride: int  # quotation marks of a line
    names: tuple[str, ...]
    keys: tuple[str, ...]  # of all lists: names of variables, and of segments that stay whole
    alone: tuple[tuple[int, str], ...]  # variables that have a segment for themselves
    literals: tuple[tuple[int, bytes], ...]
    cuts: tuple[_Cut, ...]
    whole: tuple[tuple[str, _Cut], ...]
    packed: tuple[str, ...]
    layout: Layout
    json: bool


@lru_cache(64)
def reader(fmt: LogFormat, wanted: tuple[str, ...], packed: tuple[str, ...]) -> Reader:
    left = {name for name in (*wanted, *packed) if name in fmt.variables}
    alone: list[tuple[int, str]] = []
    literals: list[tuple[int, bytes]] = []
    cuts: list[_Cut] = []
    whole: list[tuple[str, _Cut]] = []
    single = len(fmt.segments) == 1
    for place, segment in enumerate(fmt.segments):
        variables = tuple(dict.fromkeys(token.text for token in segment if token.variable))
        here = tuple(name for name in variables if name in left)
        left.difference_update(here)
        if not variables:
            literals.append((place, "".join(token.text for token in segment).encode("utf-8", "surrogateescape")))
        elif here and len(segment) == 1 and not single:
            alone.append((place, here[0]))
        elif here == variables and fmt.escape != "json" and set(packed).issuperset(here) and not {*wanted} & {*here}:
            whole.append((f"segment {place}", _cut(place, segment, here)))
        elif here or single:
            cuts.append(_cut(place, segment, here))
    names = tuple(dict.fromkeys(name for name in wanted if name in fmt.variables))
    inside = {name for _, cut in whole for name in cut.groups}
    each = tuple(dict.fromkeys(name for name in packed if name in fmt.variables and name not in inside))
    layout = Layout((*(((name,), None) for name in each), *((cut.groups, cut.whole) for _, cut in whole)))
    keys = (*each, *(key for key, _ in whole))
    return Reader(
        len(fmt.segments) - 1,
        names,
        tuple(dict.fromkeys((*names, *keys))),
        tuple(alone),
        tuple(literals),
        tuple(cuts),
        tuple(whole),
        keys,
        layout,
        fmt.escape == "json",
    )


def _cut(place: int, segment: Segment, wanted: tuple[str, ...]) -> _Cut:
    text, groups = expression(segment, wanted)
    pattern = text.encode("utf-8", "surrogateescape")
    if not groups:
        pattern, groups = b"(" + pattern + b")", ("",)
    return _Cut(
        place,
        re.compile(pattern, re.ASCII),
        re.compile(b"^" + pattern + b"$", re.ASCII | re.MULTILINE),
        groups,
        _words(segment, groups),
    )


def _words(segment: Segment, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The names of its words, if it is nothing but those: ` $status $body_bytes_sent `."""
    spaces, variables = segment[::2], segment[1::2]
    if len(spaces) != len(variables) + 1 or any(token != Token(" ") for token in spaces):
        return ()
    if not all(token.variable and (token.word or token.text == "status") for token in variables):
        return ()
    names = [token.text for token in variables]
    if "status" in names and "status" not in groups:
        return ()  # then nobody looks whether it is one
    return tuple(name if name in groups and name not in names[:place] else "" for place, name in enumerate(names))


def read(block: bytes, how: Reader) -> tuple[Lists, int, int]:
    """The columns of whole lines, how many rows they have, and how many lines were none of the format."""
    lines = block.count(b"\n")
    if not how.json:
        found, rows = _halved(block, lines, how)
        return found, rows, lines - rows
    if b"\x01" in block or b"\x02" in block:  # nginx writes none of them, and below they have a meaning of their own
        clean = [line for line in block.split(b"\n")[:-1] if b"\x01" not in line and b"\x02" not in line]
        block = b"".join(line + b"\n" for line in clean)
    found, rows = _halved(unescaped(block), block.count(b"\n"), how)
    if b"\\" in block:
        for key, column in found.items():
            joined = b"\n".join(column)
            if b"\x01" in joined or b"\x02" in joined:
                found[key] = list(map(escaped, column))
    return found, rows, lines - rows


def _halved(block: bytes, lines: int, how: Reader) -> tuple[Lists, int]:
    found = _at_once(block, lines, how)
    if found is not None:
        return found, lines
    lists: Lists = {key: [] for key in how.keys}
    if lines <= _FEW:
        return lists, sum(_one(line, how, lists) for line in block.split(b"\n")[:-1])
    middle = block.rfind(b"\n", 0, len(block) // 2) + 1 or block.find(b"\n") + 1
    above = block.count(b"\n", 0, middle)
    total = 0
    for half, count in ((block[:middle], above), (block[middle:], lines - above)):
        found, rows = _halved(half, count, how)
        total += rows
        for key, column in found.items():
            lists[key] += column
    return lists, total


def _at_once(block: bytes, rows: int, how: Reader) -> Lists | None:
    """The columns of a block; None where one of its lines is not of the format."""
    stride = how.stride
    if stride:
        parts = block.split(b'"')
        if len(parts) != rows * stride + 1:
            return None
        # What begins and ends lines stands together. Each of these pieces must have just one newline in it.
        edges = b'"'.join(parts[::stride])
        if edges.translate(None, _NOT_EDGES) != b'"\n' * rows:
            return None
        both = edges.replace(b'"', b"\n").split(b"\n")
        first, last = both[:-1:2], both[1::2]
    else:
        parts, first, last = [], block.split(b"\n")[:-1], []

    def column(place: int) -> list[bytes]:
        return first if place == 0 else last if place == stride else parts[place::stride]

    if any(column(place).count(literal) != rows for place, literal in how.literals):
        return None
    found = {name: column(place) for place, name in how.alone}
    for cut in how.cuts:
        if not _cut_up(column(cut.place), cut, found):
            return None
    for key, cut in how.whole:
        found[key] = column(cut.place)
        if not all(map(cut.whole.fullmatch, set(found[key]))):
            return None
    return found


def _cut_up(column: list[bytes], cut: _Cut, found: Lists) -> bool:
    """Add the columns of the variables in a segment; False where one of its texts is not of the format."""
    if len(set(column[:_SAMPLE])) <= _SAMPLE // 4:
        distinct = {text: cut.whole.fullmatch(text) for text in set(column)}
        for number, name in enumerate(cut.groups, 1):
            table = {text: match[number] for text, match in distinct.items() if match is not None}
            if len(table) != len(distinct):
                return False
            if name:
                found[name] = list(map(table.__getitem__, column))
        return True
    text = b"\n".join(column)
    if cut.words:
        stride = len(cut.words) + 1
        parts = text.split(b" ")
        if len(parts) != stride * len(column) + 1 or parts[stride:-1:stride].count(b"\n") != len(column) - 1:
            return False
        found |= {name: parts[place::stride] for place, name in enumerate(cut.words, 1) if name}
        return "status" not in cut.words or all(map(_STATUS.fullmatch, set(found["status"])))
    texts = cut.lines.findall(text)
    if len(texts) != len(column):
        return False
    texts = [texts] if len(cut.groups) == 1 else list(zip(*texts, strict=True))
    found |= {name: list(values) for name, values in zip(cut.groups, texts, strict=True) if name}
    return True


def _one(line: bytes, how: Reader, lists: Lists) -> bool:
    """Add one line to the columns, if it is of the format."""
    parts = line.split(b'"') if how.stride else [line]
    if len(parts) != how.stride + 1 or any(parts[place] != literal for place, literal in how.literals):
        return False
    found = {name: parts[place] for place, name in how.alone}
    for cut in how.cuts:
        match = cut.whole.fullmatch(parts[cut.place])
        if match is None:
            return False
        found |= {name: match[number] for number, name in enumerate(cut.groups, 1) if name}
    for key, cut in how.whole:
        found[key] = parts[cut.place]
        if not cut.whole.fullmatch(found[key]):
            return False
    for name, value in found.items():
        lists[name].append(value)
    return True
