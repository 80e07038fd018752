"""`hot_one.py THREADS DEPTH`: that many threads, all parked but `order-worker-3`; the main thread reads stdin."""

from __future__ import annotations

import sys
import threading

from stage import commands, state, wake

tid: list[int] = []
started = threading.Event()
never = threading.Event()


def wait_for_work(depth: int) -> int:
    if depth > 1:
        return wait_for_work(depth - 1) + 1
    never.wait()
    return 0


def recalculate(order: int) -> int:
    total = order
    # fmt: off
    while state.hot: total = (total * 31 + 7) % 1000003  # HOT
    # fmt: on
    return total


def price(order: int) -> float:
    return recalculate(order) * 1.19


def work() -> None:
    tid.append(threading.get_native_id())
    started.set()
    for order in range(1_000_000):
        wake.wait()
        price(order)


def main() -> None:
    threads, depth = int(sys.argv[1]), int(sys.argv[2])
    for number in range(threads - 2):
        name = f"http-worker-{number}"
        threading.Thread(target=wait_for_work, args=(depth,), name=name, daemon=True).start()
    threading.Thread(target=work, name="order-worker-3", daemon=True).start()
    started.wait()
    commands(hot_tid=tid[0], main_tid=threading.get_native_id())


main()
