"""What nginx logged in the last minutes: attempts from its access logs, causes and limits from its error logs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from opsdoc.clients.logs import GzipLines, LogFiles, LogLines, LogWindow
from opsdoc.host import Host
from opsdoc.looks.log_windows import Reading, chunks
from opsdoc.looks.nginx_site import Site
from opsdoc.model import Denied, Malformed, ProbeError, Unreachable, Unseen, UsageError
from opsdoc.parsers import error_log
from opsdoc.parsers.access_log import Block
from opsdoc.parsers.error_log import ErrorTally
from opsdoc.parsers.log_format import COMBINED, ERROR_LOG_TIME, LogFormat, TimeField, compile_format
from opsdoc.parsers.nginx_nouns import AccessLog, Conf, ErrorLog, Format
from opsdoc.parsers.tally import Tally, read
from opsdoc.signals.access_log import NEEDED, TELLING, AccessLogRead, log_format_line, telling_text

_ELSEWHERE = ("syslog:", "stderr", "memory:")
_COMBINED = Format("combined", COMBINED)
_LAST_LINES = 256 << 10  # bytes at the end of a log, by which it is recognised
_NO_TIME = ERROR_LOG_TIME  # which no access log has: none of its lines is too old
_NAMED = "--log FILE --error-log FILE"


class Sources(NamedTuple):
    """The logs to read, the formats by their names, and the process below whose root they stand."""

    access: tuple[AccessLog, ...]
    errors: tuple[ErrorLog, ...]
    formats: Mapping[str, Format]
    root: int | None = None
    contained: bool = False  # their root is another than ours, and so may be their time zone
    configured: bool = True  # a configuration was read
    saved: bool = False  # the user named them: their window ends with their last line

    unseen: tuple[Unseen, ...] = ()


class Period(NamedTuple):
    """The window of the logs, in unix time; `zone` is what the error log's local time is ahead of UTC, in seconds."""

    since: float
    until: float
    zone: int

    def told(self, unix: float | None) -> str | None:
        """A time as reports tell it: RFC 3339."""
        if unix is None:
            return None
        return datetime.fromtimestamp(unix, timezone(timedelta(seconds=self.zone))).isoformat(timespec="seconds")


@dataclass(slots=True)
class Access:
    """What the access logs tell: attempts, what was read of each log, and what could not be."""

    tally: Tally
    logs: list[AccessLogRead] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def tells(self) -> bool:
        """Whether any log says which server an attempt was on."""
        return any(not set(NEEDED) & set(log.missing) for log in self.logs)


def sources(host: Host, site: Site, log: Sequence[Path], error_log: Path | None, log_format: str | None) -> Sources:
    """The logs that were named, else those of the configuration. A format that was named is that of all access logs."""
    conf = site.conf
    formats = {"combined": _COMBINED}
    if conf is not None:
        formats |= {one.name: one for one in conf.formats}
    if log_format is not None:
        formats["given"] = Format("given", log_format, "json" if log_format.lstrip().startswith("{") else "default")
    if log or error_log is not None:
        known = {one.path: one.format for one in (conf.access_logs if conf else ())}
        formats.setdefault("combined_upstream", Format("combined_upstream", telling_text()))
        access = tuple(
            AccessLog(str(path), "given" if log_format else known.get(str(path)) or _recognised(host, path, formats))
            for path in log
        )
        return Sources(
            access,
            () if error_log is None else (ErrorLog(str(error_log)),),
            formats,
            configured=conf is not None,
            saved=True,
        )
    if conf is None:
        return Sources((), (), formats)
    if site.is_dump:
        why = Unseen("its logs", "unsupported", "a saved configuration: its logs are not looked for here", _NAMED)
        return Sources((), (), formats, unseen=(why,))
    conf, nowhere = _found(conf)
    once = {(one.path, "given" if log_format else one.format): one for one in reversed(conf.access_logs)}
    access = _each_once([one._replace(format=name) for (_, name), one in reversed(once.items())], formats)
    errors = tuple({one.path: one for one in reversed(conf.error_logs)}.values())
    contained = site.master is not None and not site.master["own_root"]
    return Sources(access, errors, formats, site.root, contained, unseen=nowhere)


def _each_once(logs: Sequence[AccessLog], formats: Mapping[str, Format]) -> tuple[AccessLog, ...]:
    """The logs without those whose requests all stand in another, too, that tells as much: none is counted twice."""

    def tells(log: AccessLog) -> int:
        text = formats[log.format].text if log.format in formats else ""
        return sum(f"${name}" in text for name in TELLING)

    kept: list[AccessLog] = []
    for log in sorted(logs, key=tells, reverse=True):  # stable
        if not any(other.path in log.beside for other in kept if not other.path.startswith(_ELSEWHERE)):
            kept.append(log)
    return tuple(log for log in logs if log in kept)


def _found(conf: Conf) -> tuple[Conf, tuple[Unseen, ...]]:
    """The configuration without the logs that stand below a prefix which nobody knows."""
    access = tuple(one for one in conf.access_logs if _has_place(one.path))
    errors = tuple(one for one in conf.error_logs if _has_place(one.path))
    paths = [*(one.path for one in conf.access_logs), *(one.path for one in conf.error_logs)]
    lost = [path for path in paths if not _has_place(path)]
    why = f"{', '.join(lost)}: the folder that these begin at is not known"
    return conf._replace(access_logs=access, error_logs=errors), (
        (Unseen("its logs", "unsupported", why, _NAMED),) if lost else ()
    )


def _has_place(path: str) -> bool:
    return path.startswith(("/", "$", *_ELSEWHERE))


def _recognised(host: Host, path: Path, formats: Mapping[str, Format]) -> str:
    """The format of a log that no configuration names: the one that most of its last lines are of."""
    lines = b""
    with contextlib.suppress(ProbeError):  # it is told when the log is read
        lines = _last_lines(host, str(path))
    best, most = "combined", 0
    for name, one in formats.items():
        with contextlib.suppress(Malformed):
            rows = sum(block.rows for block in read(lines, compile_format(one.text, one.escape)))
            best, most = (name, rows) if rows > most else (best, most)
    return best


def _last_lines(host: Host, path: str) -> bytes:
    if path.endswith(".gz"):
        return host.ask(GzipLines(path, None, 0.0, _NO_TIME, _LAST_LINES)).value
    size = next(one["size"] for one in host.ask(LogFiles(path, None, 0.0)).value["files"] if one["path"] == path)
    return host.ask(LogLines(path, None, max(0, size - _LAST_LINES), size)).value


def period(host: Host, these: Sources, since: float) -> Period:
    """The last `since` seconds before now, or before the last line of logs that were saved."""
    now = datetime.fromisoformat(host.started)
    ahead = now.utcoffset()
    zone = 0 if ahead is None or these.contained else int(ahead.total_seconds())
    until = now.timestamp() + host.now()
    if these.saved:
        lasts = [found for log in these.access if (found := _last(host, log.path, _time(these, log))) is not None]
        lasts += [found for log in these.errors if (found := _last(host, log.path, _error_time(zone))) is not None]
        until = max(lasts, default=until)
    return Period(until - since, until, zone)


def _last(host: Host, path: str, time: TimeField | None) -> float | None:
    """When the last line of a log that the user named was written; what cannot be read was named wrongly."""
    if time is None:
        return None
    try:
        if path.endswith(".gz"):
            lines = host.ask(GzipLines(path, None, 0.0, time, _LAST_LINES)).value.split(b"\n")
            return next((found for line in reversed(lines) if (found := time.read(line)) is not None), None)
        last: float | None = host.ask(LogWindow(path, None, 0.0, time)).value["last"]
    except Denied:
        raise UsageError(f"cannot read {path}: not permitted") from None
    except Unreachable as error:
        raise UsageError(f"cannot read {error.detail}") from None
    except ProbeError:  # it is told when the log is read
        return None
    return last


def _error_time(zone: int) -> TimeField:
    return ERROR_LOG_TIME._replace(offset=zone)


def _time(these: Sources, log: AccessLog) -> TimeField | None:
    fmt = _compiled(these, log)
    return None if isinstance(fmt, Unseen) else fmt.time


def _compiled(these: Sources, log: AccessLog) -> LogFormat | Unseen:
    written = these.formats.get(log.format)
    if written is None:
        return Unseen(log.path, "malformed", f"its log_format '{log.format}' is not in the configuration")
    try:
        return compile_format(written.text, written.escape)
    except Malformed as error:
        return error.unseen(log.path)


# ── access logs ──────────────────────────────────────────────────────────────────────────────────


class Counting(Protocol):
    """What lines are counted by: how many were of their format, and how many were not."""

    rows: int
    unread: int

    def add(self, block: Block) -> None:
        """Count a block of lines."""
        ...


def access(host: Host, these: Sources, when: Period, lines: int, version: tuple[int, ...] | None) -> Access:
    """The access logs of the window, at most `lines` lines of them."""
    tally = Tally()
    logs, unseen = counted(host, these, when, lines, version, lambda _: tally)
    return Access(tally, logs, unseen)


def counted(
    host: Host,
    these: Sources,
    when: Period,
    lines: int,
    version: tuple[int, ...] | None,
    by: Callable[[AccessLog], Counting],
) -> tuple[list[AccessLogRead], list[Unseen]]:
    """Count at most `lines` lines of the window, those of each log by what `by` gives for it; what was read of each."""
    logs: list[AccessLogRead] = []
    blind: list[Unseen] = []
    left = lines
    for log in these.access:
        fmt = _unread(log) or _compiled(these, log)
        if isinstance(fmt, Unseen):
            blind.append(fmt)
            continue
        if fmt.time is None:
            blind.append(Unseen(log.path, "unsupported", f"format {log.format} has no time", "add $time_iso8601 to it"))
            continue
        reading, tally = Reading(log.path, left), by(log)
        rows, unread = tally.rows, tally.unread
        first = last = None
        for data in chunks(host, reading, fmt.time, when.since, these.root):
            for block in read(data, fmt):
                tally.add(block)
                first = min(filter(None, (first, block.first)), default=None)
                last = max(filter(None, (last, block.last)), default=None)
        left -= reading.lines
        blind += reading.unseen
        if reading.unseen and not reading.lines:
            continue
        missing = tuple(name for name in TELLING if name not in fmt.variables)
        logs.append(
            AccessLogRead(
                subject=log.path,
                rows=tally.rows - rows,
                unread=tally.unread - unread,
                format=log.format,
                missing=missing,
                bytes=reading.octets,
                first=when.told(first),
                last=when.told(last or reading.last),
                capped=reading.capped,
                log_format=log_format_line(log.format, fmt.text, fmt.escape, version) if missing else None,
                place=None if log.place is None else str(log.place),
                configured=these.configured,
            )
        )
    return logs, blind


def _unread(log: AccessLog) -> Unseen | None:
    """Why a log is not read at all."""
    if log.path.startswith(_ELSEWHERE):
        return Unseen(log.path, "unsupported", "this log goes to no file")
    if "$" in log.path:
        return Unseen(log.path, "unsupported", "the name of this log depends on the request", "opsdoc nginx --log FILE")
    return None


# ── error logs ───────────────────────────────────────────────────────────────────────────────────


def errors(host: Host, these: Sources, when: Period, lines: int) -> tuple[ErrorTally | None, list[Unseen]]:
    """The error logs of the window together; None where none could be read."""
    tallies: list[ErrorTally] = []
    unseen: list[Unseen] = []
    for log in these.errors:
        if log.path.startswith(_ELSEWHERE):
            unseen.append(Unseen(f"error log {log.path}", "unsupported", "this log goes to no file"))
            continue
        reading = Reading(log.path, lines)
        time = _error_time(when.zone)
        tallies += [
            error_log.parse(data, when.since, when.zone) for data in chunks(host, reading, time, when.since, these.root)
        ]
        unseen += reading.unseen
        if not reading.unseen and not reading.lines:  # an empty log tells that nothing happened
            tallies.append(error_log.parse(b""))
    return (error_log.together(tallies) if tallies else None), unseen
