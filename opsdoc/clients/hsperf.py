"""HotSpot's perf data file, which `jstat` reads: counters of heap, GC, safepoints and JIT, and no question to the JVM.

It lies at `/tmp/hsperfdata_USER/PID` of the JVM's own file system, mapped by the JVM, and is only read: no signal, no
connection, no pause. So it can be read through another machine's or namespace's `/proc`, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.below import below
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, ProbeError, Unreachable, Unsupported
from opsdoc.parsers import hsperf
from opsdoc.parsers.procfs import CLOCK_TICKS, Status, parse_stat, parse_status

CAP = 1 << 20  # bytes: a JVM makes 32 KiB unless told otherwise
MAPS_CAP = 4 << 20  # bytes of /proc/PID/maps, as for the details of a process
TEXT_CAP = 200  # characters: the longest name of a collector has 40
CUT = 1023  # bytes: HotSpot cuts every text at PerfMaxStringConstLength, 1024 (measured on 11, 17, 25)

# What opsdoc/looks/heaps.py looks at. The properties and arguments of the JVM, which may hold secrets, are not here.
_WANTED = re.compile(
    r"java\.ci\.totalTime|java\.property\.java\.vm\.specification\.version"
    r"|sun\.ci\.total(?:Compiles|Bailouts|Invalidates)"
    r"|sun\.gc\.(?:cause|lastCause|policy\.name|metaspace\.used)"
    r"|sun\.gc\.collector\.\d\.(?:name|invocations|time|lastEntryTime|lastExitTime)"
    r"|sun\.gc\.generation\.\d\.(?:name|capacity|maxCapacity|space\.\d\.used)"
    r"|sun\.os\.hrt\.(?:frequency|ticks)"
    r"|sun\.rt\.(?:safepoints|safepointTime|safepointSyncTime)"
    r"|sun\.threads\.cpu_time\.gc_\w{1,40}"
)
_RSS_ANON = re.compile(r"^RssAnon:\s+(\d{1,15}) kB$", re.MULTILINE)
_MOST_DIRECT = re.compile(r"\s-XX:MaxDirectMemorySize=(\d{1,12})([kKmMgGtT]?)(?!\S)")
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_HOTSPOT = re.compile(rb"/libjvm\.so(?: \(deleted\))?$", re.MULTILINE)
_MAPPED = re.compile(rb"/(hsperfdata_[^/\n]{1,255})/(\d{1,10})( \(deleted\))?\n")


class PerfData(NamedTuple):
    """The counters of a JVM that opsdoc has a use for; `started` (ticks after boot) proves that it is the same one.

    The answer has `counters`, by HotSpot's names; `since_begin`, the seconds since the JVM said that it began, by the
    wall clock, or null; and `age`, the seconds since the process was started, by the kernel's. Direct buffers are not
    among the counters (JDK 17 and 25 were looked at): `anonymous` is the memory of the process that is of no file, in
    bytes, and `most_direct` is -XX:MaxDirectMemorySize; null where it is not known, or not set.
    """

    pid: int
    started: int

    def key(self) -> str:
        return f"hsperf.read {self.pid}"

    def answer(self, live: Live) -> dict[str, Any]:
        folder = live.proc / str(self.pid)
        try:
            stat_now = parse_stat((folder / "stat").read_bytes())
            text = (folder / "status").read_text("utf-8", "backslashreplace")
            status = parse_status(text)
            if stat_now.started != self.started or stat_now.state in "ZX":
                raise gone(self.pid)
            counters = _counters(folder, status, live)
            age = float((live.proc / "uptime").read_text().split()[0]) - self.started / CLOCK_TICKS
        except PermissionError:
            raise Denied(f"not permitted to read the perf data of process {self.pid}", live.as_root()) from None
        except (FileNotFoundError, ProcessLookupError):
            raise gone(self.pid) from None
        except (OSError, ValueError, IndexError) as error:
            raise Unreachable(f"process {self.pid}: its perf data cannot be read ({error})") from None
        began = counters.get("sun.rt.createVmBeginTime")
        return {
            "counters": {
                name: live.redactor.text(value[:TEXT_CAP]) if isinstance(value, str) else value
                for name, value in counters.items()
                if _WANTED.fullmatch(name)
            },
            "since_begin": round(time.time() - began / 1000, 3) if isinstance(began, int) else None,
            "age": round(age, 2),
            "anonymous": _anonymous(text),
            "most_direct": _most_direct(counters),
        }


def _anonymous(status: str) -> int | None:
    found = _RSS_ANON.search(status)  # since Linux 4.5
    return None if found is None else int(found[1]) << 10


def _most_direct(counters: dict[str, int | str]) -> int | None:
    """The limit of direct buffers, where one is set; of several options the last one counts."""
    found = _MOST_DIRECT.findall(f" {counters.get('java.rt.vmArgs')}")
    return int(found[-1][0]) << _SHIFTS[found[-1][1].lower()] or None if found else None


def effective_options(folder: Path, status: Status, live: Live) -> list[str] | None:
    """The options that a JVM runs with, wherever they came from, or None where that cannot be known.

    `folder` is its `/proc/PID`. What comes from the command line, from `@argfiles`, `-XX:VMOptionsFile`, `-XX:Flags`
    and the variables is all there (measured on 11, 17 and 25); what HotSpot has cut off is not, and then nothing is
    answered. The words, which may hold secrets, are to be looked at and kept nowhere. A word of an option's value that
    has spaces stands alone, and may look like an option.
    """
    try:
        counters = _counters(folder, status, live)
    except (ProbeError, OSError):
        return None
    arguments, flags = counters.get("java.rt.vmArgs"), counters.get("java.rt.vmFlags")
    if not isinstance(arguments, str) or not isinstance(flags, str):
        return None
    # Where that length was set to less, this constant, which has about 110 bytes and more, is cut to the same.
    version = str(counters.get("sun.rt.internalVersion"))
    lengths = [len(text.encode("utf-8", "backslashreplace")) for text in (arguments, flags)]
    if max(lengths) >= CUT or len(version) in lengths or "PerfMaxStringConstLength" in arguments:
        return None
    # A file of flags has them bare: `+ReduceSignalUsage`.
    return [*arguments.split(), *(f if f.startswith("-") else f"-XX:{f}" for f in flags.split())]


def _counters(folder: Path, status: Status, live: Live) -> dict[str, int | str]:
    live.remaining()
    name = _mapped_folder(folder, status)
    with below(folder, f"root/tmp/{name}", live) as parent:
        return hsperf.parse(_read(parent, str(status.ids[-1]), folder.name, status))


def _mapped_folder(folder: Path, status: Status) -> str:
    """The name of the folder of perf data. What the JVM has mapped cannot be a stale file of an earlier one."""
    descriptor = os.open(folder / "maps", os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        maps = file.read(MAPS_CAP)
    if not _HOTSPOT.search(maps) or b"/libj9vm" in maps:  # as procfs.runtime_of has it, for a fifth of the cost
        raise Unsupported(f"process {folder.name} has no HotSpot JVM mapped")
    for name, pid, deleted in _MAPPED.findall(maps):
        if int(pid) == status.ids[-1]:
            if deleted:
                raise Unsupported(f"the perf data file of JVM {folder.name} was deleted, as cleaners of /tmp do")
            return os.fsdecode(name)
    raise Unsupported(
        f"JVM {folder.name} shares no perf data: it runs with -XX:-UsePerfData or -XX:+PerfDisableSharedMem"
    )


def _read(parent: int, name: str, pid: str, status: Status) -> bytes:
    """The file, if it is a plain one of the JVM's own user."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        raise Unsupported(f"JVM {pid} has its perf data mapped, but there is no such file in its /tmp") from None
    except PermissionError:
        raise
    except OSError as error:  # a symlink
        raise Unsupported(f"the perf data of JVM {pid} is no plain file ({error.strerror})") from None
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != status.euid:
            raise Unsupported(f"the perf data of JVM {pid} is not a file of its own user")
        chunks = bytearray()
        while len(chunks) < CAP and (chunk := os.read(descriptor, CAP - len(chunks))):
            chunks += chunk
        return bytes(chunks)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
