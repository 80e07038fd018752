"""What can be known to be wrong before anything ran: names, fields, and operations that make no sense.

Whatever is refused here would be refused, or would be true or false for ever, when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from opsdoc.options import did_you_mean
from opsdoc.playbook.language import nodes, values
from opsdoc.playbook.language.functions import FUNCTIONS, misfit
from opsdoc.playbook.language.kinds import ListOf, OneOf, Record, Type, either, kind_of
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.tokens import ExpressionError

# What may be in a list that a function takes.
_ANY_ITEM = {"number", "text", "bool", "null", "list", "record", "any"}
_ITEMS = {
    "numbers": {"number", "any"},
    "list of numbers": {"number", "any"},
    "list of values": {"number", "text", "bool", "any"},
}


def checked(node: Node, types: Mapping[str, Type]) -> Type:
    """The type of an expression in a scope. Raises ExpressionError at the first thing that is wrong."""
    return _Check(types, None).of(node)


def needs_truth(node: Node, found: Type) -> None:
    """Raises ExpressionError where a condition can be neither true nor false."""
    if found not in ("bool", "any"):
        message = f"true or false is needed here, not {values.word(kind_of(found))}"
        raise ExpressionError(message, node.column)


class _Check:
    """Checks the nodes of one scope: the outermost, or within a predicate that of an item."""

    def __init__(self, types: Mapping[str, Type], item: Type | None) -> None:
        self._types = types
        self._item = item

    def of(self, node: Node) -> Type:
        """The type of a node."""
        check: Callable[[Any], Type] = getattr(self, f"_{type(node).__name__.lower()}")
        return check(node)

    def _condition(self, node: Node) -> None:
        needs_truth(node, self.of(node))

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    def _literal(self, node: nodes.Literal) -> Type:
        if isinstance(node.value, str):
            return OneOf((node.value,))
        return cast("Type", values.kind(node.value))

    def _name(self, node: nodes.Name) -> Type:
        fields = self._item.fields if isinstance(self._item, Record) else {}
        if node.in_predicate and node.name == "item":
            return self._item or "any"
        if node.name in fields:
            found: Type = fields[node.name]
            return found
        if node.name in self._types:
            return self._types[node.name]
        if self._item == "any":
            return "any"
        what = "field" if fields else "name"
        near = did_you_mean(node.name, [*fields, *self._types])
        raise ExpressionError(f"unknown {what} '{node.name[:60]}'{near}", node.column)

    def _several(self, node: nodes.Several) -> Type:
        types = [self.of(one) for one in node.items]
        item: Type = types[0] if types else "any"
        for one in types[1:]:
            item = either(item, one)
        return ListOf(item)

    def _field(self, node: nodes.Field) -> Type:
        of = self.of(node.of)
        if isinstance(of, Record):
            if node.key in of.fields:
                found: Type = of.fields[node.key]
                return found
            near = did_you_mean(node.key, of.fields)
            raise ExpressionError(f"{node.of.said} has no field '{node.key[:60]}'{near}", node.key_column)
        if isinstance(of, ListOf):
            raise ExpressionError(
                "a list has no fields: take one of its items, such as [0], or ask any()", node.key_column
            )
        if of not in ("any", "null"):
            raise ExpressionError(f"{values.word(kind_of(of))} has no fields", node.key_column)
        return "any"

    def _index(self, node: nodes.Index) -> Type:
        found: Type = self._list(node.of).item
        return found

    def _slice(self, node: nodes.Slice) -> Type:
        return self._list(node.of)

    def _list(self, node: Node) -> ListOf:
        of = self.of(node)
        if isinstance(of, ListOf):
            return of
        if of not in ("any", "null"):
            raise ExpressionError(f"{values.word(kind_of(of))} has no items", node.column)
        return ListOf("any")

    # ── operators ────────────────────────────────────────────────────────────────────────────────

    def _prefixed(self, node: nodes.Prefixed) -> Type:
        if node.sign == "not":
            self._condition(node.of)
            return "bool"
        self._number(node.of, "-")
        return "number"

    def _logic(self, node: nodes.Logic) -> Type:
        for part in node.parts:
            self._condition(part)
        return "bool"

    def _choice(self, node: nodes.Choice) -> Type:
        self._condition(node.test)
        return either(self.of(node.then), self.of(node.otherwise))

    def _arithmetic(self, node: nodes.Arithmetic) -> Type:
        self._number(node.left, node.sign)
        self._number(node.right, node.sign)
        return "number"

    def _number(self, node: Node, sign: str) -> None:
        found = kind_of(self.of(node))
        if found not in ("number", "any"):
            raise ExpressionError(f"{sign!r} is for numbers, not for {values.word(found)}", node.column)

    def _compare(self, node: nodes.Compare) -> Type:
        types = [self.of(part) for part in node.parts]
        for at, sign in enumerate(node.signs):
            pair = node.parts[at], node.parts[at + 1]
            if sign in ("==", "!="):
                _comparable(*pair, types[at], types[at + 1])
            elif sign in ("in", "not in"):
                self._membership(*pair, types[at], types[at + 1])
            else:
                kinds = kind_of(types[at]), kind_of(types[at + 1])
                why = "null has no order" if "null" in kinds else values.without_order(*kinds)
                if why is not None:
                    raise ExpressionError(why, nodes.blamed(*pair))
        return "bool"

    def _membership(self, what: Node, where: Node, left: Type, right: Type) -> None:
        if isinstance(where, nodes.Several):
            for one in where.items:
                _comparable(what, one, left, self.of(one))
        elif isinstance(right, ListOf):
            _comparable(what, where, left, right.item)
        elif (kind := kind_of(right)) == "text":
            if kind_of(left) not in ("text", "any"):
                raise ExpressionError(f"{values.word(kind_of(left))} is never in a text", what.column)
        elif kind != "any":
            raise ExpressionError(f"'in' looks into a list or a text, not into {values.word(kind)}", where.column)

    # ── functions ────────────────────────────────────────────────────────────────────────────────

    def _call(self, node: nodes.Call) -> Type:
        function = FUNCTIONS[node.function]
        takes = function.takes + function.takes[-1:] * len(node.arguments)
        types: list[Type] = []
        for kind, written in zip(takes, node.arguments, strict=False):
            if isinstance(written, nodes.Predicate):
                types.append(self._predicate(written, types[0], function.gives == "each"))
            elif not isinstance(written, nodes.Pattern):
                types.append(self._argument(kind, written, alone=len(node.arguments) == 1))
        if node.function == "contains":
            self._membership(node.arguments[1], node.arguments[0], types[1], types[0])
        return self._gives(function.gives, types)

    def _argument(self, takes: str, node: Node, alone: bool) -> Type:
        found = self.of(node)
        kind = kind_of(found)
        if kind == "null" and takes != "maybe":
            raise ExpressionError("null is never known", node.column)
        wanted = misfit(takes, kind, alone)
        if wanted is not None:
            raise ExpressionError(f"{wanted} is needed here, not {values.word(kind)}", node.column)
        if isinstance(found, ListOf) and kind_of(found.item) not in _ITEMS.get(takes, _ANY_ITEM):
            message = f'the list does not hold {takes.removeprefix("list of ")}: take them with each(list, "field")'
            raise ExpressionError(message, node.column)
        return found

    def _predicate(self, node: nodes.Predicate, of: Type, gives_value: bool) -> Type:
        item: Type = of.item if isinstance(of, ListOf) else "any"
        found = _Check(self._types, item).of(node.body)
        if not gives_value:
            needs_truth(node.body, found)
        return found

    @staticmethod
    def _gives(gives: str, types: list[Type]) -> Type:
        of: Type = types[0]
        if gives == "item":
            item: Type = of.item if isinstance(of, ListOf) else "any"
            return item
        if gives == "same":
            return of if isinstance(of, ListOf) else ListOf("any")
        if gives == "each":
            return ListOf(types[1])
        if gives == "either":
            return either(of, types[1])
        return cast("Type", gives)


def _comparable(left_node: Node, right_node: Node, left: Type, right: Type) -> None:
    why = values.never_equal(kind_of(left), kind_of(right))
    if why is None and isinstance(left, OneOf) and isinstance(right, OneOf) and not {*left.words} & {*right.words}:
        few, many = sorted((left, right), key=lambda one: len(one.words))
        why = f"it can never be '{few.words[0][:60]}'{did_you_mean(few.words[0], many.words)}"
        why += f"; it is one of {', '.join(many.words)}" if len(many.words) > 1 else ""
    if why is not None:
        raise ExpressionError(why, nodes.blamed(left_node, right_node))
