"""Access logs, read: a million lines with upstream fields, by `opsdoc` in one process and by goaccess."""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from opsdoc.parsers import tally  # noqa: E402
from opsdoc.parsers.log_format import COMBINED, LogFormat, compile_format  # noqa: E402

LINES = 1_000_000
CHUNK = 2 << 20  # bytes; larger ones cost time, for their memory is mapped anew each time
PER_SECOND = 280  # lines of the log
START = 1795383348
PEERS = ("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "unix:/run/app.sock")
FORMAT = compile_format(
    COMBINED + ' rt=$request_time ua="$upstream_addr" us="$upstream_status" urt="$upstream_response_time" '
    'uct="$upstream_connect_time" uht="$upstream_header_time" cs=$upstream_cache_status lrs=$limit_req_status '
    "lcs=$limit_conn_status"
)
GOACCESS = [
    "goaccess",
    "--no-global-config",
    "--log-format",
    '%h %^[%d:%t %^] "%r" %s %b "%R" "%u" %^',
    "--date-format",
    "%d/%b/%Y",
    "--time-format",
    "%T",
]


def generate(path: Path, lines: int = LINES) -> None:
    """Write a log in the recommended format, of four peers, with a few of all that goes wrong."""
    chance = random.Random(1)
    with path.open("wb") as out:
        for first in range(0, lines, PER_SECOND):
            stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(START + first // PER_SECOND))
            count = min(PER_SECOND, lines - first)
            out.write("".join(_line(first + number, stamp, chance) for number in range(count)).encode())


def _line(number: int, stamp: str, chance: random.Random) -> str:
    peer, other = PEERS[number % 4], PEERS[(number + 1) % 4]
    took = chance.random() ** 3 * 0.3
    urt, uht = f"{took:.3f}", f"{took * 0.9:.3f}"
    row = (200, peer, "200", urt, "0.000", uht, "PASSED")
    draw = chance.random()
    if draw < 0.01:
        row = (200, f"{peer}, {other}", "502, 200", f"0.000, {urt}", "-, 0.000", f"-, {uht}", "PASSED")
    elif draw < 0.015:
        row = (502, peer, "502", "0.000", "-", "-", "PASSED")
    elif draw < 0.02:
        row = (503, "-", "-", "-", "-", "-", "REJECTED")
    elif draw < 0.021:
        row = (502, "backend", "502", "0.000", "-", "-", "PASSED")
    elif draw < 0.023:
        row = (200, f"{peer} : {other}", "503 : 200", f"{urt} : 0.001", "0.000 : 0.000", f"{uht} : 0.001", "PASSED")
    status, ua, us, urt, uct, uht, limit = row
    return (
        f'10.1.{number % 256}.{chance.randrange(256)} - - [{stamp}] "GET /api/v1/items/{chance.randrange(1_000_000)} '
        f'HTTP/1.1" {status} {chance.randrange(20_000)} "-" "Mozilla/5.0 (X11; Linux x86_64)" rt={took:.3f} ua="{ua}" '
        f'us="{us}" urt="{urt}" uct="{uct}" uht="{uht}" cs=- lrs={limit} lcs=-\n'
    )


def chunks(path: Path, size: int = CHUNK) -> Iterator[bytes]:
    """Whole lines of a file, about so many bytes at a time."""
    with path.open("rb") as file:
        while data := file.read(size):
            yield data + file.readline()


def tallied(path: Path, fmt: LogFormat = FORMAT) -> tally.Tally:
    """All that `opsdoc nginx` counts of a log."""
    counted = tally.Tally()
    for data in chunks(path):
        for block in tally.read(data, fmt):
            counted.add(block)
    assert counted.traces
    return counted


def measure(path: Path, lines: int = LINES) -> float:
    """The seconds that `opsdoc` takes for a log, in this process, with collections off as in the program."""
    with _no_collections():
        start = time.perf_counter()
        counted = tallied(path)
        took = time.perf_counter() - start
    assert (counted.rows, counted.unread) == (lines, 0)
    assert len(counted.servers) == len(PEERS)
    return took


def measure_goaccess(path: Path) -> float:
    """The seconds that goaccess takes for the same, written as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [*GOACCESS, "-o", f"{folder}/report.json", str(path)]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        took = time.perf_counter() - start
        assert Path(folder, "report.json").stat().st_size > 1000
    return took


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "access.log")
        generate(path, options.lines)
        ways: dict[str, Callable[[], float]] = {"opsdoc": lambda: measure(path, options.lines)}
        if shutil.which("goaccess"):
            ways["goaccess"] = lambda: measure_goaccess(path)
        took = {name: [way() for _ in range(options.rounds if name == "opsdoc" else 1)] for name, way in ways.items()}
        print(f"{options.lines:,} lines, {path.stat().st_size / 1e6:,.0f} MB")
        for name, times in took.items():
            print(f"{name:<10} {min(times):8.2f} s  {options.lines / min(times):>12,.0f} lines/s")
        if "goaccess" in took:
            print(f"opsdoc is {min(took['goaccess']) / min(took['opsdoc']):.1f} times as fast")


if __name__ == "__main__":
    main()
