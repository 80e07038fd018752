"""`lukewarm.py THREADS WORK_MS PERIOD_MS`: every thread works that long in each period, all in `reserve`."""

from __future__ import annotations

import sys
import threading
import time

from stage import commands, state, wake


def reserve(work: float, period: float) -> int:
    left = 1
    due = time.monotonic()
    while state.hot:
        due = max(due + period, time.monotonic())
        end = time.thread_time() + work
        while time.thread_time() < end:
            for number in range(500):
                left = (left * 31 + number) % 1000003
        time.sleep(max(0.001, due - time.monotonic()))
    return left


def worker(number: int, threads: int, work: float, period: float) -> None:
    time.sleep(period * number / threads)
    while True:
        wake.wait()
        reserve(work, period)


def main() -> None:
    threads, work, period = int(sys.argv[1]), float(sys.argv[2]) / 1000, float(sys.argv[3]) / 1000
    for number in range(threads):
        args = (number, threads, work, period)
        threading.Thread(target=worker, args=args, name=f"stock-worker-{number}", daemon=True).start()
    commands()


main()
