"""The door to the world: every look is a question put to a `Host`; this file holds the live one."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from opsdoc.clients import Live, Question
from opsdoc.model import Pause, ProbeError, TimedOut
from opsdoc.redact import Redactor

T = TypeVar("T")


class Answer(Generic[T]):
    """An answer, when its question was put (seconds since the run began) and how long it took (seconds)."""

    __slots__ = ("at", "took", "value")

    def __init__(self, value: T, at: float, took: float) -> None:
        self.value = value
        self.at = at
        self.took = took


class Outcome(NamedTuple):
    """An answer or what went wrong, and when that was known."""

    result: Answer[Any] | ProbeError
    ended: float


class Host(ABC):
    """What a probe sees of the world: live, recording or replaying, it cannot tell which.

    `now()` is the time at which the last question or sleep ended, so that a replay, whose clock moves the same way,
    takes the same decisions.
    """

    redactor: Redactor
    started: str  # RFC 3339 with offset

    @abstractmethod
    def ask(self, question: Question[T]) -> Answer[T]:
        """Put a question; raises the ProbeError that the target's behaviour became."""

    @abstractmethod
    def start(self, question: Question[T], within: float | None = None) -> Callable[[], Answer[T] | ProbeError]:
        """Put a question and go on; calling what is returned waits for the answer, or for what went wrong.

        After `within` seconds (None: at the deadline) the answer is a TimedOut, whatever comes later.
        """

    def gather(self, questions: Sequence[Question[T]], within: float | None = None) -> list[Answer[T] | ProbeError]:
        """Put questions at the same time; the answers, or what went wrong, come in the order asked."""
        return [wait() for wait in [self.start(question, within) for question in questions]]

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let time pass; raises TimedOut at the deadline and Interrupted when the run is stopped."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the run began."""

    def tell(self, text: str) -> None:  # noqa: B027 - nobody watches a replay
        """Tell what is known before the end, such as a depth before its trend, to whoever watches the run."""

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """How long targets stood still for us, so far."""
        return ()

    @property
    def target_files(self) -> tuple[str, ...]:
        """The temporary files made for targets, so far."""
        return ()

    def abandon(self) -> None:  # noqa: B027 - nor is a replay ever late
        """Wait no longer for what is under way: its time is over now."""

    def stop(self, grace: float) -> None:  # noqa: B027 - only a live host has anything to stop
        """End what is under way; `grace` seconds are left to sum up."""


class LiveHost(Host):
    """The host that looks now."""

    def __init__(self, live: Live, started: str) -> None:
        self.live = live
        self.redactor = live.redactor
        self.started = started
        self._began = time.monotonic()
        self._now = 0.0

    def ask(self, question: Question[T]) -> Answer[T]:
        with self._asking(question):
            return self._settled(question, self._put(question))

    def start(self, question: Question[T], within: float | None = None) -> Callable[[], Answer[T] | ProbeError]:
        # Plain daemon threads: a pool's workers are joined at exit, so that one stuck socket would hang the tool.
        outcomes: list[Outcome] = []
        bugs: list[BaseException] = []

        def put() -> None:
            try:
                outcomes.append(self._put(question))
            except BaseException as bug:  # noqa: BLE001 - raised below, where it ends in a report
                bugs.append(bug)

        thread = threading.Thread(target=put, daemon=True)
        ends = self.live.deadline if within is None else min(self.live.deadline, time.monotonic() + within)
        thread.start()

        def wait() -> Answer[T] | ProbeError:
            with self._asking(question):
                thread.join(max(0.0, min(ends, self.live.deadline) - time.monotonic()))
                if bugs:
                    raise bugs[0]
                outcome = outcomes[0] if outcomes else Outcome(TimedOut("no answer in time"), self._clock())
                try:
                    return self._settled(question, outcome)
                except ProbeError as error:
                    return error

        return wait

    def gather(self, questions: Sequence[Question[T]], within: float | None = None) -> list[Answer[T] | ProbeError]:
        if within is None and len(questions) == 1:  # a thread buys nothing
            try:
                return [self.ask(questions[0])]
            except ProbeError as error:
                return [error]
        return super().gather(questions, within)

    def sleep(self, seconds: float) -> None:
        try:
            self.live.wait(seconds)
        finally:
            self._now = self._clock()

    def now(self) -> float:
        return self._now

    def tell(self, text: str) -> None:
        self.live.tell(text)

    @property
    def pauses(self) -> tuple[Pause, ...]:
        return tuple(self.live.pauses)

    @property
    def target_files(self) -> tuple[str, ...]:
        return tuple(self.live.target_files)

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.live.deadline

    def abandon(self) -> None:
        self._now = self._clock()

    def stop(self, grace: float) -> None:
        self.live.stop(grace)

    def _clock(self) -> float:
        return round(time.monotonic() - self._began, 6)

    def _put(self, question: Question[T]) -> Outcome:
        at = self._clock()
        try:
            self.live.remaining()
            value = question.answer(self.live)
        except ProbeError as error:
            mask = self.redactor.text
            return Outcome(type(error)(mask(error.detail), mask(error.hint)), self._clock())
        ended = self._clock()
        return Outcome(Answer(value, at, round(ended - at, 6)), ended)

    def _asking(self, question: Question[Any]) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Around the time in which the answer to a question is waited for."""
        return contextlib.nullcontext()

    def _settled(self, question: Question[T], outcome: Outcome) -> Answer[T]:  # noqa: ARG002 - for a recording
        """The answer, or the error raised, once it is there: the clock moves to when that was."""
        self._now = max(self._now, outcome.ended)
        if isinstance(outcome.result, ProbeError):
            raise outcome.result
        return outcome.result
