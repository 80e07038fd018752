"""What `perf script -F tid,event,ip,sym,dso` prints, to samples of threads, each with its stack."""

from __future__ import annotations

import re
from typing import NamedTuple

from opsdoc.model import Malformed

KERNEL = "[kernel.kallsyms]"
UNKNOWN = "[unknown]"
MOST_SAMPLES = 100_000
MOST_FRAMES = 256  # perf's own limit is 127: kernel.perf_event_max_stack
MOST_TEXT = 1000  # characters of a symbol or a path: C++ templates have symbols of tens of thousands

_NOT_KERNEL = ("[vdso]", "[vsyscall]", "[stack]", "[heap]", "[uprobes]", UNKNOWN)
_HEADER = re.compile(rb" *(\d{1,10})(?: +(\S+?)(:[ukhpP]+)?:)? *$")
_PLACE = re.compile(rb"\s+([0-9a-f]{1,16}) (.*) \((.*)\)$")
_OBJECT = re.compile(rb" \((?=[/\[])")  # a path, or a name in brackets: the symbol of C++ has parentheses of its own


class Place(NamedTuple):
    """A function and the file (or the kernel, or its module) that holds it; `[unknown]` where perf knows no name."""

    symbol: str
    dso: str

    @property
    def kernel(self) -> bool:
        """Whether it is code of the kernel."""
        return self.dso.startswith("[") and self.dso not in _NOT_KERNEL and not self.dso.startswith("[anon")


class Sample(NamedTuple):
    """A thread, and where it was: innermost first.

    `user_only` says that perf was not permitted to see the kernel: nothing was sampled there.
    """

    tid: int
    frames: tuple[Place, ...]
    user_only: bool = False


def parse(data: bytes) -> tuple[Sample, ...]:
    """The samples in the order of perf's output, which is that of time.

    A sample ends with an empty line: what is cut off in the middle is left out, and lines that are none of perf's are
    passed over. Raises Malformed when there is text but not one sample in it.
    """
    samples: list[Sample] = []
    places: dict[bytes, Place | None] = {}  # the same few lines come again and again
    tid: int | None = None
    user_only = False
    frames: list[Place] = []
    lines = data.split(b"\n")
    for line in lines[:-1]:  # what stands behind the last newline was cut off
        if not line.strip():
            if tid is not None and len(samples) < MOST_SAMPLES:
                samples.append(Sample(tid, tuple(frames), user_only))
            tid, frames = None, []
        elif (header := _HEADER.match(line)) is not None:
            tid, frames, user_only = int(header[1]), [], header[3] == b":u"
        elif tid is not None and len(frames) < MOST_FRAMES:
            if line not in places:
                places[line] = _place(line)
            if (place := places[line]) is not None:
                frames.append(place)
    if not samples and data.strip():
        raise Malformed(f"not the output of perf script: {data[:80]!r}")
    return tuple(samples)


def _place(line: bytes) -> Place | None:
    match = _PLACE.match(line)
    if match is None:
        return None
    address, symbol, dso = match.groups()
    splits = list(_OBJECT.finditer(line, match.start(2)))
    # ` (deleted)` is a part of the path and no path itself, so the last bracket that opens one is right.
    if splits:
        symbol, dso = line[match.start(2) : splits[-1].start()], line[splits[-1].end() : -1]
    known_dso = _text(dso)
    if known_dso == UNKNOWN and len(address) == 16 and address >= b"8":  # the upper half is the kernel's
        known_dso = KERNEL
    return Place(_text(symbol), known_dso)


def _text(raw: bytes) -> str:
    return raw[:MOST_TEXT].decode("utf-8", "backslashreplace")
