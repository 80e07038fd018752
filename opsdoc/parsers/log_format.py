"""nginx's log_format: its variables, where each stands in a line, how the time of a line is read, what to add to it."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

from opsdoc.model import Malformed

Escape = Literal["default", "json", "none"]

COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
MOST_TEXT = 16_384  # characters of a format; nginx's own directive is limited to 4,096 a word
MOST_VARIABLES = 200

_LISTS = {  # one value for each attempt: `A, B : C`
    "upstream_addr",
    "upstream_bytes_received",
    "upstream_bytes_sent",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_length",
    "upstream_response_time",
    "upstream_status",
}
_WORDS = set(  # written by nginx itself, or checked by it: never a space, whatever a client sends
    """binary_remote_addr body_bytes_sent bytes_sent connection connection_requests connection_time content_length
    gzip_ratio host hostname https is_args limit_conn_status limit_req_status nginx_version pid pipe
    proxy_protocol_port proxy_protocol_server_port realip_remote_port remote_port request_completion request_id
    request_length request_method scheme server_name server_port server_protocol ssl_cipher ssl_protocol
    ssl_session_reused upstream_cache_status http2 http3""".split()
)
_ADDRESSES = {"proxy_protocol_addr", "realip_remote_addr", "remote_addr", "server_addr"}
_SHAPES = {
    "msec": r"\d{1,12}\.\d{3}",
    "request_time": r"\d{1,9}\.\d{3}",
    "status": r"\d{3}",
    "time_iso8601": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
    "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    **dict.fromkeys(_ADDRESSES, r"(?:[0-9A-Fa-f.:]{1,45}|unix:|-|)"),
    # The bounds keep a line that is none of the format from being searched again and again.
    **dict.fromkeys(_LISTS, r'[^\s",|;]{0,256}(?:(?:, | : )[^\s",|;]{1,256}){0,64}'),
}
_ENDS = ' "\n|,;\t'  # none of these stands in a word
_TIMES: dict[str, Literal["local", "iso8601", "msec"]] = {
    "time_local": "local",
    "time_iso8601": "iso8601",
    "msec": "msec",
}
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_ERROR_TIME = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", re.ASCII)
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_EPOCH = date(1970, 1, 1).toordinal()


class Token(NamedTuple):
    """A piece of a format: literal text, or the name of a variable."""

    text: str
    variable: bool = False

    @property
    def free(self) -> bool:
        """Whether anything can stand there, spaces and an imitation of what follows included."""
        return self.variable and self.text not in _SHAPES and self.text not in _WORDS


Segment = tuple[Token, ...]


class TimeField(NamedTuple):
    """How the time of one line is found and read. All of it is JSON.

    `kind` is how it is written; `error` is the first of a line of the error log, which is local time: `offset` is
    what the zone is ahead of UTC, in seconds. The time stands behind `quotes` quotation marks, as group
    `time` of `pattern`.
    """

    kind: Literal["local", "iso8601", "msec", "error"]
    variable: str = ""
    quotes: int | None = None  # None: the line is not divided by them
    pattern: str = ""
    escape: str = "default"
    offset: int = 0

    def read(self, line: bytes) -> float | None:
        """Unix time of a line, with or without its newline; None where it has none. The line may be cut off after."""
        if self.kind == "error":
            return self.value(line[:19])
        line = line.rstrip(b"\n")
        if self.escape == "json":
            line = unescaped(line)
        if self.quotes is not None:
            parts = line.split(b'"', self.quotes + 1)
            if len(parts) <= self.quotes:
                return None
            line = parts[self.quotes]
        match = _compiled(self.pattern).fullmatch(line)
        return None if match is None else self.value(match["time"])

    def value(self, text: bytes) -> float | None:
        """Unix time of such a text; None where there is no such day or month."""
        try:
            if self.kind == "msec":
                return float(text) if re.fullmatch(rb"\d{1,12}\.\d{3}", text, re.ASCII) else None
            if self.kind == "error":
                if _ERROR_TIME.fullmatch(text) is None:
                    return None
                return _seconds(text[:4], int(text[5:7]), text[8:10], text[11:]) - self.offset
            if self.kind == "iso8601":
                at = _seconds(text[:4], int(text[5:7]), text[8:10], text[11:19])
                return at - _ahead(text[19:].replace(b":", b""))
            at = _seconds(text[7:11], _MONTHS[text[3:6]], text[:2], text[12:20])
            return at - _ahead(text[21:])
        except (ValueError, KeyError):
            return None


ERROR_LOG_TIME = TimeField("error")


class LogFormat(NamedTuple):
    """A log_format as its lines are read.

    `segments` are what stands between its quotation marks: no variable can hold one of those, for nginx escapes them.
    With `escape=none` it does not; then the whole line is one segment.
    `forgeable` are the variables that a client can imitate, because its own text stands on both sides of them in one
    segment, or because nothing is escaped.
    """

    text: str
    escape: Escape
    variables: tuple[str, ...]
    segments: tuple[Segment, ...]
    time: TimeField | None
    forgeable: tuple[str, ...]

    @property
    def quoted(self) -> bool:
        """Whether lines can be divided at their quotation marks."""
        return len(self.segments) > 1


def compile_format(text: str, escape: str = "default") -> LogFormat:
    """A format from its text, the words of the directive joined, and its `escape=` parameter.

    Raises Malformed where it holds no variable, has a `$` that names none, holds a line break, or is too long.
    """
    if escape not in {"default", "json", "none"}:
        raise Malformed(f"log_format: no such escape: {escape[:40]!r}")
    if len(text) > MOST_TEXT or "\n" in text:
        raise Malformed(f"log_format is too long, or of several lines: {text[:80]!r}")
    tokens = _tokens(
        unescaped(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
        if escape == "json"
        else text
    )
    names = tuple(dict.fromkeys(token.text for token in tokens if token.variable))
    if not 1 <= len(names) <= MOST_VARIABLES:
        raise Malformed(f"log_format has no variable, or more than {MOST_VARIABLES}: {text[:80]!r}")
    segments = (tuple(tokens),) if escape == "none" else _segments(tokens)
    forgeable = _forgeable(segments)
    if escape == "none" and any(token.free for token in tokens):
        forgeable = names
    how: Escape = "json" if escape == "json" else "none" if escape == "none" else "default"
    return LogFormat(text, how, names, segments, _time(segments, how, forgeable), forgeable)


def shapes(segment: Segment, ends: str) -> list[str]:
    """A regular expression for each token of a segment, in which none of `ends` stands: quotation mark and line break.

    Together they take linear time. Of several texts that clients write, only the last is searched from its end; the
    ones before it end where what follows them stands first. Names of helper groups begin with an underscore.
    """
    if ends == '"' and len(segment) == 1 and segment[0].variable:
        return ['[^"]*']
    last = max((place for place, token in enumerate(segment) if token.free), default=-1)
    made = []
    for place, token in enumerate(segment):
        after = segment[place + 1] if place + 1 < len(segment) else Token(ends)
        if not token.variable:
            made.append(re.escape(token.text))
        elif token.free and place == last:
            made.append(f"[^{ends}]*")
        elif token.free:
            # What is matched inside a lookahead is not tried again: an atomic group, which Python has since 3.11.
            literal = "" if after.variable else re.escape(after.text)
            made.append(rf'(?=(?P<_{place}>[^"\n]*?){literal})(?P=_{place})')
        elif token.text in _SHAPES:
            made.append(_SHAPES[token.text])
        elif not after.variable and after.text[0] in _ENDS and after.text != '"\n':
            made.append(f"[^{after.text[0]}]*")  # one excluded character is several times as fast as two
        else:
            made.append(rf'[^ "\n{"" if after.variable else re.escape(after.text[0])}]*')
    return made


def ends_of(segments: tuple[Segment, ...], number: int) -> str:
    """What cannot stand in a segment. Only in the last one a line break must be said, for it is read to its end."""
    if number < len(segments) - 1:
        return '"'
    return '"\n' if len(segments) > 1 else "\n"


def unescaped(data: bytes) -> bytes:
    r"""JSON text in which `\\` and `\"` are one control byte each: what is left of quotation marks is the format's.

    nginx writes no control bytes there. `escaped` is the way back.
    """
    return data.replace(b"\\\\", b"\x01").replace(b'\\"', b"\x02") if b"\\" in data else data


def escaped(value: bytes) -> bytes:
    """A value as it stands in the log."""
    return value.replace(b"\x02", b'\\"').replace(b"\x01", b"\\\\")


# ── how it is done ───────────────────────────────────────────────────────────────────────────────


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > at:
            tokens.append(Token(text[at : match.start()]))
        tokens.append(Token(match[1] or match[2], variable=True))
        at = match.end()
    if at < len(text):
        tokens.append(Token(text[at:]))
    if any("$" in token.text for token in tokens if not token.variable):
        raise Malformed(f"log_format has a $ that names no variable: {text[:80]!r}")
    return tokens


def _segments(tokens: list[Token]) -> tuple[Segment, ...]:
    segments: list[list[Token]] = [[]]
    for token in tokens:
        if token.variable:
            segments[-1].append(token)
            continue
        for number, literal in enumerate(token.text.split('"')):
            if number:
                segments.append([])
            if literal:
                segments[-1].append(Token(literal))
    return tuple(map(tuple, segments))


def _forgeable(segments: tuple[Segment, ...]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for segment in segments:
        free = [place for place, token in enumerate(segment) if token.free]
        if len(free) > 1:
            names |= {token.text: None for token in segment[free[0] : free[-1]] if token.variable and not token.free}
    return tuple(names)


def _time(segments: tuple[Segment, ...], escape: Escape, forgeable: tuple[str, ...]) -> TimeField | None:
    """The first time that a client cannot imitate, else the first."""
    found = [
        (token.text in forgeable, number, place)
        for number, segment in enumerate(segments)
        for place, token in enumerate(segment)
        if token.text in _TIMES and token.variable
    ]
    if not found:
        return None
    _, number, place = min(found)
    segment = segments[number]
    name = segment[place].text
    made = shapes(segment, ends_of(segments, number))
    made[place] = f"(?P<time>{_SHAPES[name]})"
    if not any(token.free for token in segment[:place]):
        made[place + 1 :] = [r"[^\n]*"]  # what follows may have been cut off
    return TimeField(_TIMES[name], name, None if len(segments) == 1 else number, "".join(made), escape)


@lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("utf-8", "surrogateescape"), re.ASCII)


@lru_cache(64)
def _day(year: int, month: int, day: int) -> int:
    """The start of a day, in unix time."""
    return 86_400 * (date(year, month, day).toordinal() - _EPOCH)


def _seconds(year: bytes, month: int, day: bytes, clock: bytes) -> float:
    """Unix time of a date and `HH:MM:SS`, both in UTC."""
    hours, minutes, seconds = clock.split(b":")
    return float(_day(int(year), month, int(day)) + 3600 * int(hours) + 60 * int(minutes) + int(seconds))


def _ahead(zone: bytes) -> int:
    """The seconds that `+0530` is ahead of UTC."""
    ahead = 3600 * int(zone[1:3]) + 60 * int(zone[3:5])
    return -ahead if zone[:1] == b"-" else ahead
