"""`was_busy.py SECONDS`: burns that much CPU, says so, and idles from then on."""

from __future__ import annotations

import sys
import time

from stage import commands


def rebuild_index(seconds: float) -> int:
    total = 1
    while time.process_time() < seconds:
        for number in range(10_000):
            total = (total * 31 + number) % 1000003
    return total


rebuild_index(float(sys.argv[1]))
commands(burned=time.process_time())
