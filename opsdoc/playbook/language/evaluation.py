"""From tree to value: each node becomes a function of the run, so that an evaluation decides nothing twice.

Three-valued throughout (Kleene): `false and unknown` is false, `true and unknown` is unknown, and the first reason is
the one that is kept. Work is counted; an evaluation that would take too long ends as unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from opsdoc.model import Unknown
from opsdoc.options import did_you_mean
from opsdoc.playbook.language import calls, nodes, values
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.run import Evaluate, Run, size, truth
from opsdoc.playbook.language.tokens import ExpressionError
from opsdoc.playbook.language.values import Refused

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compiled(node: Node) -> Evaluate:
    """The function that evaluates a node. It raises ExpressionError, or Exhausted."""
    return _COMPILERS[type(node)](node)


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _literal(node: nodes.Literal) -> Evaluate:
    value = node.value
    return lambda _: value


def _name(node: nodes.Name) -> Evaluate:
    key = node.name

    def name(run: Run) -> Any:
        try:
            return run.scope[key]
        except KeyError:
            message = f"unknown name '{key[:60]}'{did_you_mean(key, map(str, run.scope))}"
            raise ExpressionError(message, node.column) from None

    def field(run: Run) -> Any:
        item = run.item
        if (type(item) is dict or isinstance(item, Mapping)) and key in item:
            return item[key]
        if key in run.scope:
            return run.scope[key]
        return item if isinstance(item, Unknown) else Unknown(f"no field '{key[:60]}'")

    if not node.in_predicate:
        return name
    return (lambda run: run.item) if key == "item" else field


def _field(node: nodes.Field) -> Evaluate:
    of, key, said, column = compiled(node.of), node.key, node.of.said, node.key_column

    def field(run: Run) -> Any:
        record = of(run)
        if type(record) is dict and key in record:
            return record[key]
        try:
            return values.field(record, key, said)
        except Refused as refused:
            raise ExpressionError(str(refused), column) from None

    return field


def _index(node: nodes.Index) -> Evaluate:
    of, at, said, column = compiled(node.of), node.at, node.of.said, node.column

    def index(run: Run) -> Any:
        try:
            return values.item(of(run), at, said)
        except Refused as refused:
            raise ExpressionError(str(refused), column) from None

    return index


def _slice(node: nodes.Slice) -> Evaluate:
    of, start, stop, said, column = compiled(node.of), node.start, node.stop, node.of.said, node.column

    def part(run: Run) -> Any:
        try:
            found = values.part(of(run), start, stop, said)
        except Refused as refused:
            raise ExpressionError(str(refused), column) from None
        if isinstance(found, list):
            run.charge(len(found))
        return found

    return part


def _several(node: nodes.Several) -> Evaluate:
    items = [compiled(one) for one in node.items]
    return lambda run: [one(run) for one in items]


# ── logic ────────────────────────────────────────────────────────────────────────────────────────


def _logic(node: nodes.Logic) -> Evaluate:
    decisive = node.sign == "or"  # the value that decides whatever the others are
    parts = [(compiled(part), part) for part in node.parts]

    def logic(run: Run) -> bool | Unknown:
        unknown: Unknown | None = None
        for evaluate, part in parts:
            value = evaluate(run)
            if value is True or value is False:
                if value is decisive:
                    return decisive
                continue
            doubt = truth(value, part)
            if unknown is None and isinstance(doubt, Unknown):
                unknown = doubt
        return not decisive if unknown is None else unknown

    return logic


def _choice(node: nodes.Choice) -> Evaluate:
    test, then, otherwise = compiled(node.test), compiled(node.then), compiled(node.otherwise)

    def choice(run: Run) -> Any:
        value = truth(test(run), node.test)
        if isinstance(value, Unknown):
            return value
        return then(run) if value else otherwise(run)

    return choice


# ── comparing and computing ──────────────────────────────────────────────────────────────────────


def _compare(node: nodes.Compare) -> Evaluate:
    parts = [compiled(part) for part in node.parts]
    pairs = [_pair(sign, *node.parts[at : at + 2]) for at, sign in enumerate(node.signs)]
    if len(pairs) == 1:
        (left, right), (pair,) = parts, pairs
        return lambda run: pair(run, left(run), right(run))

    def chain(run: Run) -> bool | Unknown:
        unknown: Unknown | None = None
        before = parts[0](run)
        for pair, part in zip(pairs, parts[1:], strict=True):
            after = part(run)
            holds = pair(run, before, after)
            if holds is False:
                return False
            if unknown is None and isinstance(holds, Unknown):
                unknown = holds
            before = after
        return True if unknown is None else unknown

    return chain


def _pair(sign: str, first: Node, second: Node) -> Callable[[Run, Any, Any], bool | Unknown]:
    said = first.said, second.said
    if sign in ("in", "not in"):
        return _membership(sign == "in", first, second)
    holds = _COMPARISONS[sign]
    column = nodes.blamed(first, second)
    plain = values.PLAIN_NUMBERS

    def slow(left: Any, right: Any) -> bool | Unknown:
        if sign not in ("==", "!="):
            return values.ordered(sign, left, right, said)
        same = values.equal(left, right)
        return same if isinstance(same, Unknown) or sign == "==" else not same

    def pair(_: Run, left: Any, right: Any) -> bool | Unknown:
        if type(left) is str and type(right) is str:
            return holds(left, right)
        if type(left) in plain and type(right) in plain and left == left and right == right:  # noqa: PLR0124 - not NaN
            return holds(left, right)
        try:
            return slow(left, right)
        except Refused as refused:
            raise ExpressionError(str(refused), column) from None

    return pair


def _membership(wanted: bool, what: Node, where: Node) -> Callable[[Run, Any, Any], bool | Unknown]:
    said = where.said, what.said

    def membership(run: Run, left: Any, right: Any) -> bool | Unknown:
        run.charge(size(right))
        try:
            found = values.contains(right, left, said)
        except Refused as refused:
            raise ExpressionError(str(refused), what.column) from None
        return found if isinstance(found, Unknown) else found is wanted

    return membership


def _arithmetic(node: nodes.Arithmetic) -> Evaluate:
    left, right, sign = compiled(node.left), compiled(node.right), node.sign
    operands = node.left, node.right
    said = node.left.said, node.right.said

    def arithmetic(run: Run) -> Any:
        try:
            return values.computed(sign, left(run), right(run), said)
        except Refused as refused:
            raise ExpressionError(str(refused), operands[refused.operand].column) from None

    return arithmetic


def _prefixed(node: nodes.Prefixed) -> Evaluate:
    of, inner, column = compiled(node.of), node.of, node.column

    def negated(run: Run) -> bool | Unknown:
        value = truth(of(run), inner)
        return value if isinstance(value, Unknown) else not value

    def negative(run: Run) -> Any:
        try:
            return values.computed("-", 0, of(run), ("0", inner.said))
        except Refused as refused:
            raise ExpressionError(str(refused), column) from None

    return negated if node.sign == "not" else negative


_COMPILERS: dict[type, Callable[[Any], Evaluate]] = {
    nodes.Literal: _literal,
    nodes.Name: _name,
    nodes.Field: _field,
    nodes.Index: _index,
    nodes.Slice: _slice,
    nodes.Several: _several,
    nodes.Prefixed: _prefixed,
    nodes.Logic: _logic,
    nodes.Compare: _compare,
    nodes.Arithmetic: _arithmetic,
    nodes.Choice: _choice,
    nodes.Call: lambda node: calls.call(node, compiled),
}
