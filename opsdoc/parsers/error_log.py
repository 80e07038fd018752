"""nginx's error.log: which servers failed and how, who was limited, and what the workers ran out of.

Clients can write into it (`error_record`), and so can whatever an application logs: names are to be compared with those
of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from opsdoc.parsers.error_message import FAILURES, Event, Kind, LimitHit, kind_of, text
from opsdoc.parsers.error_record import LONGEST, RECORD, TAIL, doubtful_spans

MOST_EVENTS = 20_000  # distinct ones: a configuration can name thousands of servers, a client any number of names
REST = "(others)"  # the subject of what comes after those


class Seen(NamedTuple):
    """How often, and when first and last: unix time, in whole seconds."""

    times: int
    first: float
    last: float


class ErrorTally(NamedTuple):
    """What stands in a part of an error log.

    `lines` are those that were counted, and `first` and `last` are their times; `older` were written before the window;
    `unread` begin with no time (the rest of a message with newlines, or another format); `doubtful` may be pieces of a
    message with newlines that a client sent.
    """

    lines: int
    unread: int
    doubtful: int
    older: int
    first: float | None
    last: float | None
    levels: Mapping[str, int]
    events: Mapping[Event, Seen]
    limits: Mapping[LimitHit, Seen]

    def failures(self) -> dict[str, dict[str, Seen]]:
        """The failed attempts: by address ("" where it is not known), then by cause."""
        found: dict[str, dict[str, Seen]] = {}
        for event, seen in self.events.items():
            if event.kind in FAILURES:
                found.setdefault(event.subject, {})[event.kind] = seen
        return found

    def of(self, kind: str) -> dict[str, Seen]:
        """The events of one kind by their subject."""
        return {event.subject: seen for event, seen in self.events.items() if event.kind == kind}


# What follows the first ` HTTP/1.1"` is nginx's own: no request can hold that before its end.
_NAMED = b'", upstream: "'
_ADDRESS = rb'(unix:[^":\n]{1,200}|[^"/\s]{1,255})'
_URL = rb"[a-z]{1,12}://%b" % _ADDRESS  # nginx makes one slash of two in what a client asks for, unless told not to
_SERVER = re.compile(_URL)
_UPSTREAM = re.compile(rb' HTTP/\d(?:\.\d)?"(?:, subrequest: "[^\n]{0,300}?")?, upstream: "%b' % _URL)
_UPSTREAM_0_9 = re.compile(rb'[^"\n]*, request: "[A-Z]+ [^ \n]*", upstream: "%b[^ \n]*"$' % _URL)  # no headers
_UPSTREAM_OF_STREAM = re.compile(rb'[^"\n]*, upstream: "%b", bytes from' % _ADDRESS)  # no request


class _Span:
    """How often, and first and last as the log writes them: as text they have the same order."""

    __slots__ = ("first", "last", "times")

    def __init__(self, when: bytes) -> None:
        self.times = 0
        self.first = self.last = when

    def add(self, when: bytes) -> None:
        self.times += 1
        if when > self.last:
            self.last = when
        elif when < self.first:
            self.first = when

    def seen(self, offset: int) -> Seen:
        return Seen(self.times, _unix(self.first, offset), _unix(self.last, offset))


class _Meaning:
    """One kind of line at one level: how many there were, and when, by the server that they name."""

    __slots__ = ("kind", "lines", "spans")

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self.lines = 0
        self.spans: dict[bytes, _Span] = {}


class _Count:
    """What is counted while lines are read."""

    def __init__(self) -> None:
        self._messages: dict[tuple[bytes, bytes], _Meaning] = {}  # the same few come again and again
        self._meanings: dict[tuple[bytes, Kind | None], _Meaning] = {}

    def add(self, when: bytes, level: bytes, line: bytes) -> None:
        tail = line.find(TAIL)
        message = line[: tail if tail >= 0 else LONGEST]
        meaning = self._messages.get((level, message)) or self._understood(level, message)
        meaning.lines += 1
        if meaning.kind is not None:
            spans = meaning.spans
            server = _server(line, tail) if meaning.kind.named else b""
            span = spans.get(server)
            if span is None:
                span = spans.setdefault(server if len(spans) < MOST_EVENTS else REST.encode(), _Span(when))
            span.add(when)

    def _understood(self, level: bytes, message: bytes) -> _Meaning:
        kind = kind_of(level, message)
        if kind is not None and len(self._meanings) >= MOST_EVENTS:
            what = kind.what
            rest = what._replace(subject=REST) if isinstance(what, Event) else what._replace(zone=REST)
            kind = Kind(rest, kind.named)
        meaning = self._meanings.setdefault((level, kind), _Meaning(kind))
        if len(self._messages) < MOST_EVENTS:
            self._messages[level, message] = meaning
        return meaning

    def levels(self) -> dict[str, int]:
        levels: dict[str, int] = {}
        for (level, _), meaning in self._meanings.items():
            _more(levels, level.decode("ascii"), meaning.lines)
        return levels

    def seen(self, offset: int) -> dict[Event | LimitHit, Seen]:
        """By what happened, and to whom."""
        found: dict[Event | LimitHit, Seen] = {}
        for meaning in self._meanings.values():
            for server, span in meaning.spans.items():
                if meaning.kind is not None:
                    what = meaning.kind.what
                    if server and isinstance(what, Event):
                        what = Event(what.kind, text(server))
                    found[what] = _both(found.get(what), span.seen(offset))
        return found


def parse(data: bytes, since: float | None = None, offset: int = 0) -> ErrorTally:
    """The tally of whole lines. It takes any bytes and never raises.

    `since` is unix time: what is older is not counted. nginx writes local time: `offset` is that of the machine, in
    seconds east of UTC. Where clocks are set back for the winter, an hour comes twice, and its times are ambiguous.
    """
    start = b"" if since is None else _written(since + offset)
    count = _Count()
    records = older = doubtful = 0
    whole = _Span(b"")
    doubts = iter([*doubtful_spans(data), (len(data), len(data) + 1)])
    begin, end = next(doubts)
    for record in RECORD.finditer(data):
        records += 1
        at = record.start()
        while at >= end:
            begin, end = next(doubts)
        when, level, line = record.groups()
        if at >= begin:
            doubtful += 1
        elif when < start:
            older += 1
        else:
            whole.first = whole.first or when
            whole.add(when)
            count.add(when, level, line)
    seen = count.seen(offset)
    return ErrorTally(
        lines=whole.times,
        unread=data.count(b"\n") + (data != b"" and not data.endswith(b"\n")) - records,
        doubtful=doubtful,
        older=older,
        first=_unix(whole.first, offset) if whole.times else None,
        last=_unix(whole.last, offset) if whole.times else None,
        levels=count.levels(),
        events={what: s for what, s in seen.items() if isinstance(what, Event)},
        limits={what: s for what, s in seen.items() if isinstance(what, LimitHit)},
    )


def together(tallies: Iterable[ErrorTally]) -> ErrorTally:
    """The tally of several parts of a log, or of several logs."""
    parts = list(tallies)
    firsts = [part.first for part in parts if part.first is not None]
    lasts = [part.last for part in parts if part.last is not None]
    levels: dict[str, int] = {}
    events: dict[Event, Seen] = {}
    limits: dict[LimitHit, Seen] = {}
    for part in parts:
        for level, count in part.levels.items():
            _more(levels, level, count)
        for event, seen in part.events.items():
            events[event] = _both(events.get(event), seen)
        for limit, seen in part.limits.items():
            limits[limit] = _both(limits.get(limit), seen)
    return ErrorTally(
        lines=sum(part.lines for part in parts),
        unread=sum(part.unread for part in parts),
        doubtful=sum(part.doubtful for part in parts),
        older=sum(part.older for part in parts),
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        levels=levels,
        events=events,
        limits=limits,
    )


def _more(counts: dict[str, int], name: str, number: int) -> None:
    counts[name] = counts.get(name, 0) + number


def _both(one: Seen | None, other: Seen) -> Seen:
    if one is None:
        return other
    return Seen(one.times + other.times, min(one.first, other.first), max(one.last, other.last))


def _server(line: bytes, tail: int) -> bytes:
    """The address, or the group of `no-live`, that a line names; b"" where it was cut before, or holds none."""
    if tail < 0:
        return b""
    end = 4 * LONGEST  # patched builds write longer ones
    at = line.find(_NAMED, tail, end)
    if at < 0:
        found = _UPSTREAM_OF_STREAM.match(line, tail, end)
    elif line[at - 9 : at - 3] == b" HTTP/":  # nearly always, and this is the quick way to see it
        found = _SERVER.match(line, at + len(_NAMED))
    else:
        found = _UPSTREAM.search(line, tail, end) or _UPSTREAM_0_9.match(line, tail, end)
    return b"" if found is None else found[1]


# ── times ────────────────────────────────────────────────────────────────────────────────────────

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


def _written(local: float) -> bytes:
    """A time as the log has it: as text it has the same order."""
    try:
        when = datetime(1970, 1, 1) + timedelta(seconds=local // 1)  # noqa: DTZ001 - local time has no zone here
    except (OverflowError, ValueError):
        return b"9" if local > 0 else b""
    return when.isoformat(" ").replace("-", "/").encode()


def _unix(text: bytes, offset: int) -> float:
    """Unix time of a time as the log has it. No date is refused: days that no month has are those of the next."""
    year, month, day, hour, minute, second = (int(part) for part in re.split(rb"[/ :]", text))
    days = date(max(year, 1), min(max(month, 1), 12), 1).toordinal() - _EPOCH + day - 1
    return float(days * _DAY + hour * 3600 + minute * 60 + second - offset)
