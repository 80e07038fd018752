"""What was read of the access logs, what their format lacks, and the `log_format` line that would tell more."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, measure
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.peers import UpstreamGroup

# What a log must have to tell which server an attempt was on; what it should have, and since which version there is it.
NEEDED = ("upstream_addr", "upstream_status")
_FIELDS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("rt", "request_time", (0,)),
    ("ua", "upstream_addr", (0,)),
    ("us", "upstream_status", (0,)),
    ("urt", "upstream_response_time", (0,)),
    ("uct", "upstream_connect_time", (1, 9, 1)),
    ("uht", "upstream_header_time", (1, 7, 10)),
    ("cs", "upstream_cache_status", (0,)),
    ("lrs", "limit_req_status", (1, 17, 6)),
    ("lcs", "limit_conn_status", (1, 17, 6)),
)
TELLING = tuple(variable for _, variable, _ in _FIELDS)
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)


class AccessLogRead(Observation):
    """One access log: how much of it was read and understood."""

    kind: ClassVar[str] = "access_log"
    rows: int | Unknown = measure("lines", "count", "main", default=0)
    unread: int | Unknown = measure("lines not understood", "count", "line", default=0)
    format: str = measure("format", "", "line", default="combined")
    missing: tuple[str, ...] = measure("variables it lacks", default=())
    bytes: int | Unknown = measure("read", "bytes", default=0)
    first: str | None = measure("from", "time")
    last: str | None = measure("to", "time")
    capped: bool = measure("only the newest part was read", default=False)
    log_format: str | None = measure("log_format that tells more", "command")
    place: str | None = measure("configured at")
    configured: bool = measure("a configuration was read with it", default=True)

    @property
    def unread_share(self) -> float:
        """Of all lines those that are not of the format."""
        if isinstance(self.rows, Unknown) or isinstance(self.unread, Unknown):
            return 0.0
        return self.unread / (self.rows + self.unread) if self.unread else 0.0


class Limits(NamedTuple):
    """From which share of lines that are not understood on it matters."""

    unread: Limit = Limit(
        0.01, None, "ratio", "a cut or mixed line is normal after a rotation; one in a hundred is not"
    )
    foreign: Limit = Limit(0.5, None, "ratio", "most lines are of another format than the configuration says")


def log_format_line(
    name: str, text: str = COMBINED, escape: str = "default", version: tuple[int, ...] | None = None
) -> str:
    """The directive that makes of a format one with everything that can be judged, as `NAME_upstream`.

    Text without a line break, as the parser joins it; only variables that this version of nginx has are added (an
    unknown one keeps nginx from starting); where the version is not known, those that every version since 1.17.6 has.
    """
    whole = telling_text(text, version)
    quoted = "'" + whole.replace("\\", "\\\\").replace("'", "\\'") + "'"
    how = "" if escape == "default" else f" escape={escape}"
    return f"log_format {re.sub(r'[^A-Za-z0-9_]', '_', name)}_upstream{how} {quoted};"


def telling_text(text: str = COMBINED, version: tuple[int, ...] | None = None) -> str:
    """The text of a format with everything that can be judged, see log_format_line."""
    has = version or (1, 17, 6)
    new = [(key, variable) for key, variable, since in _FIELDS if has >= since and not _uses(text, variable)]
    if text.rstrip().endswith("}"):  # JSON: the fields go before the brace that ends it
        body = text.rstrip()[:-1].rstrip().rstrip(",")
        return body + "".join(f',"{variable}":"${variable}"' for _, variable in new) + "}"
    return " ".join([text, *(f'{key}="${variable}"' for key, variable in new)])


def _uses(text: str, variable: str) -> bool:
    return re.search(rf"\$(?:{variable}(?![a-z0-9_])|\{{{variable}\}})", text) is not None


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Logs that cannot tell, that were not understood, or were read in part; and what was read."""
    logs = [o for o in observations if isinstance(o, AccessLogRead)]
    proxied = any(isinstance(o, UpstreamGroup) for o in observations)
    poor = [log for log in logs if (proxied or not log.configured) and set(NEEDED) & set(log.missing)]
    poor = [log for log in poor if limits.foreign.grade(log.unread_share) is Severity.OK]
    if poor:
        yield _says_too_little(poor, of=len(logs))
    if proxied and not logs:
        yield _none_read(unseen)
    for log in logs:
        yield from _not_understood(log, limits)
    capped = [log for log in logs if log.capped]
    if capped:
        yield _in_part(capped)
    read = [log for log in logs if isinstance(log.rows, int) and log not in poor]
    read = [log for log in read if limits.unread.grade(log.unread_share) is Severity.OK]
    if read:
        yield _read(read)


def _says_too_little(logs: Sequence[AccessLogRead], *, of: int) -> Finding:
    first = logs[0]
    lacks = [name for name in first.missing if name in NEEDED]
    where = f" ({first.place})" if first.place else ""
    others = f" and {number(len(logs) - 1, 'other')}" if len(logs) > 1 else ""
    line = first.log_format or log_format_line(first.format)
    name = line.split()[1] if len(line.split()) > 1 else "NAME"
    scope = "which server failed is" if len(logs) == of else "for a part of the requests which server failed is"
    return Finding(
        rule="log.no-upstream",
        key="log.no-upstream:nginx",
        severity=Severity.WARNING,
        subject=first.subject,
        summary=f"{scope} judged by error log and probe alone: format {first.format} of {first.subject}{where}{others} "
        f"lacks {listed([f'${name}' for name in lacks])}; a server that answers 5xx or slowly is not seen",
        evidence=tuple(log.id for log in logs[:5]),
        confidence="configuration",
        next_step=f"add in http: {line} and use it: access_log {first.subject} {name};",
        by_hand=(f"tail -n 2 {shlex.quote(first.subject)}",) if first.subject.startswith("/") else (),
    )


def _none_read(unseen: Sequence[Unseen]) -> Finding:
    denied = next((one for one in unseen if one.reason == "denied" and one.hint), None)
    return Finding(
        rule="log.none",
        key="log.none:nginx",
        severity=Severity.WARNING,
        subject="access log",
        summary="no access log was read: which server failed is judged by error log and probe alone; a server that "
        "answers 5xx or slowly is not seen",
        next_step=denied.hint if denied else "write an access_log with the upstream variables, or name one: --log FILE",
        by_hand=("nginx -V 2>&1 | grep -o 'http-log-path=[^ ]*'",),
    )


def _not_understood(log: AccessLogRead, limits: Limits) -> Iterator[Finding]:
    share = log.unread_share
    if limits.unread.grade(share) is Severity.OK:
        return
    foreign = limits.foreign.grade(share) is not Severity.OK
    where = f" ({log.place})" if log.place else ""
    which = f"the format {log.format} that is configured for it" if log.configured else f"the format {log.format}"
    unread = log.unread if isinstance(log.unread, int) else 0
    yield Finding(
        rule="log.other-format" if foreign else "log.unread",
        key=f"{'log.other-format' if foreign else 'log.unread'}:{log.subject}",
        severity=Severity.UNKNOWN if foreign else Severity.WARNING,
        subject=log.subject,
        summary=f"{log.subject} is not written in {which}{where}: {percent(share)} of its lines are different"
        if foreign
        else f"{number(unread, 'line')} of {log.subject} ({percent(share)}) are not of the format {log.format}{where}, "
        "and were left out",
        evidence=(log.id,),
        threshold=limits.foreign.crossed("access_log.foreign", share)
        if foreign
        else limits.unread.crossed("access_log.unread", share),
        next_step="see which access_log writes to it: the file was changed after nginx was started, or several formats "
        "go to one file"
        if log.configured
        else "say how it is written: --log-format with the text of its log_format, or --conf with the configuration",
        by_hand=(f"tail -n 3 {shlex.quote(log.subject)}",),
    )


def _in_part(logs: Sequence[AccessLogRead]) -> Finding:
    first = logs[0]
    since = f", from {first.first} on" if first.first else ""
    return Finding(
        rule="log.capped",
        key="log.capped:nginx",
        severity=Severity.OK,
        subject=first.subject,
        summary=f"of {listed([log.subject for log in logs])} only the newest lines of the window were read{since}",
        evidence=tuple(log.id for log in logs[:5]),
        next_step="look at less time: --since 1m",
    )


def _read(logs: Sequence[AccessLogRead]) -> Finding:
    lines = sum(log.rows for log in logs if isinstance(log.rows, int))
    return Finding(
        rule="log.read",
        key="log.read:nginx",
        severity=Severity.OK,
        subject="access log",
        summary=f"{number(lines, 'line')} of {number(len(logs), 'access log')} read",
        evidence=tuple(log.id for log in logs[:5]),
    )
