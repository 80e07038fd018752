"""What the Python programs share: commands on stdin, one JSON line on stdout when ready, the end at end of file."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable

LIFETIME = 900  # seconds; nobody burns a core for longer, whatever happens to the tests


class State:
    hot = False


state = State()
wake = threading.Event()


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def commands(at_end: Callable[[], object] = int, **facts: object) -> None:
    """Say that all is set up, then obey `hot` and `rest`; `die` and the end of stdin end the program."""
    signal.alarm(LIFETIME)
    say(ready=True, **facts)
    for line in sys.stdin:
        word = line.strip()
        if word == "die":
            break
        state.hot = word == "hot"
        (wake.set if state.hot else wake.clear)()
        say(did=word)
    at_end()
    os._exit(0)
