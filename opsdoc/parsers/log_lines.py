"""Lines of an access log taken apart by one regular expression: all of a block at once, or the bad ones one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from opsdoc.parsers.log_format import LogFormat, Token, ends_of, escaped, shapes, unescaped

_FEW = 24  # lines that are read one by one

Lists = Mapping[str, Sequence[bytes]]


class Layout(NamedTuple):
    """What texts that belong together hold: each is one variable, or several with what stands between them."""

    parts: tuple[tuple[tuple[str, ...], re.Pattern[bytes]], ...] = ()
    json: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that are in there."""
        return tuple(name for names, _ in self.parts for name in names)

    def place(self, name: str) -> int | None:
        """The text that has a variable."""
        return next((place for place, (names, _) in enumerate(self.parts) if name in names), None)

    def values(self, texts: Sequence[bytes]) -> dict[str, bytes]:
        """The values by variable; `texts` has one of each part."""
        found: dict[str, bytes] = {}
        for (names, pattern), text in zip(self.parts, texts, strict=True):
            match = pattern.fullmatch(unescaped(text) if self.json else text)
            if match is not None:
                values = [match[_group(name)] for name in names]
                found |= zip(names, map(escaped, values) if self.json else values, strict=True)
        return found


class Reader(NamedTuple):
    """What is taken from each line, by the numbers of the groups of `pattern`."""

    pattern: re.Pattern[bytes]
    names: tuple[str, ...]
    packed: tuple[str, ...]
    groups: Mapping[str, int]
    layout: Layout
    json: bool
    shortest: int  # bytes that a line has at least


class _Place(NamedTuple):
    """A token in its line, and the regular expression that finds it."""

    token: Token
    shape: str


@lru_cache(64)
def reader(fmt: LogFormat, wanted: tuple[str, ...], packed: tuple[str, ...]) -> Reader:
    """How lines of a format are read: `wanted` as lists of values, `packed` as lists of texts that are as it comes."""
    line = list(_line(fmt, {*wanted, *packed}))
    runs = list(_runs([place.token for place in line], set(packed)))
    begins, ends = {run.start: number for number, run in enumerate(runs)}, {run.stop - 1 for run in runs}
    names: list[str] = []
    made: list[str] = ["^"]
    for number, (token, shape) in enumerate(line):
        taken = token.variable and token.text in wanted and token.text not in names
        names += [token.text] * taken
        opened = f"(?P<run{begins[number]}>" if number in begins else ""
        made.append(opened + (f"(?P<{_group(token.text)}>{shape})" if taken else shape) + ")" * (number in ends))
    pattern = _compiled("".join(made))
    order = tuple(dict.fromkeys(name for name in wanted if name in names))
    parts = tuple(_part(line[run.start : run.stop]) for run in runs)
    keys = tuple(f"run{number}" for number in range(len(runs)))
    shortest = sum(len(token.text.encode("utf-8", "surrogateescape")) for token, _ in line if not token.variable)
    groups = {name: pattern.groupindex[_group(name)] for name in order} | {key: pattern.groupindex[key] for key in keys}
    is_json = fmt.escape == "json"
    return Reader(pattern, order, keys, groups, Layout(parts, is_json), is_json, shortest)


def _line(fmt: LogFormat, used: set[str]) -> Iterator[_Place]:
    """The tokens of a whole line. A segment of which nothing is used is anything but a quotation mark."""
    for number, segment in enumerate(fmt.segments):
        ends = ends_of(fmt.segments, number)
        variables = {token.text for token in segment if token.variable}
        if variables and fmt.quoted and not variables & used:
            yield _Place(Token("", variable=True), f"[^{ends}]*")
        else:
            for token, shape in zip(segment, shapes(segment, ends), strict=True):
                # Names of helper groups are only unique in their segment.
                yield _Place(token, shape.replace("<_", f"<_{number}_").replace("=_", f"=_{number}_"))
        yield _Place(Token(ends[-1]), ends[-1])


def _runs(tokens: Sequence[Token], packed: set[str]) -> Iterator[range]:
    """Where packed variables stand together, with nothing but literal text between them."""
    left = set(packed)
    start = stop = None
    for number, token in enumerate(tokens):
        if token.variable and token.text in left:
            left.remove(token.text)
            start, stop = number if start is None else start, number + 1
        elif token.variable and start is not None and stop is not None:
            yield range(start, stop)
            start = stop = None
    if start is not None and stop is not None:
        yield range(start, stop)


def _part(places: Sequence[_Place]) -> tuple[tuple[str, ...], re.Pattern[bytes]]:
    """How a run is taken apart. What followed it in the line, its last variable cannot look for."""
    *_, (last, shape) = places
    ended = _Place(last, "[^\\n]*" if shape.startswith("(?=") else shape)
    names = tuple(token.text for token, _ in places if token.variable)
    made = (f"(?P<{_group(token.text)}>{shape})" if token.variable else shape for token, shape in (*places[:-1], ended))
    return names, _compiled("".join(made))


def _group(name: str) -> str:
    """The group of a variable, whose name may begin with a digit."""
    return f"v_{name}"


def _compiled(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("utf-8", "surrogateescape"), re.ASCII | re.MULTILINE)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read(block: bytes, how: Reader) -> tuple[Lists, int, int]:
    """The columns of whole lines, how many rows they have, and how many lines were none of the format."""
    lines = _lines(block)
    if not how.json:
        found, rows = _halved(block, lines, how)
        return found, rows, lines - rows
    if b"\x01" in block or b"\x02" in block:  # nginx writes none of them, and below they have a meaning of their own
        clean = [line for line in block.split(b"\n")[:-1] if b"\x01" not in line and b"\x02" not in line]
        block = b"".join(line + b"\n" for line in clean)
    found, rows = _halved(unescaped(block), _lines(block), how)
    if b"\\" in block:
        found = {key: _restored(column) for key, column in found.items()}
    return found, rows, lines - rows


def _lines(block: bytes) -> int:
    """How many there are. `count` looks at each byte, `replace` at 32 at once: a fifth of the time."""
    return len(block) - len(block.replace(b"\n", b""))


def _restored(column: Sequence[bytes]) -> Sequence[bytes]:
    joined = b"\n".join(column)
    return list(map(escaped, column)) if b"\x01" in joined or b"\x02" in joined else column


def _halved(block: bytes, lines: int, how: Reader) -> tuple[Lists, int]:
    found = _at_once(block, lines, how)
    if found is not None:
        return found, lines
    if lines <= _FEW:
        return _one_by_one(block, how)
    middle = block.rfind(b"\n", 0, len(block) // 2) + 1 or block.find(b"\n") + 1
    above = _lines(block[:middle])
    one, rows = _halved(block[:middle], above, how)
    other, more = _halved(block[middle:], lines - above, how)
    return {key: [*column, *other[key]] for key, column in one.items()}, rows + more


def _at_once(block: bytes, lines: int, how: Reader) -> Lists | None:
    """The columns of a block; None where one of its lines is not of the format.

    Each match begins a line and ends with a line break. So if there are as many as line breaks, each is one line.
    """
    if len(block) < lines * how.shortest:
        return None  # most likely blank lines, from each of which all others would be searched through
    found = how.pattern.findall(block)
    if len(found) != lines:
        return None
    if how.pattern.groups <= 1:
        return dict.fromkeys(how.groups, found)
    columns = list(zip(*found, strict=True)) or [()] * how.pattern.groups
    return {key: columns[number - 1] for key, number in how.groups.items()}


def _one_by_one(block: bytes, how: Reader) -> tuple[Lists, int]:
    lists: dict[str, list[bytes]] = {key: [] for key in how.groups}
    rows = 0
    for line in block.split(b"\n")[:-1]:
        match = how.pattern.fullmatch(line + b"\n")
        if match is not None:
            rows += 1
            for key, number in how.groups.items():
                lists[key].append(match[number])
    return lists, rows
