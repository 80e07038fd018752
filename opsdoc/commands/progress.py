"""What is told while a run is under way: on stderr, one line that rewrites itself and is gone at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from types import TracebackType

from opsdoc.render.words import visible

FIRST_AFTER = 1.0  # seconds: shorter work needs no progress
EVERY = 0.2
_CLEAR = "\r\x1b[K"


class Progress:
    """`with Progress(…) as progress: … progress.announce(text)`. Quiet tells nothing at all."""

    def __init__(self, what: str, timeout: float, *, quiet: bool) -> None:
        self._what = what
        self._timeout = timeout
        self._quiet = quiet
        self._rewrites = not quiet and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._began = time.monotonic()
        self._last = ""
        self._shown = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")

    def announce(self, text: str) -> None:
        """Tell at once what a person should know before the end."""
        if self._quiet:
            return
        with self._lock:
            self._last = visible(text)
            self._write(f"{_CLEAR if self._shown else ''}opsdoc: {self._last}\n")
            self._shown = False

    def tell(self, text: str) -> None:
        """Tell what is known early: on a terminal, as all progress."""
        if self._rewrites:
            self.announce(text)

    def __enter__(self) -> Progress:  # noqa: PYI034 - Self is not in Python 3.10
        if self._rewrites:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._ticker.is_alive():
            self._ticker.join()
        with self._lock:
            if self._shown:
                self._write(_CLEAR)
                self._shown = False

    def _tick(self) -> None:
        wait = FIRST_AFTER
        while not self._ended.wait(wait):
            wait = EVERY
            elapsed = time.monotonic() - self._began
            with self._lock:
                self._write(f"{_CLEAR}{self._what} · {elapsed:.0f} s of at most {self._timeout:g} s")
                self._shown = True

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(text)
            sys.stderr.flush()
