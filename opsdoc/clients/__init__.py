"""The wires: one file each, with the questions it can be asked and how it answers them live.

A question is a named tuple with a `key()` free of secrets and an `answer()` that does the work. Its answer is
plain data: JSON types or bytes. Drivers are imported inside the functions, and their errors stop here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from opsdoc.model import Interrupted, Pause, TimedOut
from opsdoc.redact import Redactor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Question(Protocol[T_co]):
    """One look at the world. Equal keys mean the same question; the nth ask of a key gets the nth recorded answer."""

    def key(self) -> str:
        """A stable name without secrets, such as `proc.tasks 2609`."""
        ...

    def answer(self, live: Live) -> T_co:
        """Look now. Typed text is masked through `live.redactor` before it is returned.

        Raises a ProbeError, and nothing else, for what the target does.
        """
        ...


@runtime_checkable
class Bulk(Protocol):
    """A question for a dump or a log, too long to be masked for every look: a recording masks it."""

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        """The answer as a recording keeps it."""
        ...


@dataclass(slots=True, eq=False, repr=False)
class Live:
    """What a question may use to answer: the deadline, the `/proc` in use, the redactor, and who cleans up."""

    deadline: float  # of time.monotonic()
    redactor: Redactor
    proc: Path = Path("/proc")
    again: str = "opsdoc"  # this command line, masked, with opsdoc's full path: for hints such as `sudo …`
    may_write_target_files: bool = True
    announce: Callable[[str], None] = lambda _text: None
    tell: Callable[[str], None] = lambda _text: None  # what is known early, where somebody watches
    pauses: list[Pause] = field(default_factory=list)
    target_files: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    stopped: float | None = None  # when the run was stopped first, by time.monotonic()
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _last: list[Callable[[], None]] = field(default_factory=list)
    _sessions: dict[Hashable, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def foreign_proc(self) -> bool:
        """Whether `/proc` is another machine's or namespace's view: its ids must never be signalled or dialled."""
        try:
            return self.proc != Path("/proc") or os.readlink("/proc/self") != str(os.getpid())
        except OSError:  # we are not in the pid namespace that it shows
            return True

    def as_root(self) -> str:
        """The hint for what was not permitted: this command line under sudo, or nothing if that is how it runs."""
        return "" if os.geteuid() == 0 else f"sudo {self.again}"

    def remaining(self) -> float:
        """Seconds left; raises TimedOut when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0 and self.stopping.wait(0.1):  # whoever watches over the run is about to give it a last moment
            left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut("no time was left")
        return left

    def wait(self, seconds: float) -> None:
        """Sleep, but not past the deadline; raises Interrupted when the run is being stopped."""
        if self.stopping.wait(min(seconds, self.remaining())):
            raise Interrupted("the run was interrupted")
        self.remaining()

    def pause(self, pid: int, seconds: float, how: str) -> None:
        """Report that a target stood still."""
        self.pauses.append(Pause(pid=pid, seconds=seconds, how=how))

    @contextlib.contextmanager
    def undone_by(self, undo: Callable[[], None]) -> Iterator[None]:
        """Run `undo` exactly once: when the block ends, or when the run is stopped from another thread."""
        with self._lock:
            if self.stopping.is_set():
                undo()
                raise Interrupted("the run was interrupted")
            self._undo.append(undo)
        try:
            yield
        finally:
            self._run_once(undo, self._undo)

    def session(self, key: Hashable, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """What questions share, such as connections: made once for a key, closed when the run ends or is stopped.

        `make` and `close` must not wait, for nobody else is served meanwhile. Raises Interrupted after a stop.
        """
        with self._lock:
            if self.stopping.is_set():
                raise Interrupted("the run was interrupted")
            if key not in self._sessions:
                made = self._sessions[key] = make()
                self._undo.append(lambda: close(made))
            shared: T = self._sessions[key]
            return shared

    @contextlib.contextmanager
    def undone_at_last(self, undo: Callable[[], None]) -> Iterator[None]:
        """Run `undo` exactly once: when the block ends, or, if the run is stopped before, when it has summed up.

        That is for what a target may need a moment longer; the last `stop(0)` waits for it.
        """
        with self._lock:
            if self.stopping.is_set():
                undo()
                raise Interrupted("the run was interrupted")
            self._last.append(undo)
        try:
            yield
        finally:
            if not self.stopping.is_set():
                self._run_once(undo, self._last)

    @contextlib.contextmanager
    def unless_stopped(self) -> Iterator[None]:
        """For what must not be done any more when the run is being stopped; whoever undoes things waits for its end."""
        with self._lock:
            if self.stopping.is_set():
                raise Interrupted("the run was interrupted")
            yield

    def stop(self, grace: float = 0.0) -> None:
        """Wake the sleepers, kill the children, remove the files; leave `grace` seconds to sum up what was seen.

        Safe to call twice and from any thread.
        """
        self.stopped = self.stopped or time.monotonic()
        self.deadline = time.monotonic() + grace  # also when it has passed: what was seen is summed up
        self.stopping.set()
        while True:
            with self._lock:
                due = self._undo or ([] if grace else self._last)
                if not due:
                    return
                undo = due[-1]
            self._run_once(undo, due)

    def _run_once(self, undo: Callable[[], None], due: list[Callable[[], None]]) -> None:
        with self._lock:
            if undo not in due:
                return
            due.remove(undo)
            undo()
