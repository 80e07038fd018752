"""What is free on the disks that PostgreSQL servers of this machine write their log to, where slots keep some of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsdoc.clients.postgresql_disk import LogDisk
from opsdoc.host import Answer, Host
from opsdoc.looks.postgresql_sides import look
from opsdoc.looks.postgresql_watch import Watched
from opsdoc.model import Malformed, Unknown

Free = Mapping[str, int | Unknown]  # bytes, by the name of the server


def free(host: Host, watched: Sequence[Watched]) -> Free:
    """For each server with a slot that keeps something: bytes that are free, or why that is not seen."""
    asked = {one.name: question for one in watched if (question := _question(one)) is not None}
    answers = host.gather(list(asked.values()))
    return {
        name: answer.value if isinstance(answer, Answer) else Unknown(answer.detail)
        for name, answer in zip(asked, answers, strict=True)
    }


def _question(one: Watched) -> LogDisk | None:
    try:
        told = look(one.told[-1].at, one.told[-1].said) if one.told else None
    except Malformed:
        return None
    if told is None or not any(slot.written and slot.restart and slot.written > slot.restart for slot in told.slots):
        return None
    side, port = told.side, told.side.settings.get("port", "")
    if side.pid is None or side.started is None or not (port.isascii() and port.isdecimal()):
        return None
    return LogDisk(side.pid, int(side.started), int(port))
