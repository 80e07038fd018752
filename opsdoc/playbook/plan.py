"""What a run of a playbook would do, in words: steps, conditions, options, and what is touched. Nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsdoc.playbook import parameters
from opsdoc.playbook.nouns import Parallel, Playbook, Step
from opsdoc.playbook.runner import Choice
from opsdoc.probes import load


def plan(playbook: Playbook, values: Mapping[str, Any], choice: Choice) -> Iterator[str]:
    """The lines that tell what would be done."""
    yield f"{playbook.name}: {playbook.title}"
    for name, text in parameters.shown(playbook, values).items():
        yield f"  {name} = {text}"
    for item in playbook.steps:
        if isinstance(item, Parallel):
            yield "at the same time:"
            for step in item.steps:
                yield from ("  " + line for line in _step(step, choice))
        else:
            yield from _step(item, choice)
    yield f"then {len(playbook.findings)} findings: " + ", ".join(one.id for one in playbook.findings)


def _step(step: Step, choice: Choice) -> Iterator[str]:
    why = choice.leaves_out(step.id)
    yield f"step {step.id}: opsdoc {step.probe.replace('.', ' ')}" + (f", not run: {why}" if why else "")
    if why:
        return
    if step.when is not None:
        yield f"  when {step.when.text}"
    for name, given in step.given.items():
        texts = given if isinstance(given, tuple) else (given,)
        yield f"  {name} = {', '.join(one.text for one in texts)}"
    probe = load(step.probe)
    timeout = probe.timeout if step.timeout is None else step.timeout
    yield f"  ends after {timeout:g} s" + (", may fail" if step.optional else "")
    yield "  reads /proc"
    yield from (f"  may touch {one}" for one in probe.touches)
