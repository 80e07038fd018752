"""One evaluation: what it sees, what it may still do, and what counts as true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opsdoc.model import Unknown
from opsdoc.playbook.language import values
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.tokens import ExpressionError

BUDGET = 2_000_000  # nodes that one evaluation may go through: about half a second


class Run:
    """One evaluation: the scope, the item that a predicate looks at, and the work that is left."""

    __slots__ = ("item", "left", "scope")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.item: Any = None
        self.left = BUDGET

    def charge(self, work: int) -> None:
        """Take work from what is left. Raises Exhausted."""
        self.left -= work
        if self.left < 0:
            raise Exhausted


class Exhausted(Exception):
    """An evaluation has gone through more than its budget."""


Evaluate = Callable[[Run], Any]


def truth(value: Any, node: Node) -> bool | Unknown:
    """The value of a condition. Raises ExpressionError where it is none."""
    if isinstance(value, bool | Unknown):
        return value
    if value is None:
        return Unknown(f"{node.said} is null")
    raise ExpressionError(f"true or false is needed here, not {values.word(values.kind(value))}", node.column)


def size(value: Any) -> int:
    """The work of going through a value once."""
    if isinstance(value, list):
        return len(value)
    return len(value) // 64 if isinstance(value, str) else 0
