"""Stacks of a process, whatever its runtime: what a way to take them must offer, and what a thread was seen doing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from typing import Any, ClassVar, NamedTuple

from opsdoc.clients import Question
from opsdoc.model import Frame
from opsdoc.signals.processes import Role


class Seen(NamedTuple):
    """What a thread was seen doing in one dump. `frames` are innermost first.

    `doubt` says why the dump cannot be believed about this thread; then there are no frames.
    """

    name: str
    state: str | None
    role: Role
    frames: tuple[Frame, ...]
    doubt: str | None = None


class Partial(dict[int, Seen]):
    """The threads of a dump from which some are missing, for a reason: what it has of the others is true."""

    reason = ""

    def because(self, reason: str) -> Partial:
        """The same, with the reason."""
        self.reason = reason
        return self


class Stacks(ABC):
    """How the stacks of one process are taken; `started` (ticks after boot) proves that it is the same process."""

    source: ClassVar[str]
    pauses: ClassVar[bool] = False  # whether the process stands still for a dump

    def __init__(self, pid: int, started: int) -> None:
        self.pid = pid
        self.started = started

    def prepare(self) -> Question[Any] | None:
        """What must be asked once before the first dump."""
        return None

    def costly(self, names: Sequence[str]) -> bool:  # noqa: ARG002
        """Whether one dump may stop the process for so long that a second must not be taken.

        `names` are the names of its threads as the kernel has them, 15 characters long.
        """
        return False

    def at_work(self, seen: Seen) -> bool:
        """Whether a thread was seen in code that uses CPU, and not where it waits."""
        return seen.role != "app" or bool(seen.frames)

    @abstractmethod
    def question(self) -> Question[bytes]:
        """One dump."""

    def complement(self, dumps: Sequence[bytes], tids: Container[int]) -> Question[Any] | None:  # noqa: ARG002
        """What must be asked once after the last dump, because the dumps do not tell it of these threads.

        The ids are those that the process itself knows. The answer is handed to `read`.
        """
        return None

    @abstractmethod
    def read(self, dump: bytes, only: Container[int] | None, complement: Any = None) -> dict[int, Seen]:
        """The threads of a dump by the thread id that the process itself knows; raises Malformed or Unsupported.

        `only` are the ids that are wanted, None for all. `complement` is the answer to what `complement` asked, None
        if nothing was asked or nothing came.
        """
