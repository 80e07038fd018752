"""`mortal.py [SECONDS]`: burns CPU and dies after so many seconds of it, or at once when told."""

from __future__ import annotations

import os
import sys
import threading
import time

from stage import commands


def last_words(seconds: float) -> None:
    total = 1
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number in range(5_000):
            total = (total * 31 + number) % 1000003
    os._exit(0)


seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
threading.Thread(target=last_words, args=(seconds,), name="mortal-worker", daemon=True).start()
commands()
