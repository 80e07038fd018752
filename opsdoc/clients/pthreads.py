"""Thread ids behind pthread handles, read from the record that the C library keeps of each thread."""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.proc import MAPS_CAP, gone
from opsdoc.model import Denied, Unsupported
from opsdoc.parsers.procfs import mapped_files, parse_stat, parse_status

CLibrary = Literal["glibc", "musl"]

# Where `tid` stands in `struct pthread`, whose address is the handle: measured with glibc 2.36 and musl 1.2, aarch64
# under qemu. A wrong place does no harm: only the id of a living thread of the process is believed.
TID_AT: dict[tuple[str, CLibrary], int] = {
    ("x86_64", "glibc"): 0x2D0,
    ("aarch64", "glibc"): 0xD0,
    ("x86_64", "musl"): 0x30,
    ("aarch64", "musl"): 0x20,
}
_TID = struct.Struct("=i")


class PthreadIds(NamedTuple):
    """The OS thread ids of pthread handles: pairs of (handle, id in the innermost pid namespace).

    The id is null for a handle that leads to no living thread of the process. Nothing is stopped: 4 bytes for each
    handle are read from `/proc/PID/mem`. `started` (ticks after boot) proves that it is the same process. Raises
    Unsupported where the C library is not known.
    """

    pid: int
    started: int
    handles: tuple[int, ...]

    def key(self) -> str:
        return f"pthreads.ids {self.pid}"

    def answer(self, live: Live) -> list[list[int | None]]:
        folder = live.proc / str(self.pid)
        try:
            # From here on the descriptor stands for this address space, whoever may get the pid next.
            memory = os.open(folder / "mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._refuse_unless_same(folder)
                at = _tid_at(self.pid, folder)
                values = [_integer(memory, handle + at) for handle in self.handles]
            finally:
                os.close(memory)
            mine = _thread_ids(folder)
        except PermissionError:
            raise Denied(f"not permitted to read the memory of process {self.pid}", live.as_root()) from None
        except (FileNotFoundError, ProcessLookupError):
            raise gone(self.pid) from None
        claims = Counter(values)
        found = [value if value in mine and claims[value] == 1 else None for value in values]
        if self.handles and not any(found):
            raise Unsupported(f"the C library of process {self.pid} keeps its thread ids at no place that opsdoc knows")
        return [[handle, tid] for handle, tid in zip(self.handles, found, strict=True)]

    def _refuse_unless_same(self, folder: Path) -> None:
        stat = parse_stat((folder / "stat").read_bytes())
        if stat.started != self.started or stat.state in "ZX":
            raise gone(self.pid)


def c_library(paths: frozenset[str]) -> CLibrary | None:
    """The C library that a process has mapped; None for a static program."""
    names = [path.rpartition("/")[2] for path in paths]
    if any(name == "libc.so.6" or (name.startswith("libc-2.") and name.endswith(".so")) for name in names):
        return "glibc"
    return "musl" if any(name.startswith(("ld-musl-", "libc.musl-")) for name in names) else None


def _tid_at(pid: int, folder: Path) -> int:
    with (folder / "maps").open("rb") as maps:
        library = c_library(mapped_files(maps.read(MAPS_CAP).decode("utf-8", "backslashreplace")))
    machine = os.uname().machine
    at = None if library is None else TID_AT.get((machine, library))
    if at is None:
        raise Unsupported(
            f"process {pid}: where {library or 'its C library'} on {machine} keeps thread ids is not known"
        )
    return at


def _integer(memory: int, address: int) -> int | None:
    """The 32-bit integer at an address; None where no memory is, as for a thread that ended."""
    if not 0 < address < 1 << 63:
        return None
    try:
        data = os.pread(memory, _TID.size, address)
    except OSError:
        return None
    return _TID.unpack(data)[0] if len(data) == _TID.size else None


def _thread_ids(folder: Path) -> frozenset[int]:
    """The ids of the living threads, as the process itself knows them."""
    names = os.listdir(folder / "task")
    if len(_namespace_ids(folder)) == 1:  # it shares our namespace: no thread need be asked
        return frozenset(int(name) for name in names)
    ids = set()
    for name in names:
        try:
            ids.add(_namespace_ids(folder / "task" / name)[-1])
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
    return frozenset(ids)


def _namespace_ids(folder: Path) -> tuple[int, ...]:
    return parse_status((folder / "status").read_text("utf-8", "backslashreplace")).ids
