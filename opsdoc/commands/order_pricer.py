"""The sick program that `opsdoc demo` diagnoses: a dozen threads, one of which burns a core in `recalculate`.

It is copied to a temporary directory and run there. It ends when its standard input ends, that is with the opsdoc
that started it, and in any case after two minutes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
from collections.abc import Sequence

LIFETIME = 120.0  # seconds
THREADS = 12
_MAY_BE_LOOKED_INTO = 0x59616D61  # PR_SET_PTRACER: where Yama guards memory, a sibling may read ours all the same
_BY_ANYBODY = ctypes.c_ulong(-1)


def recalculate(prices: Sequence[int]) -> int:
    """Add the prices up, and up, and up: the loop that one order keeps alive."""
    total = 0
    while True:
        for price in prices:
            total = (total * 31 + price) % 1_000_003


def price_orders(prices: Sequence[int]) -> None:
    """What the hot worker thinks that it does."""
    recalculate(prices)


def wait_for_orders(orders: queue.Queue[int]) -> None:
    """What its idle colleagues do."""
    while True:
        orders.get()


def _main() -> None:
    # The parent only waits, so that the hot process is not a child of opsdoc, which it leaves out of every ranking.
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_MAY_BE_LOOKED_INTO, _BY_ANYBODY, 0, 0, 0)
    orders: queue.Queue[int] = queue.Queue()
    for number in range(1, THREADS):
        threading.Thread(target=wait_for_orders, args=(orders,), daemon=True, name=f"order-worker-{number}").start()
    threading.Thread(target=price_orders, args=(range(1000),), daemon=True, name="order-worker-12").start()
    end = threading.Timer(LIFETIME, os._exit, (0,))
    end.daemon = True
    end.start()
    print(os.getpid(), flush=True)  # noqa: T201 - opsdoc waits for it
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _main()
