"""Lines of log files: their times, the whole ones of a part, and those of gzip'd files, read once and bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from opsdoc.clients import Live
from opsdoc.clients.log_files import rotated_meanwhile

BLOCK = 64 << 10  # bytes read at once to find a time
REACH = 4 << 20  # bytes without any time that are looked through for one
CHUNK = 8 << 20  # bytes read between two looks at the clock
LONGEST_LINE = 1 << 20  # bytes


class Times(Protocol):
    """How the time stands in a line: unix time, or None where the line has none."""

    def read(self, line: bytes) -> float | None: ...


class TimedLines:
    """The lines of a file that have a time, as far as it reached when it was opened."""

    def __init__(self, descriptor: int, size: int, time: Times, live: Live) -> None:
        self.size = size
        self.reads = 0
        self._descriptor = descriptor
        self._time = time
        self._live = live

    def first(self) -> float | None:
        return next((time for _, time in self.lines(0, self.size)), None)

    def last(self) -> float | None:
        length = BLOCK
        while True:
            start = max(0, self.size - length)
            lines = self._read(start, length).split(b"\n")
            time = last_time(lines if start == 0 else lines[1:], self._time)
            if time is not None or start == 0 or length >= REACH:
                return time
            length *= 8

    def find(self, time: float, low: int = 0, *, early: bool = True) -> int:
        """Where the lines begin that are not older; rather too early, or too late, where there are no times to tell."""
        high = self.size
        while high - low > BLOCK:
            middle = (low + high) // 2
            at, found = next(self.lines(middle, high), (middle, time if early else float("-inf")))
            if found >= time:
                high = middle
            else:
                low = at
        return next((at for at, found in self.lines(low, high) if found >= time), high)

    def lines(self, start: int, stop: int) -> Iterator[tuple[int, float]]:
        """Offset and time of the lines that begin in [start, stop), until 4 MiB have none."""
        at = max(0, start - 1)  # the byte before tells whether a line begins here
        rest = b""
        within = start > 0  # a line whose beginning was not seen
        barren = 0
        while at - len(rest) < stop and barren < REACH:
            block = self._read(at, BLOCK)
            begin = at - len(rest)
            at += len(block)
            barren += len(block)
            lines = (rest + block).split(b"\n")
            rest = lines.pop() if block else b""
            for line in lines:
                time = None if within else self._time.read(line)
                if time is not None and begin < stop:
                    barren = 0
                    yield begin, time
                within = False
                begin += len(line) + 1
            if not block:
                return
            if len(rest) > LONGEST_LINE:
                rest, within = b"", True

    def _read(self, start: int, length: int) -> bytes:
        self._live.remaining()
        self.reads += 1
        return os.pread(self._descriptor, max(0, min(length, self.size - start)), start)


def last_time(lines: list[bytes], time: Times) -> float | None:
    return next((found for line in reversed(lines) if (found := time.read(line)) is not None), None)


def whole_lines(descriptor: int, start: int, end: int, path: str, live: Live) -> bytes:
    """The lines that begin in [start, end), the last at most until 1 MiB beyond. Unreachable where the file shrank."""
    first = _beginning(descriptor, start, end, live)
    if first >= end:
        return b""
    stop = _beginning(descriptor, end, end + LONGEST_LINE, live)
    chunks: list[bytes] = []
    while first < stop:
        live.remaining()
        chunk = os.pread(descriptor, min(CHUNK, stop - first), first)
        if not chunk:
            raise rotated_meanwhile(path)
        chunks.append(chunk)
        first += len(chunk)
    return b"".join(chunks)  # one chunk is not copied


def _beginning(descriptor: int, at: int, stop: int, live: Live) -> int:
    """Where the first line begins at or after `at`; `stop`, or where the file ends, if none does before."""
    if at == 0:
        return 0
    at -= 1  # the byte before tells whether a line begins there
    while at < stop:
        live.remaining()
        block = os.pread(descriptor, min(BLOCK, stop - at), at)
        newline = block.find(b"\n")
        if newline >= 0 or not block:
            return at + newline + 1
        at += len(block)
    return stop


def unpacked(descriptor: int, live: Live) -> Iterator[bytes]:
    """What a gzip'd file holds, in pieces of at most 1 MiB, up to where it is cut or damaged."""
    import zlib

    gzip = 16 + zlib.MAX_WBITS
    stream = zlib.decompressobj(gzip)
    packed = b""
    while True:
        live.remaining()
        packed = packed or os.read(descriptor, 4 * BLOCK)
        try:
            block = stream.decompress(packed, 1 << 20) if packed else stream.flush()
        except zlib.error:
            return
        if block or stream.eof:
            yield block
        if not packed:
            return
        packed = stream.unused_data if stream.eof else stream.unconsumed_tail
        if stream.eof:  # several may follow one another
            stream = zlib.decompressobj(gzip)


class Newest:
    """The last `cap` bytes of what was added, from the beginning of a line."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._blocks: deque[bytes] = deque()
        self._size = 0

    def add(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size += len(block)
        while self._size - len(self._blocks[0]) >= self._cap and len(self._blocks) > 1:
            self._size -= len(self._blocks.popleft())

    def clear(self) -> None:
        self._blocks.clear()
        self._size = 0

    def lines(self) -> bytes:
        data = b"".join(self._blocks)
        over = len(data) - self._cap
        return data if over <= 0 else data[data.find(b"\n", over - 1) + 1 or len(data) :]
