"""Lock chains: the session that all others wait for, and the request behind which even readers queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration, number
from opsdoc.signals.contention_facts import LockChain, Waiter
from opsdoc.signals.db_words import cited, who

if TYPE_CHECKING:
    from opsdoc.signals.contention import Limits


def judge_chains(chains: Sequence[LockChain], limits: Limits) -> Iterator[Finding]:
    """One finding for each chain, the root first; one that is short and young is how locks work."""
    for chain in chains:
        severity, threshold = _graded(chain, limits)
        yield _chain(chain, severity, threshold)


def _graded(chain: LockChain, limits: Limits) -> tuple[Severity, Threshold | None]:
    """By how long and by how many wait, the worse of the two; a queue amplifier or an unknown time is a warning."""
    longest = known(chain.longest)
    found: tuple[Severity, Threshold | None] = (Severity.OK, None)
    for name, limit, value in (
        ("contention.lock_waiting", limits.lock_waiting, chain.waiting),
        ("contention.lock_wait", limits.lock_wait, longest),
    ):
        if value is not None and (severity := limit.grade(value)) is not Severity.OK and severity >= found[0]:
            found = severity, limit.crossed(name, value)
    if found[0] is Severity.OK and (chain.amplifiers or longest is None or chain.blocks_applier):
        return Severity.WARNING, None
    return found


def _chain(chain: LockChain, severity: Severity, threshold: Threshold | None) -> Finding:
    longest = known(chain.longest)
    since = f", the longest for {duration(longest)}" if longest is not None else ""
    root = f"{_root(chain)}{f'{does},' if (does := _root_does(chain)) else ''}"
    on = f" ({chain.object})" if chain.object else ""
    bad = severity is not Severity.OK
    return Finding(
        rule="db.lock-chain",
        key=f"db.lock-chain:{chain.node}/{chain.root_prepared or f'{chain.root_user}/{chain.root_application}'}",
        severity=severity,
        subject=f"{chain.node} {_root(chain)}",
        summary=f"{root} holds up {number(chain.waiting, 'session')} on {chain.node}{since}{on}{_amplified(chain)}",
        evidence=cited(chain),
        threshold=threshold,
        confidence="told by the server itself, at one moment",
        next_step=_next(chain) if bad else "",
        by_hand=chain.by_hand,
    )


def _root(chain: LockChain) -> str:
    if chain.root_prepared is not None:
        return f"the prepared transaction {chain.root_prepared}"
    return f"session {chain.root}"


def _root_does(chain: LockChain) -> str:
    """` of app (orders), idle in transaction, open for 12 s`."""
    open_for = known(chain.root_open)
    told = [
        "which applies replication" if chain.root_is_applier else "",
        chain.root_state if chain.root_prepared is None else "",
        f"open for {duration(open_for)}" if open_for is not None else "",
    ]
    user = f" of {who(chain.root_user, chain.root_application)}" if chain.root_user or chain.root_application else ""
    return user + "".join(f", {one}" for one in told if one)


def _amplified(chain: LockChain) -> str:
    if not chain.amplifiers:
        return ""
    one = chain.amplifiers[0]
    behind = _behind(chain, one)
    queue = f", {behind:,} so far" if behind else ""
    name = f"session {one.session}{_wants(one)}"
    return f"; {name} is the amplifier: whoever comes later queues behind it, readers too{queue}"


def _wants(one: Waiter) -> str:
    what = one.statement or one.wants
    return f" ({what if len(what) <= 60 else what[:59] + '…'})" if what else ""


def _behind(chain: LockChain, amplifier: Waiter) -> int:
    """How many wait for it, directly or not."""
    behind = {amplifier.session}
    for _ in chain.sessions:  # a chain may hold cycles, and records may stand in any order
        more = {one.session for one in chain.sessions if behind & set(one.blocked_by)} - behind
        if not more:
            break
        behind |= more
    return len(behind) - 1


def _next(chain: LockChain) -> str:
    first = ""
    if chain.amplifiers:
        first = (
            f"cancel session {chain.amplifiers[0].session} first if readers cannot wait, for it can be run again (with "
            "a lock timeout); "
        )
    if chain.root_prepared is not None:
        root = "commit it or roll it back, as its coordinator decided"
    elif chain.root_is_applier:
        root = "do not end the applier: those that wait come after it; see what it applies"
    elif "idle" in chain.root_state.lower():
        root = "let its application end the transaction, or end the session, which rolls it back"
    else:
        root = "look at what it runs and waits for itself; let it end, or end it, which rolls it back"
    end = f" ({chain.end_root})" if chain.end_root and not chain.root_is_applier else ""
    return f"{first}the root: {root}{end}"
