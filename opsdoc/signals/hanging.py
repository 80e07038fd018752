"""Connections that hang: those that nobody accepts, nobody closes, nobody answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opsdoc.model import Finding, Limit, Severity, Unknown, known
from opsdoc.signals.connections import Descriptors, Listener, Network, PeerConnections, finding, fine, inside, who

# ── nobody accepts ───────────────────────────────────────────────────────────────────────────────

_OVERFLOWS = "nstat -az TcpExtListenOverflows TcpExtListenDrops"


def accept_queues(
    networks: Sequence[Network],
    listeners: Sequence[Listener],
    exhausted: Mapping[int, Descriptors],
    queue: Limit,
    overflows: Limit,
) -> Iterator[Finding]:
    """Whose accept queue overflows or stands; `exhausted` are the processes that have hardly any descriptor left."""
    found = [
        one
        for network in networks
        for one in _queues(
            network, [one for one in listeners if one.namespace == network.namespace], exhausted, queue, overflows
        )
    ]
    yield from found or [_no_queue(networks, listeners)]


def _queues(
    network: Network,
    listeners: Sequence[Listener],
    exhausted: Mapping[int, Descriptors],
    queue: Limit,
    overflows: Limit,
) -> Iterator[Finding]:
    rate = network.overflows
    if isinstance(rate, Unknown):
        yield _unknown(network, rate)
    overflowing = not isinstance(rate, Unknown) and overflows.grade(rate) is not Severity.OK
    longest = max((one.queue for one in listeners if one.family != "unix"), default=0)
    ours = overflowing and longest >= network.longest_queue  # else it is the queue of somebody who is not looked at
    standing = [one for one in listeners if one.standing]
    culprit = next((one for one in standing if one.family != "unix" and one.queue == longest), None) if ours else None
    for one in standing:
        severity = queue.grade(one.standing)
        threshold = queue.crossed("sockets.queue", one.standing)
        if one is culprit and not isinstance(rate, Unknown):
            severity, threshold = Severity.CRITICAL, overflows.crossed("sockets.overflows", rate)
        elif one.state == "stopped":
            severity = max(severity, Severity.WARNING)
        if severity is not Severity.OK:
            files = exhausted.get(known(one.pid) or 0)
            yield _queue(network, one, files, rate if one is culprit else None)._replace(
                severity=severity, threshold=threshold
            )
    if ours and culprit is None and not isinstance(rate, Unknown):
        yield _burst(network, rate)._replace(
            severity=overflows.grade(rate), threshold=overflows.crossed("sockets.overflows", rate)
        )


def _queue(network: Network, one: Listener, files: Descriptors | None, overflows: float | Unknown | None) -> Finding:
    name = who(one.program, one.pid, one.uid)
    cause, next_step = _why_not_accepted(one, files)
    since = f"{one.standing:,} or more all through {network.seconds:.1f} s" if network.seconds else "seen once"
    if overflows is None:
        what, waits = f"{one.queue:,} connections wait at {one.subject} to be accepted", since
    else:
        what = f"the accept queue of {one.subject} overflows, {_rate(overflows)}"
        waits = f"{one.queue:,} connections wait, {since}"
    by_hand = (
        ["ss -xln"] if one.family == "unix" else [f"ss -ltn 'sport = :{one.subject.rpartition(':')[2]}'", _OVERFLOWS]
    )
    pid = known(one.pid)
    return finding(
        "sockets.accept-queue",
        f"{known(one.program) or 'process'}/{one.subject}",
        Severity.WARNING,
        f"{one.subject} of {name}",
        f"{what}: {name} {cause}; {waits}",
    )._replace(
        evidence=(one.id, network.id, *([files.id] if files else [])),
        next_step=next_step,
        by_hand=inside(one, *by_hand, *([f"grep State /proc/{pid}/status"] if pid else [])),
    )


def _why_not_accepted(one: Listener, files: Descriptors | None) -> tuple[str, str]:
    """Why a program does not accept, and what to do about it."""
    pid = known(one.pid)
    if one.state == "stopped":
        return "is stopped", f"see who stopped it (SIGSTOP, a debugger), and let it go on: kill -CONT {pid}"
    if files is not None:
        held = f"has {known(files.open)} of {known(files.limit)} descriptors open"
        return f"{held} and cannot accept", f"see what they are: ls -l /proc/{pid}/fd; a higher limit only wins time"
    if one.state == "waiting for a device":
        return "waits for a disk or a file system", "see what it waits for: iostat -x 1 3, and its mounts"
    stuck = isinstance(one.stuck, int) and isinstance(one.before, int) and one.stuck >= one.before > 0
    verb = "accepted none" if stuck else "does not accept fast enough"
    if pid is None:
        return verb, "see as root which process it is: ss -ltnp"
    see = f"see what it does instead: opsdoc cpu --pid {pid}, opsdoc stack {pid}"
    return verb, see if stuck else f"{see}; or accept in more threads or processes, and raise its backlog"


def _burst(network: Network, rate: float) -> Finding:
    return fine(
        network,
        "sockets.accept-queue",
        f"accept queues overflow, {_rate(rate)}, in bursts: no listener of {network.subject} has a queue that stands",
    )._replace(
        next_step="look for longer (--window 20s) to catch it; then raise its backlog or accept in more threads",
        by_hand=inside(network, "ss -ltn", _OVERFLOWS),
    )


def _unknown(network: Network, rate: Unknown) -> Finding:
    return fine(
        network,
        "sockets.accept-queue",
        f"whether accept queues overflow in {network.subject} is unknown: {rate.reason}",
    )._replace(
        severity=Severity.UNKNOWN,
        next_step="see the counter twice by hand",
        by_hand=inside(network, _OVERFLOWS),
    )


def _no_queue(networks: Sequence[Network], listeners: Sequence[Listener]) -> Finding:
    first = networks[0]
    longest = max((one.queue for one in listeners), default=0)
    waits = f"at most {longest} waiting" if longest else "none waiting"
    count = len(listeners) if first.of_process else sum(one.listeners for one in networks)
    rate = max(known(one.overflows) or 0.0 for one in networks)
    places = f" in {len(networks)} network namespaces" if len(networks) > 1 else ""
    said = f"{count} listener{'s' if count > 1 else ''}{places}, {waits}" if count else f"no listener{places}"
    overflow = f"{_rate(rate)} at those of others" if rate else f"no overflow in {first.seconds:.1f} s"
    return fine(first, "sockets.accept-queue", f"{said}, {overflow}")


# ── nobody closes ────────────────────────────────────────────────────────────────────────────────


def close_wait(network: Network, rows: Sequence[PeerConnections], limit: Limit) -> Iterator[Finding]:
    """Who keeps connections that their peers have closed."""
    most, found = 0, False
    for row, group in _by_process(rows):
        once = isinstance(row.process_standing, Unknown)
        number = known(row.process_standing)
        number = sum(one.count for one in group) if number is None else number
        most = max(most, number)
        severity = limit.grade(number)
        if severity is not Severity.OK:
            found = True
            yield _unclosed(network, row, number)._replace(
                severity=min(severity, Severity.WARNING) if once else severity,
                evidence=tuple(one.id for one in group[:3]),
                threshold=limit.crossed("sockets.unclosed", number),
                confidence="seen once" if once else f"the same sockets at both ends of {network.seconds:.1f} s",
            )
    if not found:
        said = f"at most {most} in CLOSE_WAIT in one process" if most else "none in CLOSE_WAIT"
        yield fine(network, "sockets.close-wait", said)


def _unclosed(network: Network, row: PeerConnections, number: int) -> Finding:
    name, pid = who(row.program, row.pid, row.uid), known(row.pid)
    peers = row.peer + (f" and {row.process_peers - 1} more" if row.process_peers > 1 else "")
    growth = f", {row.process_new:,} more in {network.seconds:.1f} s" if known(row.process_new) else ""
    cause, next_step = _why_not_closed(row)
    return finding(
        "sockets.close-wait",
        f"{known(row.program) or 'process'}/{row.peer}",
        Severity.WARNING,
        name,
        f"{name} {cause} {number:,} connections that the other side has closed (CLOSE_WAIT): {peers}{growth}",
    )._replace(
        next_step=next_step,
        by_hand=inside(row, "ss -tanp state close-wait", *([f"ls /proc/{pid}/fd | wc -l"] if pid else [])),
    )


def _why_not_closed(row: PeerConnections) -> tuple[str, str]:
    """What a program does with connections that its peer has closed, and what to do about it."""
    pid = known(row.pid)
    stacks = f": opsdoc stack {pid}" if pid else ""
    if row.process_state == "stopped":
        return "is stopped and holds", f"see who stopped it, and let it go on: kill -CONT {pid}"
    if row.unread == row.count:
        return "neither reads nor closes", f"see what its threads wait for, or who forgot these connections{stacks}"
    return "does not close", f"look for a path on which it forgets to close: an error, a timeout, a pool{stacks}"


def _by_process(rows: Sequence[PeerConnections]) -> Iterator[tuple[PeerConnections, list[PeerConnections]]]:
    """The rows of each process, and before them the one with the most connections."""
    groups: dict[tuple[str, int | None, int | None], list[PeerConnections]] = {}
    for row in rows:
        pid = known(row.pid)
        groups.setdefault((row.namespace, pid, None if pid else row.uid), []).append(row)
    for group in groups.values():
        yield max(group, key=lambda row: row.count), sorted(group, key=lambda row: -row.count)


# ── nobody answers ───────────────────────────────────────────────────────────────────────────────


def syn_sent(network: Network, rows: Sequence[PeerConnections], limit: Limit) -> Iterator[Finding]:
    """Who waits for a peer that does not answer."""
    found = False
    for row in rows:
        number = row.unanswered or 0
        severity = limit.grade(number)
        if severity is not Severity.OK:
            found = True
            yield _unanswered(network, row, number)._replace(
                severity=severity, threshold=limit.crossed("sockets.unanswered", number)
            )
    if not found:
        yield fine(network, "sockets.syn-sent", "every attempt to connect is answered")


def _unanswered(network: Network, row: PeerConnections, number: int) -> Finding:
    name = who(row.program, row.pid, row.uid)
    if row.peer_queue:
        why = f"the accept queue there, on this machine, has {row.peer_queue:,} waiting"
        next_step = "see why that program does not accept: opsdoc sockets"
    else:
        why = "a firewall drops them, the machine is gone, or its accept queue is full"
        next_step = "run opsdoc sockets on the peer; on the way there look for a firewall or a dead route"
    return finding(
        "sockets.syn-sent",
        f"{known(row.program) or 'process'}/{row.peer}",
        Severity.WARNING,
        name,
        f"{row.peer} does not answer {number:,} attempts of {name} to connect (SYN_SENT): {why}",
    )._replace(
        evidence=(row.id, network.id),
        confidence=f"asked again up to {row.retries} times",
        next_step=next_step,
        by_hand=inside(row, "ss -tanpo state syn-sent", f"ip route get {row.peer.rpartition(':')[0].strip('[]')}"),
    )


def _rate(rate: float | Unknown) -> str:
    return "at an unknown rate" if isinstance(rate, Unknown) else f"{rate:.3g} times a second"
