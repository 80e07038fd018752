"""What is wrong with a document: collected while it is read, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, TypeVar

from opsdoc.config import Node
from opsdoc.model import UsageError
from opsdoc.playbook.expressions import Expression, ExpressionError, Type, parse
from opsdoc.playbook.templates import MAX_LENGTH, Template, parse_template

T = TypeVar("T")
MOST = 10  # that are told
LONGEST = 400  # characters of each


class Problems:
    """Collects the UsageErrors raised within `with problems:`, and goes on after each."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> bool:
        if isinstance(error, UsageError) and (line := _one_line(str(error))) not in self._told:
            self._told.append(line)
        return isinstance(error, UsageError)

    def raise_all(self) -> None:
        """Raise one UsageError with a line for each problem, in the order in which they were found."""
        if self._told:
            more = len(self._told) - MOST
            raise UsageError("\n".join(self._told[:MOST] + ([f"and {more} more"] if more > 0 else [])))


def _one_line(text: str) -> str:
    """What was written by others, without what a terminal would obey, and cut."""
    line = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:LONGEST])
    return line if len(line) < LONGEST else f"{line[: LONGEST - 1]}…"


def wrong(node: Node, error: ExpressionError) -> UsageError:
    """What is wrong with an expression, at its place in the file."""
    return UsageError(f"{node.place(error.column)}: {error.message}")


def text_of(node: Node, what: str) -> str:
    """A scalar as it was written. Raises UsageError for a list, a mapping or nothing."""
    if isinstance(node.value, dict | list) or not node.text:
        raise UsageError(f"{node.mark}: {what} must be {'one value' if node.value is not None else 'given'}")
    if len(node.text) > MAX_LENGTH:
        raise UsageError(f"{node.mark}: {what} has more than {MAX_LENGTH} characters")
    return node.text


def expression_of(node: Node, what: str) -> Expression:
    """A scalar as an expression. Raises UsageError at its place."""
    try:
        return parse(text_of(node, what))
    except ExpressionError as error:
        raise wrong(node, error) from None


def template_of(node: Node, what: str) -> Template:
    """A scalar as a text with expressions. Raises UsageError at its place."""
    try:
        return parse_template(text_of(node, what))
    except ExpressionError as error:
        raise wrong(node, error) from None


class Names(NamedTuple):
    """What expressions can name, and what they could if all steps had run."""

    now: Mapping[str, Type]
    later: Mapping[str, Type]

    def condition(self, node: Node, what: str) -> Expression:
        """A scalar as a condition. Raises UsageError at its place."""
        expression = expression_of(node, what)
        self.checked(node, expression.check_condition)
        return expression

    def value(self, node: Node, what: str) -> tuple[Expression, Type]:
        """A scalar as an expression, with the type of its value. Raises UsageError at its place."""
        expression = expression_of(node, what)
        return expression, self.checked(node, expression.check)

    def text(self, node: Node, what: str) -> Template:
        """A scalar as a text with expressions. Raises UsageError at its place."""
        template = template_of(node, what)
        self.checked(node, template.check)
        return template

    def checked(self, node: Node, check: Callable[[Mapping[str, Type]], T]) -> T:
        """What a check gives for the names of now. Raises UsageError at its place."""
        try:
            return check(self.now)
        except ExpressionError as error:
            raise wrong(node, ExpressionError(error.message + self._hint(error, check), error.column)) from None

    def _hint(self, error: ExpressionError, check: Callable[[Mapping[str, Type]], object]) -> str:
        """Whether it would be right if all steps had run."""
        try:
            check(self.later)
        except ExpressionError as other:
            if other.column == error.column:
                return ""
        return ": that step has not run by then"
