"""Words and findings that both signals of a database share: rates, servers, sessions."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.model import Finding, Limit, Observation, Severity, Threshold, Unknown
from opsdoc.signals.amounts import listed
from opsdoc.signals.cache_words import size

PRODUCTS = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def rate(octets: float) -> str:
    """`1.2 MiB/s`, without a sign."""
    return f"{size(abs(octets))}/s"


def window(seconds: float | None) -> str:
    """` in 2.0 s`, the window of a count, or nothing."""
    return "" if not seconds else f" in {seconds:.1f} s" if seconds < 10 else f" in {seconds:.0f} s"


def looks(seconds: float | None) -> str:
    """What a trend rests on."""
    return f"2 looks {seconds:.1f} s apart" if seconds else "one look, so no trend"


def who(user: str, application: str = "", client: str = "") -> str:
    """`app (orders) from 10.0.0.7`, as far as it is known."""
    named = f"{user or 'nobody known'}{f' ({application})' if application and application != user else ''}"
    return f"{named} from {client}" if client else named


def reasons(values: Sequence[object], most: int = 2) -> str:
    """Why those that are unknown are, each reason once."""
    return listed(list(dict.fromkeys(value.reason for value in values if isinstance(value, Unknown))), most)


def cited(*observations: Observation | None) -> tuple[str, ...]:
    """The observations as evidence, each once."""
    return tuple(dict.fromkeys(one.id for one in observations if one is not None and one.id))


def crossed(limit: Limit, name: str, value: float) -> Threshold | None:
    """The threshold where it was crossed; `name` is `signal.field`."""
    return limit.crossed(name, value) if limit.grade(value) is not Severity.OK else None


def how_bad(finding: Finding) -> tuple[Severity, float]:
    """Worst first, and of those that crossed the same limit the one that crossed it furthest."""
    limit = finding.threshold
    return finding.severity, 0.0 if limit is None else limit.value / (limit.warn or 1.0)
