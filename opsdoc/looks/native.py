"""Code that no runtime tells of: what perf saw its threads doing, and what the kernel says they wait in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.model import Frame, Origin, Share, Unknown
from opsdoc.parsers import perf_script
from opsdoc.parsers.perf_script import UNKNOWN, Place, Sample
from opsdoc.parsers.syscalls import call_of, stack_frames, syscall_of

SOURCE = "perf record"
MOST_FRAMES = 64
UNNAMED = "unnamed function"
KERNEL_HIDDEN = "perf was not permitted to see the kernel: kernel.perf_event_paranoid is above 1"

# ── from perf ────────────────────────────────────────────────────────────────────────────────────


class Sampled(NamedTuple):
    """What a thread was seen doing: the stack of the place it was in most, how often, and its part in the kernel.

    `syscalls` holds system calls, `page fault` and `interrupt` with their share of all samples, the most frequent
    first; none are known where `kernel` is not.
    """

    frames: tuple[Frame, ...]
    agreement: Share
    kernel: Share | Unknown
    syscalls: tuple[tuple[str, Share], ...]


def read(data: bytes) -> dict[int, Sampled]:
    """The threads of an answer of PerfSamples by their id here; raises Malformed.

    A thread without a sample used no CPU meanwhile, and is not in it.
    """
    samples = perf_script.parse(data)
    of_go = frozenset(
        place.dso for sample in samples for place in sample.frames if place.symbol.startswith(_START_OF_GO)
    )
    threads: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.frames:
            threads.setdefault(sample.tid, []).append(sample)
    return {tid: _sampled(own, of_go) for tid, own in threads.items()}


def _sampled(samples: Sequence[Sample], of_go: frozenset[str]) -> Sampled:
    stacks = [_frames(sample.frames, of_go) for sample in samples]
    places = [_place(stack) for stack in stacks]
    counted = Counter(places)
    place, seen = counted.most_common(1)[0]
    alike = Counter(stack for stack, at in zip(stacks, places, strict=True) if at == place)
    number = len(samples)
    calls = Counter(call for sample in samples if (call := syscall_of(sample.frames)) is not None)
    in_kernel = sum(sample.frames[0].kernel for sample in samples)
    return Sampled(
        alike.most_common(1)[0][0],
        Share(seen, number),
        Unknown(KERNEL_HIDDEN) if samples[0].user_only else Share(in_kernel, number),
        tuple((name, Share(times, number)) for name, times in calls.most_common()),
    )


def _place(stack: Sequence[Frame]) -> tuple[str, str | None]:
    """Where a thread is: its first frame that is no runtime's, else its first outside of the kernel."""
    frame = next((frame for frame in stack if frame.origin != "runtime"), None)
    frame = frame or next((frame for frame in stack if not _in_kernel(frame)), stack[0])
    return frame.function, frame.file


def _in_kernel(frame: Frame) -> bool:
    return bool(frame.file) and Place(frame.function, str(frame.file)).kernel


def _frames(places: Sequence[Place], of_go: frozenset[str]) -> tuple[Frame, ...]:
    """A stack as frames; code without names stands once in a row, and what perf could not place at all is left out."""
    frames: list[Frame] = []
    for place in places[:MOST_FRAMES]:
        frame = _frame(place, of_go)
        nameless = place.symbol == UNKNOWN
        if not (nameless and (place.dso == UNKNOWN or (frames and frames[-1] == frame))):
            frames.append(frame)
    return tuple(frames) or (_frame(places[0], of_go),)


# ── whose code ───────────────────────────────────────────────────────────────────────────────────

_MAP = re.compile(r"/perf-\d+\.map$")  # code made at run time: perf calls all of it so, named or not
# Names in such a map: Node (`JS:*spin /app/a.js:1:14`, `LazyCompile:…`) and Python (`py::spin:/app/a.py`).
_BY_NODE = re.compile(r"(?:\w+|interpreted function):[~*^+'-]{0,2}([^ ]*) (?:file://)?(\S+?)(?::(\d{1,7}))(?::\d+)?$")
_BY_PYTHON = re.compile(r"py::([^:]*):([^:]+)()$")
_RUNTIME_LIBRARY = re.compile(
    r"^(?:ld|ld-linux[\w.-]*|ld-musl[\w.-]*|lib(?:c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s|gomp|omp|jvm|jli|java|nio|net|zip"
    r"|node|coreclr|clrjit|hostfxr|mono[\w.-]*|(?:python|ruby|perl|php)[\w.-]*?))(?:[-.][\d.-]*)?\.so(?:[.\d]*)$"
)
_INTERPRETER = re.compile(
    r"^(?:python|ruby|perl|php(?:-fpm|-cgi)?|node|nodejs|java|dotnet|lua|luajit|beam\.smp)[\d.]*$"
)
_LIBRARY = re.compile(r"\.so(?:\.[\w.]+)?$")
_START_OF_GO = (
    "runtime.goexit",
    "runtime.main",
    "runtime.mcall",
    "runtime.mstart",
    "runtime.systemstack",
    "runtime.rt0",
)
_LIBRARY_OF_GO = ("golang.org/", "google.golang.org/", "gopkg.in/", "go.uber.org/", "k8s.io/", "vendor/")


def _frame(place: Place, of_go: frozenset[str]) -> Frame:
    path = place.dso.removesuffix(" (deleted)")
    file = path.rpartition("/")[2] or path
    if _MAP.search(path):
        return _made_at_run_time(place.symbol)
    if place.kernel or file.startswith("["):
        return Frame(UNNAMED if place.symbol == UNKNOWN else place.symbol, file, None, "runtime")
    origin: Origin = "app"
    if _RUNTIME_LIBRARY.match(file) or _INTERPRETER.match(file):
        origin = "runtime"
    elif _LIBRARY.search(file):
        origin = "library"
    elif place.dso in of_go:
        origin = _origin_in_go(place.symbol)
    return Frame(UNNAMED if place.symbol == UNKNOWN else place.symbol, file, None, origin)


def _made_at_run_time(symbol: str) -> Frame:
    if symbol == UNKNOWN:
        return Frame("unnamed code made at run time", None, None, "app")
    made = _BY_NODE.match(symbol) or _BY_PYTHON.match(symbol)
    if made is None:
        return Frame(symbol, None, None, "app")
    name, file, line = made.groups()
    own = not file.startswith(("node:", "<frozen"))
    return Frame(name or "(anonymous)", file, int(line) if line else None, "app" if own else "runtime")


def _origin_in_go(symbol: str) -> Origin:
    """Go names a function by the path of its package; only those of its own library have no dot in the first part."""
    if symbol.startswith(("main.", UNKNOWN)):
        return "app"
    if symbol.startswith(_LIBRARY_OF_GO):
        return "library"
    package, slash, _ = symbol.partition("/")
    if slash:
        return "app" if "." in package else "runtime"
    return "runtime" if "." in symbol else "app"  # what has no package at all is C


# ── from the kernel ──────────────────────────────────────────────────────────────────────────────


def explain(view: Mapping[str, Any]) -> str | Unknown:
    """What a thread does by one view of KernelView, in words: `runs`, `waits in futex (futex_wait_queue)`."""
    unknown: Mapping[str, str] = view["unknown"]
    line, wchan = view["syscall"], view["wchan"]
    if line == "running":
        return "runs"
    call = call_of(line or "", view["machine"])
    where = wchan if wchan and wchan != "0" else None
    if where is None:
        where = next((place.symbol for place in stack_frames(view["stack"] or "") if _tells(place.symbol)), None)
    if call is not None:
        return f"waits in {call} ({where})" if where else f"waits in {call}"
    if where is not None:
        return f"waits in the kernel ({where})"
    if unknown:
        return Unknown(next(iter(unknown.values())))
    return "runs, or has just been woken"


def _tells(symbol: str) -> bool:
    """Whether a function of the kernel says what is waited for: each wait ends in the scheduler's."""
    return not symbol.startswith(("schedule", "__schedule", "context_switch", "__switch_to"))
