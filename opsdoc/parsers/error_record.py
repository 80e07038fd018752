"""Lines of nginx's error.log, and which of them a client may have made up.

A line is `TIME [LEVEL] PID#TID: *CONNECTION MESSAGE, client: …, server: …, request: "…", upstream: "…", host: "…",
referrer: "…"` (`ngx_http_log_error_handler`). nginx escapes nothing in it (measured on 1.22.1): quotes, ESC and even
newlines stand there as they came. `GET /x%0a2026/11/28%2010:00:00%20[error]…` for a file that is missing writes a line
of its own, and so do a newline in the user name of a password, or in what an application logs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from opsdoc.parsers.error_message import kind_of

LONGEST = 2048  # bytes of a record, its newline included: NGX_MAX_ERROR_STR; some builds are patched to write more
TAIL = b", client: "  # between the message and who asked for what

_TIME = rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
_HEAD = rb"^(%b) \[([a-z]{1,8})\] \d{1,10}#\d{1,20}: (?:\*\d{1,20} )?" % _TIME
RECORD = re.compile(rb"%b([^\n]*)\n?" % _HEAD, re.MULTILINE)  # time, level, and the rest of the line

_SEAM = re.compile(rb'\n(?:(?!%b \[)|(?<!"\n))' % _TIME)  # behind it is no time, or before it no quote
_TIMED = re.compile(rb"\n(?=%b \[)" % _TIME)
_TWO_TAILS = re.compile(rb", client: [^\n]*, client: ")
_NEWLINE = re.compile(rb"%0[aA]")
_OF_AN_APPLICATION = re.compile(rb"%b((?:FastCGI sent in stderr: |\[lua\] )[^\n]*)" % _HEAD, re.MULTILINE)


def doubtful_spans(data: bytes) -> list[tuple[int, int]]:
    """Where lines begin that may be a piece of an earlier line's message: offsets, in order; no two overlap.

    A message with newlines leaves a seam where it ends or begins: a line that has no time; that has two tails; that
    ends where nginx cut the whole; that is none of those that count, with a newline in its request; or that ends within
    a quote. All that began in the 2,048 bytes before (or after) may be a piece of it. Where an application wrote the
    newlines, such as PHP with a stack trace, that is only what follows its own line.

    Nobody can tell them all: who knows the length of what nginx writes before can end at exactly 2,048 bytes.
    """
    merged: list[tuple[int, int]] = []
    for begin, end in sorted([*_broken(data), *_with_two_tails(data), *_with_newlines(data)]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _broken(data: bytes) -> Iterator[tuple[int, int]]:
    at = ended = 0
    said: list[tuple[int, int]] | None = None  # lines of applications that go on behind their newline
    while (seam := _SEAM.search(data, at)) is not None:
        at = seam.end()
        if at == len(data) or _TIMED.match(data, seam.start()):
            yield from _open_or_cut(data, at)
            continue
        start, first_end = at, data.find(b"\n", at) + 1 or len(data)
        timed = _TIMED.search(data, first_end - 1)
        at = len(data) if timed is None else timed.start()
        floor = max(0, first_end - LONGEST)
        last = data[max(data.rfind(b"\n", start, at) + 1, start, at - 4 * LONGEST) : at].lower()
        # What a client made has `%0a` in its request; what it made too long for that has no tail.
        if TAIL in last and b"%0a" not in last:
            if said is None:
                said = [own.span() for own in _OF_AN_APPLICATION.finditer(data) if TAIL not in own[3]]
            first = bisect_left(said, (max(floor, ended),))
            if first < len(said) and said[first][0] < start:
                floor, ended = said[first][1], at
        if floor < start:
            yield floor, start


def _open_or_cut(data: bytes, end: int) -> Iterator[tuple[int, int]]:
    """About a line that ends there, and not with a quote."""
    start = data.rfind(b"\n", max(0, end - 4 * LONGEST), end - 1) + 1
    line = data[start:end]
    if len(line) < LONGEST and TAIL not in line and line.count(b'"') % 2:
        yield end, start + LONGEST
    whole = end - LONGEST
    if 0 <= whole < start and RECORD.match(data, whole):
        yield whole, end


def _with_two_tails(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while (both := _TWO_TAILS.search(data, at)) is not None:
        at = data.find(b"\n", both.end()) + 1 or len(data)
        yield max(0, at - LONGEST), at


def _with_newlines(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while (newline := _NEWLINE.search(data, at)) is not None:
        at = data.find(b"\n", newline.end()) + 1 or len(data)
        start = data.rfind(b"\n", max(0, newline.start() - 4 * LONGEST), newline.start()) + 1
        record = RECORD.match(data, start)
        if record is not None and TAIL in record[3] and kind_of(record[2], record[3].partition(TAIL)[0]) is None:
            yield max(0, at - LONGEST), at
