"""Expressions of playbooks: parsed once, checked against types, evaluated in microseconds, three-valued.

A value is what JSON holds, a list that knows what it lacks (`Items`), or `Unknown` with its reason. There are no
methods, no attributes but the fields of records, no loops, and bounds on everything, so that a playbook of a stranger
can be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsdoc.model import Unknown
from opsdoc.playbook.language.checks import checked, needs_truth
from opsdoc.playbook.language.evaluation import compiled
from opsdoc.playbook.language.kinds import Kind, ListOf, OneOf, Record, Type
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.run import Exhausted, Run, truth
from opsdoc.playbook.language.tokens import ExpressionError, Source
from opsdoc.playbook.language.tree import tree
from opsdoc.playbook.language.values import Items

__all__ = ["Expression", "ExpressionError", "Items", "Kind", "ListOf", "OneOf", "Record", "Source", "Type", "parse"]


class Expression:
    """A parsed expression; `text` is what was written."""

    __slots__ = ("_evaluate", "_tree", "text")

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self._tree = root
        self._evaluate = compiled(root)

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value in a scope: JSON, Items or Unknown.

        Raises ExpressionError where the values make no sense together; `check` finds that before, given the types.
        """
        try:
            return self._evaluate(Run(scope))
        except Exhausted:
            return Unknown("there is too much to look at for one expression")

    def decide(self, scope: Mapping[str, Any]) -> bool | Unknown:
        """The value as a condition: null is unknown; anything else but true and false is an ExpressionError."""
        return truth(self.evaluate(scope), self._tree)

    def check(self, types: Mapping[str, Type]) -> Type:
        """The type of the value in a scope of these types. Raises ExpressionError for the first thing that is wrong.

        A text that is known to be one of a few words is OneOf.
        """
        return checked(self._tree, types)

    def check_condition(self, types: Mapping[str, Type]) -> None:
        """The same for a condition. Raises ExpressionError also where it can be neither true nor false."""
        needs_truth(self._tree, checked(self._tree, types))


def parse(text: str | Source) -> Expression:
    """Read an expression. Raises ExpressionError with its column in the text, and nothing else, for any text.

    A `Source` is a text that was taken out of another one, with the columns there.
    """
    source = Source.of(text) if isinstance(text, str) else text
    return Expression(source.text, tree(source))
