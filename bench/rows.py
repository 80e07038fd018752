"""What is measured and how it is told: what a command costs, two of them in turn, and the rows of the table."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from servers import jdk

OPSDOC = [str(Path(sys.executable).parent / "opsdoc")]
WINDOW = 2


class Cost(NamedTuple):
    """What one run took, in seconds."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """One line of the table: medians of ours and theirs, the promise about their ratio, and how it was met."""

    what: str
    ours: str
    theirs: str
    promise: str
    measured: str
    holds: bool | None


def cost_of(command: Sequence[str], good: Sequence[int] = (0, 1, 2, 3)) -> Cost:
    """Run a command to its end."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code not in good:
            err.seek(0)
            raise SystemExit(f"{command} ended with {code}: {err.read()[-2000:].decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def environment() -> dict[str, str]:
    jdk_home = jdk.home()
    path = os.environ["PATH"] if jdk_home is None else f"{jdk_home}/bin:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "LANG": "C.UTF-8"}


def in_turn(ours: Callable[[], Cost], theirs: Callable[[], Cost], rounds: int) -> tuple[list[Cost], list[Cost]]:
    """A B A B; the first of each warms the caches and is not counted."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def told(values: Sequence[float]) -> str:
    return f"{1000 * statistics.median(values):,.0f} ms [{1000 * min(values):,.0f}–{1000 * max(values):,.0f}]"


def compared(what: str, ours: Sequence[float], theirs: Sequence[float], limit: float) -> Row:
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Row(what, told(ours), told(theirs), f"≤ {limit:g} ×", f"{ratio:.2f} ×", ratio <= limit)


def by_command(
    what: str, ours: Sequence[str], theirs: Sequence[str], rounds: int, *, cpu: float | None, wall: float | None
) -> list[Row]:
    """A row for CPU and one for wall time, each with its limit."""
    mine, other = in_turn(lambda: cost_of(ours), lambda: cost_of(theirs), rounds)
    rows = []
    if cpu is not None:
        rows.append(compared(f"{what}: CPU", [c.cpu for c in mine], [c.cpu for c in other], cpu))
    if wall is not None:
        rows.append(compared(f"{what}: wall", [c.wall for c in mine], [c.wall for c in other], wall))
    return rows
