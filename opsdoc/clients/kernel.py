"""What the kernel tells of threads without stopping them: where they wait, in which system call, its own stack."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.proc import gone

CAP = 16 * 1024  # bytes of one file: a kernel stack has 64 frames at most
MOST_THREADS = 64
PATIENCE = 1.0  # seconds for all files: syscall and stack wait for a lock that a process holds while in execve(2)
LATE = "the kernel did not answer in time"
_FILES = ("wchan", "syscall", "stack")


class KernelView(NamedTuple):
    """`/proc/PID/task/TID/` {wchan, syscall, stack} of threads, as text.

    A list of {tid, machine, wchan, syscall, stack, unknown, hint}; what was not permitted is null, with the reason
    under `unknown`. A thread that ended is left out.
    """

    pid: int
    tids: tuple[int, ...]

    def key(self) -> str:
        return f"kernel.view {self.pid}"

    def answer(self, live: Live) -> list[dict[str, Any]]:
        if not os.path.exists(live.proc / str(self.pid)):
            raise gone(self.pid)
        machine, hint = os.uname().machine, live.as_root()
        views: list[dict[str, Any]] = []

        def look() -> None:
            for tid in self.tids[:MOST_THREADS]:
                files = _read(f"{live.proc}/{self.pid}/task/{tid}")
                if files is not None:
                    view = {"tid": tid, "machine": machine, **files, "hint": hint if files["unknown"] else ""}
                    views.append(view)  # one by one, so that what was read in time is there

        # A daemon: a read that the kernel does not answer must hold neither the run nor its end.
        reader = threading.Thread(target=look, daemon=True)
        reader.start()
        reader.join(min(PATIENCE, live.remaining()))
        seen = list(views)
        done = {view["tid"] for view in seen}
        late = [tid for tid in self.tids[:MOST_THREADS] if reader.is_alive() and tid not in done]
        return seen + [_unanswered(tid, machine) for tid in late]


def _unanswered(tid: int, machine: str) -> dict[str, Any]:
    nothing = dict.fromkeys(_FILES)
    return {"tid": tid, "machine": machine, **nothing, "unknown": dict.fromkeys(_FILES, LATE), "hint": ""}


def _read(folder: str) -> dict[str, Any] | None:
    """The files of one thread; None if it is gone."""
    texts: dict[str, str | None] = {}
    unknown: dict[str, str] = {}
    for name in _FILES:
        try:
            texts[name] = _text(f"{folder}/{name}")
        except (FileNotFoundError, ProcessLookupError):
            if not os.path.exists(folder):
                return None
            texts[name], unknown[name] = None, "this kernel does not tell it"
        except PermissionError:
            texts[name], unknown[name] = None, f"not permitted to read {folder}/{name}"
        except OSError as error:
            texts[name], unknown[name] = None, f"{folder}/{name}: {error.strerror}"
    if texts["wchan"] == "0" and "syscall" in unknown:  # the kernel says 0 for "not waiting" and for "not permitted"
        texts["wchan"], unknown["wchan"] = None, unknown["syscall"]
    return {**texts, "unknown": unknown}


def _text(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, CAP).decode("utf-8", "backslashreplace").strip()
    finally:
        os.close(descriptor)
