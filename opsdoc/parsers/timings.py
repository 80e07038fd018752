"""Response, connect and header times of upstream servers, and what retries cost, as quantiles.

All times of the first lines are read, then those of a sample: enough for quantiles, at a fraction of the work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from opsdoc.parsers.attempts import ANSWERS, LONGEST, NOTHING

ALL_TIMED = 20_000  # lines of which all times are read
ONE_IN = 32  # then of one block in so many: blocks of some hundred lines, so that it is no server's turn
MOST_BINS = 300_000  # distinct times of one server
_SERVED = ANSWERS | {b"-"}  # without a status nobody knows better
_SECONDS = re.compile(rb"(\d{1,6})\.(\d{3})", re.ASCII)


class Quantiles(NamedTuple):
    """Of `n` times the median and the 95th percentile, in seconds, to three digits from 1 s on; None without any."""

    n: int
    p50: float | None
    p95: float | None


class Connects(NamedTuple):
    """Of `n` connections the median time, and the share of those that took 0.000 s: open before, or very near."""

    n: int
    p50: float | None
    zero: float | None


class Table:
    """How often each time occurred, by server, as they are written: to the millisecond, and from 1 s on to 3 digits."""

    def __init__(self, *names: str, failed: bool = False) -> None:
        self._names = names  # the variables that have it, the better one first
        self._failed = failed  # whether attempts that failed count, too
        # Where each line counts for one, and where it stands for ONE_IN.
        self._all: dict[bytes, dict[bytes, int]] = {}
        self._sample: dict[bytes, dict[bytes, int]] = {}
        self.bins = self.overflow = 0

    def add(self, values: Mapping[str, Sequence[bytes]], *, sampled: bool) -> None:
        """Count the times of a block."""
        addresses, codes = values.get("upstream_addr"), values.get("upstream_status") or values.get("status")
        texts = next((values[name] for name in self._names if name in values), None)
        if addresses is None or codes is None or texts is None:
            return
        counts = self._sample if sampled else self._all
        for address, code, text in zip(addresses, codes, texts, strict=True):
            if code in ANSWERS:
                try:
                    counts[address][text] += 1
                except KeyError:
                    pass
                else:
                    continue
            self._look(counts, address, code, text)

    def _look(self, counts: dict[bytes, dict[bytes, int]], addresses: bytes, codes: bytes, texts: bytes) -> None:
        """Count a line that is not like those before it."""
        for address, code, text in beside(addresses, codes, texts):
            milliseconds = _milliseconds(text)
            if milliseconds is None or address in NOTHING or not (self._failed or code in ANSWERS):
                continue
            written = b"%d.%03d" % divmod(milliseconds, 1000)
            if written in counts.get(address, ()):
                counts[address][written] += 1
            elif self.bins < MOST_BINS and len(address) <= LONGEST:
                self.bins += 1
                counts.setdefault(address, {})[written] = 1
            else:
                self.overflow += 1

    def _of(self, address: str) -> tuple[int, Counter[int]]:
        """How many times of a server were read, and what they stand for, in milliseconds."""
        raw = address.encode("utf-8", "surrogateescape")
        n = 0
        times: Counter[int] = Counter()
        for counts, weight in ((self._all, 1), (self._sample, ONE_IN)):
            for text, count in counts.get(raw, {}).items():
                n += count
                times[_milliseconds(text) or 0] += count * weight
        return n, times

    def quantiles(self, address: str) -> Quantiles:
        """The quantiles of a server."""
        return quantiles(*self._of(address))

    def connects(self, address: str) -> Connects:
        """The same as connect times."""
        n, times = self._of(address)
        total = sum(times.values())
        return Connects(n, quantiles(n, times).p50, times[0] / total if total else None)


class Timings:
    """All times of the servers, and the time that the failed attempts took of requests that were saved."""

    def __init__(self) -> None:
        self.response = Table("upstream_response_time", "request_time")
        self.connect = Table("upstream_connect_time", failed=True)
        self.header = Table("upstream_header_time")
        self._retries: Counter[int] = Counter()
        self._rows = self._blocks = 0

    @property
    def overflow(self) -> int:
        """The times that were left out, because there were too many distinct ones."""
        return self.response.overflow + self.connect.overflow + self.header.overflow

    def due(self) -> bool:
        """Whether the times of the next block are to be read."""
        return self._rows < ALL_TIMED or self._blocks % ONE_IN == 0

    def passed(self, rows: int) -> None:
        """Tell of a block, whether it was due or not."""
        self._blocks += 1
        self._rows += rows

    def add(self, values: Mapping[str, Sequence[bytes]]) -> None:
        """Count the times of a block that was due."""
        for table in (self.response, self.connect, self.header):
            table.add(values, sampled=self._rows >= ALL_TIMED)

    def retries(self) -> Quantiles:
        """Of the requests that were saved."""
        return quantiles(sum(self._retries.values()), self._retries)

    def add_retry(self, status: bytes, codes: bytes, spent: bytes, count: int) -> None:
        """Count requests with these upstream statuses; `spent` are the times of all attempts but the last."""
        failed, _, last = codes.rpartition(b" ")
        if b", " in codes and last in ANSWERS and status in _SERVED:
            times = [
                _milliseconds(time) or 0
                for code, time in beside(failed.rstrip(b" ,:"), spent.rstrip(b" ,:"))
                if code not in ANSWERS
            ]
            if times:
                self._retries[_rounded(sum(times))] += count


def beside(*lists: bytes) -> Iterable[tuple[bytes, ...]]:
    """The elements of several lists `A, B : C` beside each other; none if they differ in length."""
    if b" " not in lists[0]:
        return (lists,)
    divided = [one.replace(b" : ", b", ").split(b", ") for one in lists]
    return zip(*divided, strict=True) if len({len(one) for one in divided}) == 1 else ()


def quantiles(n: int, times: Mapping[int, int]) -> Quantiles:
    """Of `n` measured times, from how often each of them is to be counted, in milliseconds."""
    total = sum(times.values())
    found: list[float | None] = []
    for share in (0.5, 0.95):
        seen = 0
        for milliseconds in sorted(times):
            seen += times[milliseconds]
            if seen >= share * total:
                found.append(milliseconds / 1000)
                break
        else:
            found.append(None)
    return Quantiles(n, found[0], found[1])


@lru_cache(16_384)
def _milliseconds(text: bytes) -> int | None:
    match = _SECONDS.fullmatch(text)
    return None if match is None else _rounded(int(match[1] + match[2]))


def _rounded(milliseconds: int) -> int:
    """Three digits, so that the number of distinct times is bounded."""
    step = 1
    while milliseconds >= 1000 * step:
        step *= 10
    return milliseconds // step * step
