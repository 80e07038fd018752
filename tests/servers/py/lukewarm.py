"""`lukewarm.py THREADS WORK_MS REST_MS`: every thread works that long, then rests, all in `reserve`."""

from __future__ import annotations

import sys
import threading
import time

from stage import commands, state, wake


def reserve(work: float, rest: float) -> int:
    left = 1
    while state.hot:
        end = time.thread_time() + work
        while time.thread_time() < end:
            for number in range(500):
                left = (left * 31 + number) % 1000003
        time.sleep(rest)
    return left


def worker(number: int, threads: int, work: float, rest: float) -> None:
    time.sleep(rest * number / threads)
    while True:
        wake.wait()
        reserve(work, rest)


def main() -> None:
    threads, work, rest = int(sys.argv[1]), float(sys.argv[2]) / 1000, float(sys.argv[3]) / 1000
    for number in range(threads):
        args = (number, threads, work, rest)
        threading.Thread(target=worker, args=args, name=f"stock-worker-{number}", daemon=True).start()
    commands()


main()
