"""Run a playbook: its steps in order or side by side, each probe under its deadline, then its findings across them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsdoc import engine
from opsdoc.engine import Look, Settings
from opsdoc.host import Host
from opsdoc.model import Finding, ProbeResult, Report, Severity, Unknown, UsageError
from opsdoc.playbook import judging, scope
from opsdoc.playbook.arguments import value as argument
from opsdoc.playbook.case import Case
from opsdoc.playbook.expressions import Expression, ExpressionError
from opsdoc.playbook.nouns import Parallel, Playbook, Step
from opsdoc.probes import Probe, load
from opsdoc.recording import RecordingHost, write_recording
from opsdoc.redact import MASK
from opsdoc.stop import Stop

LEAST = 0.2  # seconds: a step that has less is not begun


class Choice(NamedTuple):
    """Which steps are run: those named by `only`, if any, and not those named by `skip`."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def leaves_out(self, step: str) -> str | None:
        """Why a step is not run, or None."""
        if self.only and step not in self.only:
            return "it is not among those named by --only"
        return "it was left out by --skip" if step in self.skip else None


class Job(NamedTuple):
    """A step whose conditions hold and whose options are known."""

    step: Step
    probe: Probe
    arguments: Mapping[str, Any]
    timeout: float


@dataclass(slots=True)
class _Run:
    """A run under way."""

    settings: Settings
    stop: Stop
    choice: Choice
    case: Case | None
    ends: float  # of time.monotonic()
    started: str
    names: dict[str, Any]
    results: list[ProbeResult] = field(default_factory=list)
    looks: dict[str, Look] = field(default_factory=dict)


def run(
    playbook: Playbook, values: Mapping[str, Any], settings: Settings, stop: Stop, choice: Choice, case: Case | None
) -> Report:
    """Run a playbook to one report: the results of its steps, then those of its findings.

    `values` are the parameters in base units; `case` is what a replay answers from. It ends by the timeout plus half a
    second with whatever was seen. Where `settings.record` names a place, the case is written there.
    """
    began = time.monotonic()
    under_way = _Run(
        settings,
        stop,
        choice,
        case,
        ends=began + settings.timeout,
        started=engine.now() if case is None else case.started,
        names={"params": dict(values), "steps": {}},
    )
    elapsed = 0.0
    for item in playbook.steps:
        elapsed += _run_together(item.steps if isinstance(item, Parallel) else (item,), under_way)
    elapsed = round(elapsed, 3)
    judged = judging.result_of(playbook, under_way.names, under_way.results, under_way.started, elapsed)
    results = [*under_way.results, judged]
    looks = list(under_way.looks.values())
    report = engine.report_of(playbook.name, results, looks, settings, stop, time.monotonic() - began)
    report = report._replace(started=under_way.started, elapsed=elapsed)
    if settings.record is not None:
        try:
            write_recording(settings.record, _parts(playbook, values, under_way))
        except UsageError as error:
            raise engine.RecordingLostError(str(error), report._replace(exit_code=engine.BAD_USAGE)) from None
    return report


def _run_together(steps: Sequence[Step], under_way: _Run) -> float:
    """Run the steps that can be run, at the same time if there are several; the longest took so many seconds.

    The results stand in the order written.
    """
    prepared = [_prepare(step, under_way) for step in steps]
    jobs = [one for one in prepared if isinstance(one, Job)]
    looks: dict[str, Look | BaseException] = {}

    def work(job: Job) -> None:
        try:
            looks[job.step.id] = _look(job, under_way)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that can tell of it
            looks[job.step.id] = error

    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs[1:]]
    for thread in threads:
        thread.start()
    for job in jobs[:1]:
        work(job)
    for thread in threads:
        thread.join()
    for step, one in zip(steps, prepared, strict=True):
        if isinstance(one, Job):
            look = looks[step.id]
            if isinstance(look, BaseException):
                raise look
            under_way.looks[step.id] = look
            result = _named(look.result, step)
            under_way.names["steps"][step.id] = scope.seen(result, one.probe)
        else:
            result = one
            under_way.names["steps"][step.id] = scope.not_run(result.findings[0].summary, load(step.probe))
        under_way.results.append(result)
    return max(result.elapsed for result in under_way.results[-len(steps) :])


def _prepare(step: Step, under_way: _Run) -> Job | ProbeResult:
    """The step with its options, or the result that says why it is not run."""
    left = under_way.ends - time.monotonic()
    if left < LEAST and under_way.case is None:
        return _skipped(step, under_way, "no time was left for it", Severity.UNKNOWN)
    if refused := _refused(step, under_way):
        return refused
    probe = load(step.probe)
    arguments = {}
    for param in probe.params:
        given = step.given.get(param.name)
        value = param.default if given is None else argument(given, param, under_way.names)
        if isinstance(value, Unknown):
            return _skipped(step, under_way, f"its option {param.name} is unknown: {value.reason}", Severity.UNKNOWN)
        arguments[param.name] = value
    timeout = min(left, probe.timeout if step.timeout is None else step.timeout)
    return Job(step, probe, arguments, probe.timeout if under_way.case is not None else timeout)


def _refused(step: Step, under_way: _Run) -> ProbeResult | None:
    """The result of a step that is left out or not needed, or of which nobody knows whether it is."""
    if why := under_way.choice.leaves_out(step.id):
        return _skipped(step, under_way, why, Severity.OK)  # who leaves it out knows; what needs it is unknown
    if under_way.stop.signal is not None:
        return _skipped(step, under_way, "the run was interrupted before it", Severity.UNKNOWN)
    wanted = True if step.when is None else decide(step.when, under_way.names)
    if isinstance(wanted, Unknown):
        return _skipped(step, under_way, f"whether it is needed is unknown: {wanted.reason}", Severity.UNKNOWN)
    if not wanted:
        return _skipped(step, under_way, f"not needed: not {'' if step.when is None else step.when.text}", Severity.OK)
    return None


def decide(expression: Expression, names: Mapping[str, Any]) -> bool | Unknown:
    """A condition; what makes no sense at run time is unknown, never false."""
    try:
        return expression.decide(names)
    except ExpressionError as error:
        return Unknown(str(error))


def _look(job: Job, under_way: _Run) -> Look:
    settings = under_way.settings._replace(timeout=job.timeout)
    host: Host = engine.live_host(settings) if under_way.case is None else under_way.case.host(job.step.id, job.probe)
    return engine.look(job.probe, job.arguments, settings, under_way.stop, host)


def _named(result: ProbeResult, step: Step) -> ProbeResult:
    """The result as one of several: with its step, and ids that no other step has."""
    findings = [
        finding._replace(evidence=tuple(f"{step.id}.{one}" for one in finding.evidence)) for finding in result.findings
    ]
    if step.optional:
        lost = [finding for finding in findings if finding.rule.startswith("target.")]
        findings = [finding for finding in findings if finding not in lost] or [
            _note(step, f"optional, and not seen: {finding.summary}", Severity.OK) for finding in lost
        ]
    return result._replace(
        step=step.id,
        observations=tuple(one.replaced(id=f"{step.id}.{one.id}") for one in result.observations),
        findings=tuple(findings),
    )


def _skipped(step: Step, under_way: _Run, why: str, severity: Severity) -> ProbeResult:
    return ProbeResult(
        probe=step.probe,
        step=step.id,
        targets=(),
        status="skipped",
        started=under_way.started,
        elapsed=0.0,
        findings=(_note(step, why, severity),),
    )


def _note(step: Step, why: str, severity: Severity) -> Finding:
    return Finding(
        rule="step.skipped",
        key=f"step.skipped:{step.id}",
        severity=severity,
        subject=f"step {step.id}",
        summary=f"step {step.id}: {why}",
        next_step="" if severity is Severity.OK else "see what kept it from being run",
    )


def _parts(playbook: Playbook, values: Mapping[str, Any], under_way: _Run) -> dict[str, bytes]:
    """The case as files; a secret that a step was given is not kept."""
    secret = {values[spec.name] for spec in playbook.params if spec.type == "secret" and values[spec.name]}
    recordings = {}
    for name, one in under_way.looks.items():
        if isinstance(one.host, RecordingHost):
            about = one.about()
            options = {key: _without(secret, value) for key, value in about["options"].items()}
            recordings[name] = one.host.parts({**about, "options": options})
    return Case.parts_of(playbook, values, under_way.started, recordings)


def _without(secret: Collection[str], value: Any) -> Any:
    """An option without secrets: it may be a list of texts."""
    if isinstance(value, list):
        return [_without(secret, item) for item in value]
    return MASK if value in secret else value
