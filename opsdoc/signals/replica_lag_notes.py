"""What is true of a replica besides how late it is: cancelled readers, and writes that only it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opsdoc.model import Finding, known
from opsdoc.signals.amounts import number
from opsdoc.signals.db_words import crossed, window
from opsdoc.signals.replica_lag_case import Case, finding

if TYPE_CHECKING:
    from opsdoc.signals.replica_lag import Limits


def judge_notes(case: Case, limits: Limits) -> Iterator[Finding]:
    """Conflicts of the window, and transactions that the primary never had."""
    lag = case.lag
    conflicts, errant = known(lag.conflicts), known(lag.errant)
    if conflicts and (limit := crossed(limits.conflicts, "replica_lag.conflicts", conflicts)):
        total = known(lag.conflicts_total)
        yield finding(
            "replica.conflicts",
            case,
            limits.conflicts.grade(conflicts),
            f"{case.name} cancelled {number(conflicts, 'query', 'queries')} of its readers{window(lag.window_seconds)} "
            f"so that replay could go on{f', {total:,} since its statistics began' if total else ''}",
            "let those readers try again, or send long reports elsewhere; hot_standby_feedback or a longer "
            "max_standby_streaming_delay spare them, at the price of dead rows on the primary or of lag",
            limit,
        )
    if errant and (limit := crossed(limits.errant, "replica_lag.errant", errant)):
        yield finding(
            "replica.diverged",
            case,
            limits.errant.grade(errant),
            f"{case.name} has {number(errant, 'transaction')} that {case.source} never had: it was written to, and is "
            "no true copy",
            "find out who writes there and make it read only (read_only, super_read_only); look at these transactions "
            "in its binary log, then repair the rows or rebuild it before it may ever take over",
            limit,
        )
