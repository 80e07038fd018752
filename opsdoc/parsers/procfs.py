"""/proc: stat of processes, threads and CPUs, status, pressure, maps (format: proc(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from opsdoc.model import Malformed

CLOCK_TICKS = 100  # per second, in all times of /proc: USER_HZ, on every architecture in use
SEPARATOR = b"\0"  # between the records of a scan: a process name may hold anything but NUL


class Stat(NamedTuple):
    """One line of `/proc/PID/stat` or `/proc/PID/task/TID/stat`. Times are in clock ticks."""

    pid: int
    name: str
    state: str
    ppid: int
    user: int
    system: int
    children: int  # user and system time of reaped children
    threads: int
    started: int  # after boot; with the pid this is the identity of a process

    @property
    def used(self) -> int:
        return self.user + self.system


def parse_stat(line: bytes) -> Stat:
    """One stat line. The name ends at the last `)`: it may itself hold parentheses, spaces and newlines."""
    opening, closing = line.find(b"("), line.rfind(b")")
    fields = line[closing + 2 :].split(b" ", 20)
    try:
        return Stat(
            int(line[:opening]),
            line[opening + 1 : closing].decode("utf-8", "backslashreplace"),
            fields[0].decode("ascii"),
            int(fields[1]),
            int(fields[11]),
            int(fields[12]),
            int(fields[13]) + int(fields[14]),
            int(fields[17]),
            int(fields[19]),
        )
    except (ValueError, IndexError):
        raise Malformed(f"not a stat line: {line[:80]!r}") from None


def parse_scan(blob: bytes) -> dict[int, Stat]:
    """A scan: stat lines separated by NUL; by process or thread id, in the order read."""
    stats: dict[int, Stat] = {}
    for line in blob.split(SEPARATOR):
        if line:
            stat = parse_stat(line)
            stats[stat.pid] = stat
    return stats


class CpuTimes(NamedTuple):
    """A `cpu` row of `/proc/stat` in clock ticks. Guest time is contained in user, as the kernel counts it."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int

    @property
    def total(self) -> int:
        return sum(self)

    def since(self, earlier: CpuTimes) -> CpuTimes:
        """What was added since an earlier reading; iowait and steal may run backwards, which counts as nothing."""
        return CpuTimes(*(max(0, now - then) for now, then in zip(self, earlier, strict=True)))


class System(NamedTuple):
    """`/proc/stat`: all CPUs together, each CPU by its number, forks since boot, tasks now."""

    all: CpuTimes
    each: dict[int, CpuTimes]
    forks: int
    runnable: int
    blocked: int


def parse_system(text: str) -> System:
    """`/proc/stat`. Missing columns of old kernels are 0."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, *values = line.split()[:10] or [""]
        if name.startswith(("cpu", "processes", "procs_")):
            rows[name] = values
    try:
        times = {name: _times(values) for name, values in rows.items() if name.startswith("cpu")}
        return System(
            times.pop("cpu"),
            {int(name[3:]): row for name, row in times.items()},
            int(rows["processes"][0]),
            int(rows["procs_running"][0]),
            int(rows["procs_blocked"][0]),
        )
    except (KeyError, ValueError, IndexError):
        raise Malformed(f"not /proc/stat: {text[:80]!r}") from None


def _times(values: list[str]) -> CpuTimes:
    padded = [int(value) for value in values[:8]] + [0] * 8
    return CpuTimes(*padded[:8])


def parse_pressure(text: str) -> float:
    """`/proc/pressure/*`: the share of the last 10 s in which some task waited, 0 to 1."""
    match = re.match(r"some avg10=(\d{1,3}\.\d\d) ", text)
    if match is None:
        raise Malformed(f"not a pressure file: {text[:80]!r}")
    return round(float(match[1]) / 100, 4)


class Status(NamedTuple):
    """What opsdoc needs of `/proc/PID/status`."""

    state: str
    ids: tuple[int, ...]  # the process or thread id in each pid namespace, the innermost last
    euid: int
    egid: int
    caught: int  # the signals with a handler, as a bit mask
    ignored: int

    def catches(self, number: int) -> bool:
        """Whether a signal is proven to have a handler."""
        bit = 1 << (number - 1)
        return bool(self.caught & bit) and not self.ignored & bit


def parse_status(text: str) -> Status:
    """`/proc/PID/status`. Kernels before 4.1 have no NSpid: then the only known id is the outer one."""
    fields = dict(_fields(text))
    try:
        return Status(
            fields["State"][:1],
            tuple(int(word) for word in fields.get("NSpid", fields["Pid"]).split()),
            int(fields["Uid"].split()[1]),
            int(fields["Gid"].split()[1]),
            int(fields["SigCgt"], 16),
            int(fields["SigIgn"], 16),
        )
    except (KeyError, ValueError, IndexError):
        raise Malformed(f"not a status file: {text[:80]!r}") from None


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        # The name of a process is escaped by the kernel and comes first, so that it cannot overwrite a later field.
        if colon:
            yield name, value.strip()


def mapped_files(text: str) -> frozenset[str]:
    """The paths of the files in `/proc/PID/maps`; ` (deleted)` is kept off."""
    return frozenset(path.removesuffix(" (deleted)") for path in set(_MAPPED.findall(text)))


_MAPPED = re.compile(r"^(?:\S+[ \t]+){5}(/.*)$", re.MULTILINE)  # addresses, rights, offset, device, inode, path


_PYTHON = re.compile(r"/(?:libpython|python)(\d\.\d{1,2})[^/]*$")
# By the name of the program itself or of the library that is its runtime, with the version where the name tells it.
_NAMED = (
    ("dotnet", re.compile(r"/(?:libcoreclr\.so|dotnet)()$")),
    ("ruby", re.compile(r"/(?:ruby|libruby(?:\.so\.|-))(\d\.\d{1,2})[^/]*$|/ruby$")),
    ("php", re.compile(r"/(?:php(?:-fpm|-cgi)?|libphp)(\d(?:\.\d{1,2})?)?(?:\.so)?$")),
    ("node", re.compile(r"/(?:node|nodejs|libnode\.so[\d.]*)()$")),
    ("perl", re.compile(r"/perl(\d\.\d{1,2})?[\d.]*$")),  # not libperl, which perf, vim and nginx map as well
)


def runtime_of(paths: frozenset[str]) -> str:
    """The runtime that a process runs, from what it has mapped: `jvm`, `python 3.11`, `ruby 3.1`, `node`, `native`."""
    names = {path.rpartition("/")[2] for path in paths}
    if any(name.startswith("libj9vm") for name in names):
        return "openj9"
    if "libjvm.so" in names:
        return "jvm"
    for path in sorted(paths):
        if (match := _PYTHON.search(path)) is not None:
            return f"python {match[1]}"
    for runtime, named in _NAMED:
        found = [match for path in sorted(paths) if (match := named.search(path)) is not None]
        if found:
            version = next((match[1] for match in found if match[1]), "")
            return f"{runtime} {version}".rstrip()
    return "native"
