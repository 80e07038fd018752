"""What `py-spy dump` says, as JSON or as text, to Python threads and frames; and what it says when it fails."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from opsdoc.model import Frame, Malformed


class PythonThread(NamedTuple):
    """One Python thread. `thread_id` is the pthread handle, `tid` the OS thread id in the innermost pid namespace.

    Either is None where the dump does not say it: py-spy has no `tid` for Python 3.10 and older without stopping the
    process, writes 0 for a thread that is just starting, and shows only one of the two in its text. `active` is
    py-spy's guess; never rank by it. Frames are innermost first, with the full file name from JSON and a shortened one
    from text.
    """

    thread_id: int | None
    tid: int | None
    name: str | None
    active: bool
    owns_gil: bool
    frames: tuple[Frame, ...]


def parse_json(data: bytes) -> tuple[PythonThread, ...]:
    """The threads in the output of `py-spy dump --json`, in its order. Raises Malformed for anything else."""
    try:
        threads = json.loads(data)
        return tuple([_thread(thread) for thread in threads])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Malformed(f"not the JSON of py-spy dump: {data[:80]!r:.80}") from None


def _thread(thread: dict[str, Any]) -> PythonThread:
    return PythonThread(
        thread_id=_whole(thread["thread_id"]),
        tid=None if thread["os_thread_id"] is None else _whole(thread["os_thread_id"]) or None,
        name=None if thread["thread_name"] is None else _text(thread["thread_name"]),
        active=thread["active"] is True,
        owns_gil=thread["owns_gil"] is True,
        frames=tuple([_frame(frame) for frame in thread["frames"]]),
    )


def _frame(frame: dict[str, Any]) -> Frame:
    # py-spy writes line 0 where it knows none
    return Frame(_text(frame["name"]), _text(frame["filename"]) or None, _whole(frame["line"]) or None)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise TypeError
    return value


def _text(value: str) -> str:
    """JSON can spell a lone surrogate; it is made visible, since no terminal and no file takes one."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


_THREAD = re.compile(r'Thread (?:0x([0-9A-Fa-f]{1,16})|(\d{1,19})) \(([a-z]+)((?:\+[a-z]+)*)\)(?:: "(.*?)"?)?')
_CALL = re.compile(r" {4}(\S.*) \((.+)\)")


def parse_text(data: bytes) -> tuple[PythonThread, ...]:
    """The threads in the text of `py-spy dump`, in its order. Raises Malformed if there is none.

    Unlike JSON, the text cannot tell a line break in a thread's name from the next thread: do not trust an id that
    occurs twice. Lines that are neither threads nor calls (the process, `--locals`) are passed over.
    """
    found: list[tuple[PythonThread, list[Frame]]] = []
    for line in data.decode("utf-8", "backslashreplace").split("\n"):
        text = line.rstrip("\r")
        if head := _THREAD.fullmatch(text):
            handle, tid, activity, flags, name = head.groups()
            thread = PythonThread(
                thread_id=int(handle, 16) if handle else None,
                tid=int(tid) if tid else None,
                name=name,
                active=activity == "active",
                owns_gil="+gil" in flags,
                frames=(),
            )
            found.append((thread, []))
        elif found and (call := _CALL.fullmatch(text)):
            found[-1][1].append(_call(*call.groups()))
    if not found:
        raise Malformed(f"not the text of py-spy dump: {data[:80]!r:.80}")
    return tuple([thread._replace(frames=tuple(frames)) for thread, frames in found])


def _call(function: str, where: str) -> Frame:
    file, _, line = where.rpartition(":")
    if file and line.isascii() and line.isdigit() and len(line) < 10:
        return Frame(function, file, int(line))
    return Frame(function, where)


# ── when it fails ────────────────────────────────────────────────────────────────────────────────

_CAUSE = re.compile(r"(?:Error: |\s+\d{1,2}: |\s{2,})(\S.*)")
_SAID = 200  # characters of a complaint: the longest seen has 150


def complaint(stderr: bytes) -> str:
    """What py-spy complains of, on one line: its error and the causes, without the backtrace that may follow them."""
    said: list[str] = []
    lines = stderr[:65536].decode("utf-8", "backslashreplace").splitlines()
    for line in lines:
        if line.startswith("Stack backtrace"):
            break
        cause = _CAUSE.fullmatch(line)
        if cause is not None and cause[1] not in said:
            said.append(cause[1].strip())
    if not said:
        said = [next((line.strip() for line in lines if line.strip()), "no reason given")]
    return ": ".join(said)[:_SAID]


class PythonBuild(NamedTuple):
    """Which Python a process runs."""

    version: tuple[int, int]
    free_threaded: bool

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"


_BUILD = re.compile(r"/(?:libpython|python)(\d)\.(\d{1,2})(t?)[^/]*$", re.ASCII)


def build_of(paths: frozenset[str]) -> PythonBuild | None:
    """The Python that a process has mapped, from the name of its library or program; None if none is named so."""
    for path in sorted(paths):
        if (match := _BUILD.search(path)) is not None:
            return PythonBuild((int(match[1]), int(match[2])), bool(match[3]))
    return None


def deleted(maps: str) -> str | None:
    """The library or program of Python in `/proc/PID/maps` whose file is gone, as after an upgrade."""
    for line in maps.splitlines():
        path = line.split(None, 5)[-1] if line.endswith(" (deleted)") else ""
        if "python" in path.rpartition("/")[2]:
            return path.removesuffix(" (deleted)")
    return None
