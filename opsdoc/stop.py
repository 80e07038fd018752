"""SIGINT and SIGTERM as an event: a run that is interrupted sums up what it saw."""

from __future__ import annotations

import queue
import signal
from types import FrameType
from typing import Any


class Stop:
    """SIGINT and SIGTERM as an event: nothing is torn in the middle, the run sums up and ends with 130 or 143."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._listeners: tuple[queue.SimpleQueue[Any], ...] = ()

    def install(self) -> None:
        """Take the signals over. A second one ends the process at once."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def notify(self, events: queue.SimpleQueue[Any]) -> None:
        """Put this object into a queue when the signal comes, or now if it came before. There may be several."""
        self._listeners = (*self._listeners, events)
        if self.signal is not None:
            events.put(self)

    @property
    def exit_code(self) -> int | None:
        """128 plus the signal, or None."""
        return None if self.signal is None else 128 + self.signal

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number
        for events in self._listeners:
            events.put(self)  # SimpleQueue.put is reentrant: safe in a signal handler
