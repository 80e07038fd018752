"""Text without secrets."""

from __future__ import annotations

from collections.abc import Sequence

MASK = "********"


class Redactor:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def argv(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def text(self, text: str) -> str:
        return text

    def lines(self, data: bytes) -> bytes:
        return data
