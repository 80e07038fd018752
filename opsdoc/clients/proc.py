"""The /proc file system: the machine, all processes in one scan, the threads of one, the details of the few."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.model import Malformed, Unreachable
from opsdoc.parsers.cgroup import container_of
from opsdoc.parsers.procfs import SEPARATOR, mapped_files, runtime_of
from opsdoc.parsers.vmstat import compact, wanted
from opsdoc.redact import Redactor

STAT_SIZE = 1024  # a stat line has about 330 bytes at most
MAPS_CAP = 4 << 20  # of /proc/PID/maps: a JVM has about 100 KiB
ARGV_CAP = 2 << 20  # the kernel's own limit for all arguments


class Machine:
    """The facts about the machine that stand at the head of a report."""

    def key(self) -> str:
        return "proc.machine"

    def answer(self, live: Live) -> dict[str, Any]:
        uname = os.uname()
        memory = re.search(r"MemTotal:\s+(\d+) kB", _text(live.proc / "meminfo") or "")
        boot = re.search(r"^btime (\d+)$", _text(live.proc / "stat") or "", re.MULTILINE)
        return {
            "hostname": uname.nodename,
            "kernel": uname.release,
            "cpus": os.cpu_count(),
            "memory_bytes": int(memory[1]) * 1024 if memory else None,
            "boot_time": _rfc3339(int(boot[1])) if boot else None,
            "virtualization": _virtualization(live),
        }


class Box:
    """The files that tell how the machine as a whole fares, as text; a missing one is null."""

    def key(self) -> str:
        return "proc.box"

    def answer(self, live: Live) -> dict[str, str | None]:
        stat = _text(live.proc / "stat")
        if stat is None:
            raise Unreachable(f"{live.proc} is not a proc file system")
        rows = [line for line in stat.splitlines() if not line.startswith(("intr ", "softirq "))]
        return {
            "stat": "\n".join(rows),
            "cpu_pressure": _text(live.proc / "pressure/cpu"),
            "io_pressure": _text(live.proc / "pressure/io"),
            "memory_pressure": _text(live.proc / "pressure/memory"),
            "vmstat": wanted(_text(live.proc / "vmstat")),
            "softirqs": compact(_text(live.proc / "softirqs")),
        }


class Processes:
    """The stat lines of all processes, separated by NUL; the first is opsdoc's own."""

    def key(self) -> str:
        return "proc.processes"

    def answer(self, live: Live) -> bytes:
        own = os.readlink(live.proc / "self")
        return _scan(live.proc, [own, *(name for name in os.listdir(live.proc) if name.isdecimal() and name != own)])

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return SEPARATOR.join(_name_masked(line, redactor) for line in value.split(SEPARATOR))


class Threads(NamedTuple):
    """The stat lines of the threads of a process, separated by NUL: of all, or of those asked for."""

    pid: int
    tids: tuple[int, ...] = ()

    def key(self) -> str:
        return f"proc.threads {self.pid}" + (" some" if self.tids else "")

    def answer(self, live: Live) -> bytes:
        folder = live.proc / str(self.pid) / "task"
        try:
            return _scan(folder, [str(tid) for tid in self.tids] or os.listdir(folder))
        except FileNotFoundError:
            raise gone(self.pid) from None

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return SEPARATOR.join(_name_masked(line, redactor) for line in value.split(SEPARATOR))


class Details(NamedTuple):
    """What is worth knowing of a process that matters: command line, user, runtime, container, status.

    A part that was not permitted is null, with the reason under `unknown`.
    """

    pid: int

    def key(self) -> str:
        return f"proc.details {self.pid}"

    def answer(self, live: Live) -> dict[str, Any]:
        folder = live.proc / str(self.pid)
        unknown: dict[str, str] = {}

        def part(name: str, cap: int) -> bytes | None:
            try:
                return _bytes(folder / name, cap)
            except PermissionError:
                unknown[name] = f"not permitted to read /proc/{self.pid}/{name}"
            except (FileNotFoundError, ProcessLookupError):
                raise gone(self.pid) from None
            except OSError as error:
                unknown[name] = f"/proc/{self.pid}/{name}: {error.strerror}"
            return None

        status = _decoded(part("status", 65536))
        argv, maps, cgroup = part("cmdline", ARGV_CAP), part("maps", MAPS_CAP), part("cgroup", 65536)
        return {
            "argv": None if argv is None else live.redactor.argv(_argv(argv)),
            "status": status,
            **_account(status),
            "runtime": None if maps is None else _runtime(folder, maps),
            "container": None if cgroup is None else container_of(_decoded(cgroup)),
            "unknown": unknown,
            "hint": live.as_root(),
        }


class ContainerIds(NamedTuple):
    """The ids that threads have in their innermost pid namespace: pairs of (id here, id there)."""

    pid: int
    tids: tuple[int, ...]

    def key(self) -> str:
        return f"proc.container-ids {self.pid}"

    def answer(self, live: Live) -> list[list[int]]:
        pairs = []
        for tid in self.tids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = _bytes(f"{live.proc}/{self.pid}/task/{tid}/status", 65536)
                ids = status[status.index(b"\nNSpid:") + 7 :].split(b"\n", 1)[0].split()
                pairs.append([tid, int(ids[-1])])
        return pairs


def gone(pid: int) -> Unreachable:
    """The error for a process that is not there."""
    return Unreachable(f"no process {pid} (it may have ended)", "opsdoc top")


def _scan(folder: Path, names: Iterable[str]) -> bytes:
    """Stat lines of the numbered subfolders; one that ended meanwhile is left out.

    Raw reads relative to an open folder: of the whole-box scan this is half the cost of anything friendlier.
    """
    lines = []
    opened, read, close = os.open, os.read, os.close
    parent = opened(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            try:
                descriptor = opened(name + "/stat", os.O_RDONLY, dir_fd=parent)
            except OSError:
                continue
            try:
                lines.append(read(descriptor, STAT_SIZE))
            except OSError:
                pass
            finally:
                close(descriptor)
    finally:
        close(parent)
    return SEPARATOR.join(lines)


def _name_masked(line: bytes, redactor: Redactor) -> bytes:
    opening, closing = line.find(b"("), line.rfind(b")")
    name = line[opening + 1 : closing].decode("utf-8", "backslashreplace")
    masked = redactor.text(name)
    return line if masked == name else line[: opening + 1] + masked.encode() + line[closing:]


def _argv(raw: bytes) -> list[str]:
    """The arguments, from the NUL-separated bytes: joining and splitting again would invent arguments."""
    parts = raw.split(b"\0")
    if parts and not parts[-1]:
        parts.pop()
    return [part.decode("utf-8", "backslashreplace") for part in parts]


def _runtime(folder: Path, maps: bytes) -> str:
    """The runtime by what is mapped; where that tells nothing, by the headers of the program: Go leaves its mark there.

    Three small reads at most, of pages that the program runs from. `/proc/PID/exe` leads past every symlink.
    """
    mapped = runtime_of(mapped_files(_decoded(maps)))
    if mapped != "native":
        return mapped
    from opsdoc.parsers import elf

    try:
        descriptor = os.open(folder / "exe", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return mapped
    try:
        return elf.runtime(lambda offset, size: os.pread(descriptor, size, offset)) or mapped
    except (OSError, Malformed):
        return mapped
    finally:
        os.close(descriptor)


def _account(status: str) -> dict[str, Any]:
    """Whose process it is and how much memory it holds, by its status file; null where that could not be read."""
    uid = re.search(r"^Uid:\t\d+\t(\d+)", status, re.MULTILINE)
    resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return {
        "user": None if uid is None else _user_name(int(uid[1])),
        "memory_bytes": None if resident is None else int(resident[1]) * 1024,
    }


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _virtualization(live: Live) -> str | None:
    vendor = _text(Path("/sys/class/dmi/id/sys_vendor"))
    if vendor:
        return vendor.strip() or None
    return "virtual machine" if " hypervisor " in (_text(live.proc / "cpuinfo") or "") else None


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().isoformat(timespec="seconds")


def _bytes(path: Path | str, cap: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        chunks = []
        while cap > 0 and (chunk := os.read(descriptor, min(cap, 65536))):
            chunks.append(chunk)
            cap -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def _decoded(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "backslashreplace")


def _text(path: Path) -> str | None:
    try:
        return _decoded(_bytes(path, 1 << 20))
    except OSError:
        return None
