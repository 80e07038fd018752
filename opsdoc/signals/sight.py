"""What opsdoc itself can and cannot see on a box, and whether a blind spot could change a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Observation, Severity, Unseen, measure


class Sight(Observation):
    """Something that opsdoc looks at, whether it can be seen here, and the command that would change that."""

    kind: ClassVar[str] = "sight"
    visible: bool = measure("visible", "", "main")
    state: str = measure("here", "", "line")
    needed: bool = measure("can change a verdict")
    serves: str = measure("serves")
    change: str | None = measure("to change it", "command")


class Limits(NamedTuple):
    """Sight has no limits: something is visible or it is not."""


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """UNKNOWN while something that could change a verdict cannot be seen, else OK; helpers never count."""
    sights = [o for o in observations if isinstance(o, Sight)]
    blind = [s for s in sights if s.needed and not s.visible]
    if blind:
        changes = tuple(dict.fromkeys(s.change for s in blind if s.change))
        yield Finding(
            rule="sight.blind",
            key="sight.blind:" + ",".join(s.subject for s in blind),
            severity=Severity.UNKNOWN,
            subject="opsdoc",
            summary="opsdoc does not see everything here: " + "; ".join(f"{s.subject} ({s.state})" for s in blind),
            evidence=tuple(s.id for s in blind),
            next_step=changes[0]
            if changes
            else "nothing opsdoc could run opens them: a sandbox or a security module of this kernel keeps them closed",
            by_hand=changes[1:],
        )
    elif sights:
        needed = [s for s in sights if s.needed]
        yield Finding(
            rule="sight.clear",
            key="sight.clear:opsdoc",
            severity=Severity.OK,
            subject="opsdoc",
            summary=f"opsdoc sees {_and([s.subject for s in needed])} here",
            evidence=tuple(s.id for s in needed),
        )


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
