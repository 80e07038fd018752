"""What the kernel counts about memory and soft interrupts: /proc/vmstat, /proc/softirqs, /proc/pressure totals."""

from __future__ import annotations

import re
from typing import NamedTuple

from opsdoc.model import Malformed

_NUMBER = re.compile(r"\d{1,20}", re.ASCII)

# The rows that are wanted, by how they begin: older kernels count some of them by zone (`allocstall_normal`).
ROWS = (
    "pswpin ",
    "pswpout ",
    "allocstall",
    "pgscan_direct",
    "pgscan_kswapd",
    "compact_stall ",
    "workingset_refault",
)


class VmStat(NamedTuple):
    """Counters since boot; None where this kernel does not count (no swap, no compaction)."""

    swapped_in: int | None  # pages
    swapped_out: int | None
    reclaim_stalls: int | None  # allocations that had to free memory themselves first
    scanned_direct: int | None  # pages looked at by those
    scanned_kswapd: int | None  # pages looked at in the background
    compaction_stalls: int | None
    refaults: int | None  # pages that had been thrown out and were needed again


def wanted(text: str | None) -> str | None:
    """The rows of `/proc/vmstat` that `parse_vmstat` reads: a tenth of the file. None for a file that is missing."""
    return text and "\n".join(line for line in text.splitlines() if line.startswith(ROWS))


def compact(text: str | None) -> str | None:
    """A table such as `/proc/softirqs` without its padding: a third of it. None for a file that is missing."""
    return text and "\n".join(" ".join(line.split()) for line in text.splitlines())


def parse_vmstat(text: str) -> VmStat:
    """`/proc/vmstat` (names: mm/vmstat.c of the kernel), whole or only the wanted rows."""
    rows: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if not name or not _NUMBER.fullmatch(value):
            raise Malformed(f"not /proc/vmstat: {line[:80]!r}")
        rows[name] = int(value)

    def total(name: str) -> int | None:
        parts = [
            value
            for row, value in rows.items()
            if (row == name or row.startswith(name + "_")) and not row.endswith("_throttle")  # counts waits, not pages
        ]
        return sum(parts) if parts else None

    return VmStat(
        total("pswpin"),
        total("pswpout"),
        total("allocstall"),
        total("pgscan_direct"),
        total("pgscan_kswapd"),
        total("compact_stall"),
        total("workingset_refault"),
    )


def parse_softirqs(text: str) -> dict[int, dict[str, int]]:
    """`/proc/softirqs`: how often each kind ran, by the number of the CPU."""
    head, *lines = text.splitlines() or [""]
    cpus = [word[3:] for word in head.split()]
    if not cpus or not all(_NUMBER.fullmatch(cpu) for cpu in cpus) or not head.split()[0].startswith("CPU"):
        raise Malformed(f"not /proc/softirqs: {text[:80]!r}")
    counts: dict[int, dict[str, int]] = {int(cpu): {} for cpu in cpus}
    for line in lines:
        kind, *values = line.split() or [""]
        if not kind.endswith(":") or len(values) != len(cpus) or not all(map(_NUMBER.fullmatch, values)):
            raise Malformed(f"not a row of /proc/softirqs: {line[:80]!r}")
        for cpu, value in zip(cpus, values, strict=True):
            counts[int(cpu)][kind[:-1]] = int(value)
    return counts


def parse_stalled(text: str) -> int:
    """`/proc/pressure/*`: the microseconds since boot in which some task waited (exact at each reading)."""
    match = re.match(r"some [^\n]{0,100}\btotal=(\d{1,20})$", text, re.MULTILINE | re.ASCII)
    if match is None:
        raise Malformed(f"not a pressure file: {text[:80]!r}")
    return int(match[1])
