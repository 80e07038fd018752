"""What runs out: ephemeral ports, descriptors, and what the kernel itself needs for connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsdoc.model import Finding, Limit, Severity, Unknown, known
from opsdoc.signals.connections import Descriptors, Network, Ports, finding, fine, inside

FEW_SEGMENTS = 100  # in the window: of fewer the lost ones are no share

# ── ports ────────────────────────────────────────────────────────────────────────────────────────


def ports(network: Network, rows: Sequence[Ports], limit: Limit) -> Iterator[Finding]:
    """Which destination takes the ephemeral ports of a local address."""
    found = False
    for row in rows:
        severity = limit.grade(row.share)
        if severity is not Severity.OK:
            found = True
            yield _taken(row)._replace(severity=severity, threshold=limit.crossed("sockets.ports_used", row.share))
    if not found:
        busiest = f"{rows[0].used:,} of {rows[0].capacity:,} ports to one destination" if rows else "no port in use"
        yield fine(network, "sockets.ports", busiest)._replace(evidence=tuple(row.id for row in rows[:1]))


def _taken(row: Ports) -> Finding:
    waits = f"; {row.time_wait:,} are in TIME_WAIT" if row.time_wait else ""
    again = " and can be used again" if row.time_wait and row.reusable is True else ""
    return finding(
        "sockets.ports",
        row.subject,
        Severity.WARNING,
        row.subject,
        f"{row.subject}: {row.taken:,} of {row.capacity:,} ephemeral ports are taken ({row.range}){waits}{again}",
    )._replace(
        evidence=(row.id,),
        confidence=row.assumed,
        next_step=(
            "keep connections open and use them again (keep-alive, a pool); more addresses of the peer, or a wider "
            "net.ipv4.ip_local_port_range, win time"
        ),
        by_hand=inside(
            row,
            f"ss -tan dst '{row.subject.partition(' → ')[2]}' | wc -l",
            "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse",
        ),
    )


# ── descriptors ──────────────────────────────────────────────────────────────────────────────────


def exhausted(rows: Sequence[Descriptors], limit: Limit) -> dict[int, Descriptors]:
    """The processes that have all but a few of their descriptors in use, by pid."""
    critical = (row for row in rows if row.pid is not None and (known(row.share) or 0.0) >= (limit.crit or limit.warn))
    return {row.pid: row for row in critical if row.pid is not None}


def descriptors(network: Network, rows: Sequence[Descriptors], limit: Limit, files: Limit) -> Iterator[Finding]:
    """Who has hardly any descriptor left: a process, or the machine its open files."""
    found = False
    for row in rows:
        share = known(row.share)
        of_process = row.pid is not None
        severity = Severity.OK if share is None else (limit if of_process else files).grade(share)
        if share is not None and severity is not Severity.OK:
            found = True
            crossed = (
                limit.crossed("sockets.descriptors_used", share)
                if of_process
                else files.crossed("sockets.files_used", share)
            )
            yield (_of_process if of_process else _of_machine)(network, row)._replace(
                severity=severity, evidence=(row.id,), threshold=crossed
            )
    asked = next((row for row in rows if row.pid is not None and row.pid == network.of_process), None)
    if asked is not None and isinstance(asked.share, Unknown):
        yield fine(network, "sockets.descriptors", f"descriptors of {asked.subject}: {asked.share.reason}")._replace(
            severity=Severity.UNKNOWN, next_step="run it as root", by_hand=(f"sudo ls /proc/{asked.pid}/fd | wc -l",)
        )
    elif not found:
        fullest = max(rows, key=lambda row: known(row.share) or 0.0, default=None)
        if fullest is not None:
            said = f"{_counted(fullest.open)} of {_counted(fullest.limit)} descriptors open at most"
            yield fine(network, "sockets.descriptors", said)._replace(evidence=(fullest.id,))


def _of_process(network: Network, row: Descriptors) -> Finding:
    growth = known(row.growth)
    more = f", {growth:+,} in {network.seconds:.1f} s" if growth else ""
    return finding(
        "sockets.descriptors",
        known(row.program) or "process",
        Severity.WARNING,
        row.subject,
        f"{row.subject} has {_counted(row.open)} of {_counted(row.limit)} descriptors open{more}",
    )._replace(
        next_step=(
            "see what they are (sockets in CLOSE_WAIT, files, pipes); raise the limit, LimitNOFILE= of its unit or "
            "ulimit -n, if all of them are meant"
        ),
        by_hand=(
            f"ls /proc/{row.pid}/fd | wc -l",
            f"grep 'open files' /proc/{row.pid}/limits",
            f"ls -l /proc/{row.pid}/fd",
        ),
    )


def _of_machine(_network: Network, row: Descriptors) -> Finding:
    return finding(
        "sockets.descriptors",
        "box",
        Severity.WARNING,
        row.subject,
        f"{row.subject} has {_counted(row.open)} of {_counted(row.limit)} files open that it may",
    )._replace(
        next_step="see which process has the most open: opsdoc sockets -n 20; a higher fs.file-max only wins time",
        by_hand=("cat /proc/sys/fs/file-nr",),
    )


# ── the kernel ───────────────────────────────────────────────────────────────────────────────────


def kernel(networks: Sequence[Network], memory: Limit, orphans: Limit, tracked: Limit) -> Iterator[Finding]:
    """Memory for TCP, closed connections that it keeps, connections that its firewall tracks."""
    found, told = False, list[str]()
    for network in networks:
        share = _share(network.memory, network.most_memory)
        cut = known(network.memory_aborts) or 0.0
        severity = Severity.CRITICAL if cut else memory.grade(share or 0.0)
        if severity is not Severity.OK:
            found = True
            used = f"TCP uses {_percent(share)} of the memory that it may (tcp_mem)"
            aborted = f"{cut:.3g} connections a second are cut for want of memory"
            yield finding(
                "sockets.memory",
                "box",
                severity,
                network.subject,
                f"{aborted}; {used}" if cut else used,
            )._replace(
                evidence=(network.id,),
                threshold=memory.crossed("sockets.memory_used", share or 0.0),
                next_step="see which sockets hold it: queues of programs that do not read, or whose peers do not",
                by_hand=inside(network, "cat /proc/net/sockstat", "sysctl net.ipv4.tcp_mem", "ss -tanm"),
            )
        told += [] if share is None else [f"TCP memory {_percent(share)}"]
    if not found and (told or not isinstance(networks[0].memory_aborts, Unknown)):
        said = told[0] if told else "no connection cut for want of memory"
        yield fine(networks[0], "sockets.memory", said)
    yield from _orphans(networks, orphans)
    yield from _tracked(networks, tracked)


def _orphans(networks: Sequence[Network], limit: Limit) -> Iterator[Finding]:
    for network in networks:
        share = _share(network.orphans, network.most_orphans)
        if share is None:
            continue
        count = _counted(network.orphans)
        severity = limit.grade(share)
        if severity is Severity.OK:
            yield fine(network, "sockets.orphans", f"{count} orphans")
            continue
        yield finding(
            "sockets.orphans",
            "box",
            severity,
            network.subject,
            f"{count} connections that were closed wait for their peers, {_percent(share)} of what the kernel keeps",
        )._replace(
            evidence=(network.id,),
            threshold=limit.crossed("sockets.orphaned", share),
            next_step="see to which peers: they are gone, or do not read what is sent",
            by_hand=("cat /proc/net/sockstat", "ss -tan state fin-wait-1", "sysctl net.ipv4.tcp_max_orphans"),
        )


def _tracked(networks: Sequence[Network], limit: Limit) -> Iterator[Finding]:
    for network in networks:
        share = _share(network.tracked, network.most_tracked)
        if share is None:
            continue
        count = _counted(network.tracked)
        severity = limit.grade(share)
        if severity is Severity.OK:
            yield fine(network, "sockets.conntrack", f"{count} connections tracked")
            continue
        yield finding(
            "sockets.conntrack",
            "box",
            severity,
            network.subject,
            f"the firewall tracks {count} connections, {_percent(share)} of the most that it can",
        )._replace(
            evidence=(network.id,),
            threshold=limit.crossed("sockets.tracked", share),
            next_step="see which addresses make so many; raise net.netfilter.nf_conntrack_max, or track fewer",
            by_hand=("cat /proc/sys/net/netfilter/nf_conntrack_{count,max}", "dmesg | grep conntrack"),
        )


def retransmits(networks: Sequence[Network], limit: Limit) -> Iterator[Finding]:
    """Where packets are lost."""
    found = False
    for network in networks:
        share, sent = known(network.retransmitted), known(network.segments) or 0
        severity = Severity.OK if share is None or sent < FEW_SEGMENTS else limit.grade(share)
        if share is not None and severity is not Severity.OK:
            found = True
            yield finding(
                "sockets.retransmits",
                "box",
                severity,
                network.subject,
                f"{_percent(share)} of what is sent in {network.subject} is sent again: packets are lost",
            )._replace(
                evidence=(network.id,),
                threshold=limit.crossed("sockets.retransmitted", share),
                confidence=f"{sent:,} segments",
                next_step="see to whom: a link, a saturated interface, or a peer that does not read",
                by_hand=inside(network, "ss -tin state established", "ip -s link", "nstat TcpRetransSegs TcpOutSegs"),
            )
    if not found and not isinstance(networks[0].retransmitted, Unknown):
        lost = known(networks[0].retransmitted) or 0.0
        said = f"{_percent(lost)} sent again" if known(networks[0].segments) else "nothing sent"
        yield fine(networks[0], "sockets.retransmits", said)


def _share(value: int | Unknown | None, most: int | Unknown | None) -> float | None:
    used, limit = known(value), known(most)
    return None if used is None or not limit else used / limit


def _percent(share: float | None) -> str:
    if share is None:
        return "an unknown part"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def _counted(value: int | Unknown | None) -> str:
    return "an unknown number" if isinstance(value, Unknown) else "any number" if value is None else f"{value:,}"
