"""The clients behind a backlog that stands still: which of them, since when, and in which code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from opsdoc.model import known
from opsdoc.signals.amounts import duration
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.consumer_facts import HALTED, Consumer, by_hand, waits_for, where


class Proof(NamedTuple):
    """The client that is proven to hold a backlog up, in words, and what to do about it.

    `since` is how long it has consumed nothing, in seconds; `ordered` says that it has one message in hand, behind
    which all others wait.
    """

    words: str
    since: float | None
    ordered: bool
    next_step: str
    by_hand: tuple[str, ...]
    evidence: tuple[str, ...]


def proof(backlog: Backlog, clients: Sequence[Consumer]) -> Proof | None:
    """What its clients prove: of those that stand still the worst, an owner of a queue that did not move before all."""
    owners = {part.owner for part in backlog.stalled if part.owner}
    still = [client for client in clients if client.state in HALTED]
    guilty = [client for client in still if client.client in owners] or still
    if not guilty:
        return None
    worst = max(guilty, key=lambda client: (bool(known(client.cached)), _since(client) or 0.0))
    more = f" and {len(guilty) - 1:,} more" if len(guilty) > 1 else ""
    return Proof(
        words=f"client {worst.client}{more}{_what(worst)}",
        since=_since(worst),
        ordered=worst.state == "blocked" and bool(known(worst.cached)),
        next_step=_next_step(worst),
        by_hand=by_hand(worst),
        evidence=tuple(client.id for client in (worst, *(one for one in guilty if one is not worst)) if client.id)[:3],
    )


def _since(client: Consumer) -> float | None:
    """How long it has consumed nothing; of one that fetches nothing, how long not even that."""
    return known(client.last_pull) if client.state == "not pulling" else known(client.since)


def _what(client: Consumer) -> str:
    if client.state == "not pulling":
        ago = _since(client)
        return " fetches nothing" + (f", for {duration(ago)} now" if ago is not None else "")
    cached, code = known(client.cached), where(client)
    held = f" holds {cached:,}" if cached else ""
    return f"{held}: {code}" if code else held


def _next_step(client: Consumer) -> str:
    if client.state == "not pulling":
        return f"see the log of {client.client} for flow control, a rebalance that does not end, or connection errors"
    if client.state == "blocked" and client.unlocked and not known(client.cached):
        return f"{client.client} does not get the lock of its queues: see which client held them before, and is it gone"
    return waits_for(client)
