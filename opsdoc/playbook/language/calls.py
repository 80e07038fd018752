"""Calls: the functions that look at each item of a list, those that take null and unknown, and all others.

`any`, `all`, `count`, `where` and `each` evaluate their predicate with the fields of the item as names, then those of
the scope; the fields of an enclosing item are not seen, so that a field this item lacks is unknown and never another's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from opsdoc.model import Unknown
from opsdoc.playbook.language import nodes, values
from opsdoc.playbook.language.functions import FUNCTIONS, misfit
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.patterns import MAX_TEXT
from opsdoc.playbook.language.run import Evaluate, Run, size, truth
from opsdoc.playbook.language.tokens import ExpressionError
from opsdoc.playbook.language.values import Items, Refused, incomplete

STEP_WORK = 256  # of a step in a pattern that had to be worked out: about as long as so many nodes

Compile = Callable[[Node], Evaluate]
Quantify = Callable[[list[Any], Iterator[Any]], Any]


def call(node: nodes.Call, compiled: Compile) -> Evaluate:
    """The function that evaluates a call."""
    if node.function in _QUANTIFIERS:
        return _quantifier(node, compiled)
    arguments = [compiled(one) for one in node.arguments if not isinstance(one, nodes.Pattern)]
    if node.function == "has":
        (of,) = arguments
        return lambda run: not _is_lacking(of(run))
    if node.function == "default":
        return _default(*arguments)
    if node.function == "matches":
        return _matches(node, *arguments)
    return _plain(node, arguments)


def _is_lacking(value: Any) -> bool:
    return value is None or isinstance(value, Unknown)


def _default(value: Evaluate, otherwise: Evaluate) -> Evaluate:
    def default(run: Run) -> Any:
        found = value(run)
        return otherwise(run) if _is_lacking(found) else found

    return default


# ── functions of known values ────────────────────────────────────────────────────────────────────


def _checked(value: Any, takes: str, node: Node, alone: bool) -> Any:
    """A value that fits, or unknown. Raises ExpressionError."""
    if value is None:
        return Unknown(f"{node.said} is null")
    given = values.kind(value)
    if (wanted := misfit(takes, given, alone)) is not None:
        raise ExpressionError(f"{wanted} is needed here, not {values.word(given)}", node.column)
    return values.settled(value) if given == "number" else value


def _plain(node: nodes.Call, arguments: list[Evaluate]) -> Evaluate:
    function = FUNCTIONS[node.function]
    compute = function.run
    assert compute is not None
    takes = function.takes + function.takes[-1:] * len(arguments)
    parts = [(one, takes[at], node.arguments[at]) for at, one in enumerate(arguments)]
    alone = len(parts) == 1

    def plain(run: Run) -> Any:
        known = []
        for evaluate, kind, written in parts:
            value = evaluate(run)
            if not isinstance(value, Unknown):
                value = _checked(value, kind, written, alone)
            if isinstance(value, Unknown):
                return value
            run.charge(size(value))
            known.append(value)
        try:
            return compute(*known)
        except Refused as refused:
            raise ExpressionError(str(refused), node.column) from None

    return plain


def _matches(node: nodes.Call, text: Evaluate) -> Evaluate:
    pattern_node = node.arguments[1]
    assert isinstance(pattern_node, nodes.Pattern)
    pattern, written = pattern_node.pattern, node.arguments[0]

    def matches(run: Run) -> bool | Unknown:
        value = text(run)
        if not isinstance(value, Unknown):
            value = _checked(value, "text", written, alone=False)
        if isinstance(value, Unknown):
            return value
        if len(value) > MAX_TEXT:
            return Unknown(f"{written.said} is too long for a pattern: {len(value)} characters")
        before = pattern.steps
        found: bool = pattern.find(value, run.left // STEP_WORK)
        run.charge(len(value) // 4 + (pattern.steps - before) * STEP_WORK)
        return found

    return matches


# ── functions that look at each item ─────────────────────────────────────────────────────────────


def _quantifier(node: nodes.Call, compiled: Compile) -> Evaluate:
    written, predicate = node.arguments
    assert isinstance(predicate, nodes.Predicate)
    of, body, inner, work = compiled(written), compiled(predicate.body), predicate.body, predicate.weight
    quantify = _QUANTIFIERS[node.function]
    wants_truth = node.function != "each"

    def results(run: Run, items: list[Any]) -> Generator[Any, None, None]:
        outer = run.item
        try:
            for item in items:
                run.charge(work)
                run.item = item
                value = body(run)
                yield value if value is True or value is False or not wants_truth else truth(value, inner)
        finally:
            run.item = outer

    def quantifier(run: Run) -> Any:
        items = of(run)
        if not isinstance(items, Unknown):
            items = _checked(items, "list", written, alone=False)
        if isinstance(items, Unknown):
            return items
        found = results(run, items)
        try:
            return quantify(items, found)
        finally:
            found.close()

    return quantifier


def _decided(items: list[Any], results: Iterator[Any], decisive: bool) -> bool | Unknown | None:
    """The decisive value where a result has it, else the first doubt, else None."""
    doubt: Unknown | None = None
    for result in results:
        if result is decisive:
            return bool(decisive)
        if doubt is None and isinstance(result, Unknown):
            doubt = result
    return incomplete(items) or doubt


def _any(items: list[Any], results: Iterator[Any]) -> bool | Unknown:
    found = _decided(items, results, decisive=True)
    return False if found is None else found


def _all(items: list[Any], results: Iterator[Any]) -> bool | Unknown:
    found = _decided(items, results, decisive=False)
    if found is None:
        return True if items else Unknown("nothing to check")
    return found


def _count(items: list[Any], results: Iterator[Any]) -> int | Unknown:
    count = 0
    doubt = incomplete(items)
    for result in results:
        if isinstance(result, Unknown):
            doubt = doubt or result
        else:
            count += result
    return count if doubt is None else doubt


def _where(items: list[Any], results: Iterator[Any]) -> list[Any]:
    """The items that satisfy; an item of which that is unknown is left out, and the list is then incomplete."""
    missing = incomplete(items)
    doubt: Unknown | None = None
    limit = items.sure if isinstance(items, Items) else len(items)
    found: list[Any] = []
    sure = 0
    for at, (item, result) in enumerate(zip(items, results, strict=True)):
        if isinstance(result, Unknown):
            doubt = doubt or result
        elif result:
            found.append(item)
            sure += doubt is None and at < limit
    why = missing or doubt
    return found if why is None else Items(found, why.reason, sure)


def _each(items: list[Any], results: Iterator[Any]) -> list[Any]:
    found = list(results)
    return Items(found, items.why, items.sure) if isinstance(items, Items) and not items.complete else found


_QUANTIFIERS: dict[str, Quantify] = {"any": _any, "all": _all, "count": _count, "where": _where, "each": _each}
