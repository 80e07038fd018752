"""How to see it in each product: one decorated generator per file, found by its path, imported when it is run."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opsdoc.model import Finding, Observation, Total, Unseen, Window
from opsdoc.options import Param, params_of

Item = Observation | Unseen | Total | Window


class Judge(Protocol):
    """A signal's module: its limits and the pure function that judges by them."""

    __name__: str
    Limits: type[Any]

    def judge(self, observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Any) -> Iterator[Finding]:
        """What the facts of one invocation mean."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """A way to see something: a generator of what it saw, and the judges of that.

    `touches` says what it does to others beyond reading /proc, for those who want to know before they run it.
    `observes` are the kinds of what it yields: what a playbook's expressions see of it. `precedence` ranks rules of
    equal severity: the first is the headline.
    """

    name: str
    run: Callable[..., Iterator[Item]]
    judges: tuple[Any, ...]
    observes: tuple[type[Observation], ...]
    precedence: tuple[str, ...]
    example: str
    timeout: float
    touches: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """One sentence: the first line of the docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    @property
    def params(self) -> tuple[Param, ...]:
        """The options, read from the signature."""
        return params_of(self.run)

    @property
    def limits(self) -> dict[str, Any]:
        """Each judge's default limits, by the name of its signal."""
        return {signal_of(judge): judge.Limits() for judge in self.judges}


def probe(
    *,
    judges: tuple[Any, ...],
    observes: tuple[type[Observation], ...],
    example: str,
    precedence: tuple[str, ...] = (),
    timeout: float = 30.0,
    touches: tuple[str, ...] = (),
) -> Callable[[Callable[..., Iterator[Item]]], Probe]:
    """Make a generator `(host, *, option, …)` a probe named after its module's path."""

    def made(run: Callable[..., Iterator[Item]]) -> Probe:
        name = run.__module__.removeprefix(f"{__name__}.").replace("_", "-")
        return Probe(name, run, judges, observes, precedence, example, timeout, touches)

    return made


def names() -> tuple[str, ...]:
    """The names of all probes, from the files' paths alone."""
    found = pkgutil.walk_packages(__path__, f"{__name__}.")
    return tuple(sorted(m.name.removeprefix(f"{__name__}.").replace("_", "-") for m in found if not m.ispkg))


def load(name: str) -> Probe:
    """Import the one probe of that name."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    found: Probe = next(value for value in vars(module).values() if isinstance(value, Probe))
    return found


def signal_of(judge: Judge) -> str:
    """The name of a judge's signal, as `--limit signal.field=…` spells it."""
    return judge.__name__.rpartition(".")[2]


def limit_names(probe: Probe) -> dict[str, Any]:
    """Every limit of a probe as `signal.field`, with its default."""
    return {
        f"{signal}.{name}": getattr(limits, name) for signal, limits in probe.limits.items() for name in limits._fields
    }
