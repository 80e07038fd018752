"""A probe as a command: its own options and the ones all runs share; all is checked before anything is asked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opsdoc import engine
from opsdoc.commands.cli import Given, Spec, command_from
from opsdoc.commands.running import check, perform, prepare, shared
from opsdoc.commands.values import resolve
from opsdoc.options import Param
from opsdoc.probes import Probe
from opsdoc.recording import ReplayHost


def command_of(probe: Probe) -> Any:
    """The probe as typer runs it."""
    own, others = probe.params, shared(probe.timeout)
    return command_from(
        Spec(
            name=probe.name.rpartition(".")[2],
            sentence=probe.help,
            example=probe.example,
            details=(inspect.getdoc(probe.run) or "").partition("\n")[2].strip(),
            params=(*own, *others),
            limits=_limit_rows(probe),
            run=lambda given: _run(probe, own, others, given),
        )
    )


def _run(probe: Probe, own: Sequence[Param], others: Sequence[Param], given: Given) -> int:
    prepared = prepare(probe.name.replace(".", " "), others, given)
    recorded = _recorded(prepared.options["replay"])
    arguments = resolve(own, prepared.sources._replace(recorded=recorded))
    check(prepared.options, arguments.get("window"))
    return perform(prepared, limit_names(probe), lambda settings: engine.run(probe, arguments, settings, prepared.stop))


def limit_names(probe: Probe) -> list[str]:
    """The limits that can be set for a probe: `signal.field`."""
    return [f"{signal}.{name}" for signal, known in probe.limits.items() for name in known._fields]


def _limit_rows(probe: Probe) -> list[tuple[str, str]]:
    """The limits of a probe with their defaults and sources."""
    rows = []
    for name in limit_names(probe):
        signal, _, field = name.partition(".")
        limit = getattr(probe.limits[signal], field)
        never = "never" if limit.crit is None else f"{limit.crit:g}"
        rows.append((f"{name}={limit.warn:g}:{never}", f"{limit.unit}: {limit.source}"))
    return rows


def _recorded(replay: Path | None) -> Mapping[str, Any]:
    """The options that a recording was made with: the questions depend on them."""
    return {} if replay is None else ReplayHost(replay).options
