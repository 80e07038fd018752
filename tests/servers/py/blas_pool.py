"""`blas_pool.py SIZE`: numpy multiplies matrices, so that OpenBLAS has a pool of threads that Python does not know."""

from __future__ import annotations

import os
import sys
import threading

os.environ["OPENBLAS_NUM_THREADS"] = "2"

import numpy as np
from stage import commands, state, wake


def pool() -> list[int]:
    """The threads that no Python started."""
    known = {thread.native_id for thread in threading.enumerate()}
    return sorted({int(name) for name in os.listdir("/proc/self/task")} - known)


def recalculate(prices: np.ndarray) -> None:
    # fmt: off
    while state.hot: np.matmul(prices, prices)  # HOT
    # fmt: on


def main() -> None:
    size = int(sys.argv[1])
    prices = np.ones((size, size))
    np.matmul(prices, prices)
    facts = {"main_tid": threading.get_native_id(), "pool": pool()}
    threading.Thread(target=commands, kwargs=facts, daemon=True).start()
    while True:
        wake.wait()
        recalculate(prices)


main()
