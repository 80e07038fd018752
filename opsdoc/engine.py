"""Run a probe under a deadline, judge what it saw, and never hang or crash."""

from __future__ import annotations

import queue
import re
import resource
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from opsdoc import __version__, verdict
from opsdoc.clients import Live
from opsdoc.clients.proc import Machine
from opsdoc.host import Host, LiveHost
from opsdoc.model import (
    Cost,
    Finding,
    HostFacts,
    Interrupted,
    Observation,
    ProbeError,
    ProbeResult,
    Reason,
    Report,
    Severity,
    Status,
    TimedOut,
    Total,
    UsageError,
    Window,
)
from opsdoc.model import Unseen as Blind
from opsdoc.probes import Item, Probe, signal_of
from opsdoc.recording import RecordingHost, ReplayHost
from opsdoc.redact import Redactor
from opsdoc.stop import Stop

GRACE = 0.4  # seconds that an interrupted or late probe has to sum up: the contract allows half a second
BAD_USAGE = 64
INTERNAL = "opsdoc.internal"
_STATUS: Mapping[Reason, Status] = {"timeout": "timeout", "denied": "denied", "interrupted": "partial"}


class RecordingLostError(UsageError):
    """The recording could not be written, for want of space; the report must not be lost with it."""

    def __init__(self, text: str, report: Report) -> None:
        super().__init__(text)
        self.report = report


class Settings(NamedTuple):
    """What a run is told besides its probe's options. Durations are in seconds."""

    timeout: float = 30.0
    limits: Mapping[str, tuple[float, float]] = MappingProxyType({})
    record: Path | None = None
    replay: Path | None = None
    proc: Path = Path("/proc")
    may_write_target_files: bool = True
    again: str = "opsdoc"
    announce: Callable[[str], None] = lambda _text: None
    tell: Callable[[str], None] = lambda _text: None
    fail_on: Severity = Severity.WARNING  # lower severities exit 0
    exit_zero: bool = False

    def exit_code(self, severity: Severity) -> int:
        """The exit code of a verdict."""
        return 0 if self.exit_zero or severity < self.fail_on else severity.exit_code


class _Ended(NamedTuple):
    error: BaseException | None = None
    trace: str = ""


class Look(NamedTuple):
    """One probe, run to its end: what it came to, and the host that it asked."""

    result: ProbeResult
    facts: HostFacts
    host: Host
    arguments: Mapping[str, Any]
    cut_short: str | None

    def about(self) -> dict[str, Any]:
        """What a recording says of itself."""
        return {
            "tool": __version__,
            "probe": self.result.probe,
            "options": _plain(self.arguments),
            "cut_short": self.cut_short,
        }


def run(probe: Probe, arguments: Mapping[str, Any], settings: Settings, stop: Stop) -> Report:
    """Run one probe to a report.

    Ends by the timeout plus half a second with whatever was seen. Raises UsageError for what can be known before the
    target is asked; everything else is in the report.
    """
    began = time.monotonic()
    one = look(probe, arguments, settings, stop, _open(probe, settings))
    report = report_of(probe.name.replace(".", " "), (one.result,), (one,), settings, stop, time.monotonic() - began)
    if isinstance(one.host, RecordingHost) and settings.record is not None:
        try:
            one.host.save(settings.record, one.about())
        except UsageError as error:
            raise RecordingLostError(str(error), report._replace(exit_code=BAD_USAGE)) from None
    return report


def look(probe: Probe, arguments: Mapping[str, Any], settings: Settings, stop: Stop, host: Host) -> Look:
    """Run one probe on a host, and judge what it saw. Raises UsageError as `run` does."""
    judges = [(judge, verdict.limits(signal_of(judge), judge.Limits(), settings.limits)) for judge in probe.judges]
    seen = _Seen()
    facts = _look(host, probe, arguments, settings.timeout, stop, seen)
    return Look(_result(probe, host, seen, judges), facts, host, arguments, seen.cut_short)


def report_of(
    title: str, results: Sequence[ProbeResult], looks: Sequence[Look], settings: Settings, stop: Stop, wall: float
) -> Report:
    """A report of results; `looks` are those that were looked at for them, in the order of their beginning."""
    internal = any(unseen.reason == "internal" for result in results for unseen in result.unseen)
    redactions: Counter[str] = Counter()
    for host in {id(one.host.redactor): one.host for one in looks}.values():
        redactions.update(host.redactor.counts)
    severity = max((result.severity for result in results), default=Severity.UNKNOWN)
    return Report(
        title=title,
        version=__version__,
        host=looks[0].facts if looks else HostFacts(hostname="unknown"),
        started=looks[0].host.started if looks else now(),
        elapsed=looks[0].result.elapsed if len(looks) == 1 else round(wall, 3),
        results=tuple(results),
        cost=_cost(wall, [one.host for one in looks]),
        redactions=dict(sorted(redactions.items())),
        exit_code=stop.exit_code or (70 if internal else settings.exit_code(severity)),
        interrupted=stop.signal is not None,
    )


def now() -> str:
    """The time as reports tell it: RFC 3339, with the offset of this machine."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")


@dataclass(slots=True, eq=False, repr=False)
class _Seen:
    """What a probe has yielded so far, and how it ended."""

    observations: list[Observation] = field(default_factory=list)
    unseen: list[Blind] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    window: float | None = None
    lost: Finding | None = None
    status: Status = "ok"
    cut_short: str | None = None

    def cut(self, why: str) -> None:
        """The run was ended by the `timeout` or was `interrupted`: now, or when it was recorded."""
        self.cut_short = why
        self.status = "timeout" if why == "timeout" else "partial"

    def add(self, item: Item) -> None:
        match item:
            case Observation():
                self.observations.append(item.replaced(id=f"o{len(self.observations) + 1}"))
            case Total():
                self.totals[item.kind] = item.number
            case Window():
                self.window = item.seconds
            case Blind():
                self.unseen.append(item)

    def lose(self, subject: str, error: ProbeError) -> None:
        """The whole target is lost: what was yielded before stays, and the verdict is at least UNKNOWN."""
        self.unseen.append(error.unseen(subject))
        self.status = _STATUS.get(error.reason, "error")
        self.lost = Finding(
            rule=f"target.{error.reason}",
            key=f"target.{error.reason}:{subject}",
            severity=Severity.UNKNOWN,
            subject=subject,
            summary=f"{subject}: {error.detail}",
            next_step=error.hint or "see what the target says by hand",
        )


def _open(probe: Probe, settings: Settings) -> Host:
    if settings.replay is not None:
        host = ReplayHost(settings.replay)
        if host.probe != probe.name:
            raise UsageError(f"{settings.replay} is a recording of '{host.probe}': run opsdoc {host.probe} --replay")
        return host
    return live_host(settings)


def live_host(settings: Settings) -> LiveHost:
    """A host that looks now, and keeps what it sees where that is wanted."""
    live = Live(
        deadline=time.monotonic() + settings.timeout,
        redactor=Redactor(),
        proc=settings.proc,
        again=settings.again,
        may_write_target_files=settings.may_write_target_files,
        announce=settings.announce,
        tell=settings.tell,
    )
    return LiveHost(live, now()) if settings.record is None else RecordingHost(live, now())


def _look(host: Host, probe: Probe, arguments: Mapping[str, Any], timeout: float, stop: Stop, seen: _Seen) -> HostFacts:
    """Run the probe in a thread of its own until it ends, is late or is interrupted; take what it has yielded."""
    ends: queue.SimpleQueue[Stop | _Ended] = queue.SimpleQueue()
    stop.notify(ends)
    yielded: list[HostFacts | Item] = []
    threading.Thread(target=_work, args=(host, probe, arguments, yielded, ends), daemon=True, name="probe").start()
    if isinstance(host, ReplayHost) and host.cut_short is not None:
        seen.cut(host.cut_short)
    end = _await(ends, timeout)
    if not isinstance(end, _Ended):
        seen.cut("timeout" if end is None else "interrupted")
        host.stop(GRACE)
        end = _await(ends, GRACE)
    elif isinstance(host, LiveHost) and host.late:  # it was quicker than we to see that its time was over
        seen.cut("timeout")
    facts = HostFacts(hostname="unknown")
    for item in yielded[:]:  # a probe that is late may go on
        if isinstance(item, HostFacts):
            facts = item
        else:
            seen.add(item)
    if isinstance(end, _Ended):
        _end(seen, probe, end)
    else:
        host.abandon()
        late = TimedOut if seen.cut_short == "timeout" else Interrupted
        seen.lose(probe.name, late("no answer came before the end of the run"))
    host.stop(0)
    return facts


def _await(ends: queue.SimpleQueue[Stop | _Ended], seconds: float) -> Stop | _Ended | None:
    try:
        return ends.get(timeout=seconds)
    except queue.Empty:
        return None


def _work(
    host: Host,
    probe: Probe,
    arguments: Mapping[str, Any],
    yielded: list[HostFacts | Item],
    ends: queue.SimpleQueue[Stop | _Ended],
) -> None:
    ended = _Ended()
    try:
        yielded.append(HostFacts(**host.ask(Machine()).value))
        for item in probe.run(host, **arguments):
            yielded.append(item)  # noqa: PERF402 - what was yielded before a failure survives
    except BaseException as error:  # noqa: BLE001 - a bug of ours must end in a report, not in a hang
        ended = _Ended(error, host.redactor.text(traceback.format_exc()))
    ends.put(ended)


def _end(seen: _Seen, probe: Probe, ended: _Ended) -> None:
    match ended.error:
        case None:
            if seen.unseen and seen.status == "ok":
                seen.status = "partial"
        case UsageError() as error:
            raise error
        case ProbeError() as error:
            seen.lose(probe.name, error)
        case error:
            bug = f"{type(error).__name__} in opsdoc {__version__}"
            seen.status = "error"
            seen.unseen.append(Blind(subject=probe.name, reason="internal", detail=ended.trace))
            seen.lost = Finding(
                rule=INTERNAL,
                key=f"{INTERNAL}:{probe.name}",
                severity=Severity.UNKNOWN,
                subject=probe.name,
                summary=f"a bug in opsdoc ended the probe: {bug}",
                next_step="send this report and the recording made by the same command with --record case.tar.gz",
            )


def _result(probe: Probe, host: Host, seen: _Seen, judges: Sequence[tuple[Any, Any]]) -> ProbeResult:
    findings: list[Finding] = [] if seen.lost is None else [seen.lost]
    for judge, limits in judges:
        findings += judge.judge(seen.observations, seen.unseen, limits)
    return ProbeResult(
        probe=probe.name,
        step=None,
        targets=("localhost",),
        status=seen.status,
        started=host.started,
        elapsed=host.now(),
        window=seen.window,
        observations=tuple(seen.observations),
        totals=seen.totals,
        unseen=tuple(seen.unseen),
        findings=tuple(verdict.ranked(findings, probe.precedence)),
    )


def _cost(wall: float, hosts: Sequence[Host]) -> Cost:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        wall_seconds=round(wall, 3),
        cpu_seconds=round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 3),
        max_rss_bytes=max(_own_peak() or own.ru_maxrss, children.ru_maxrss) * 1024,
        pauses=tuple(pause for host in hosts for pause in host.pauses),
        target_files=tuple(file for host in hosts for file in host.target_files),
    )


def _own_peak() -> int | None:
    """The most memory that we had, in KiB; getrusage(2) counts that of whoever started us in, as it was before exec."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else None


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in arguments.items()}


def _plain_value(value: Any) -> Any:
    """An option's value as JSON: numbers stay, lists stay lists, paths become text."""
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else str(value)
