"""From text to tree: Python's parser reads what passed the check of its tokens; only what is listed here is taken."""

from __future__ import annotations

import ast
from typing import Any

from opsdoc.options import did_you_mean
from opsdoc.playbook.language import nodes
from opsdoc.playbook.language.functions import FUNCTIONS
from opsdoc.playbook.language.nodes import Node
from opsdoc.playbook.language.order import Order
from opsdoc.playbook.language.patterns import LinearPattern
from opsdoc.playbook.language.tokens import ExpressionError, Source, literal, tokens

MAX_DEPTH = 32  # of nodes in nodes
MAX_LEVELS = 3  # of predicates in predicates
SAID = 60  # characters of what was written, in a reason

_CONSTANTS = {"true": True, "false": False, "null": None}
_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or", ast.Not: "not", ast.USub: "-",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%",
}  # fmt: skip


def tree(source: Source, level: int = 0) -> Node:
    """The tree of an expression. Raises ExpressionError, and nothing else, for any text."""
    if level > MAX_LEVELS:
        raise source.error("predicates are nested too deeply", 0)
    found = tokens(source)
    Order(source, found).check()
    plain = list(" " * len(source.text))
    texts: dict[int, Source] = {}
    for token in found:
        end = token.at + len(token.text)
        if token.kind == "text":  # Python sees a text of the same length that holds no escapes
            texts[token.at] = literal(source, token.at, end)
            plain[token.at : end] = f'"{"_" * (len(token.text) - 2)}"'
        else:
            plain[token.at : end] = token.text
    start = found[0].at
    try:
        parsed = ast.parse("".join(plain).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise source.error("this is not an expression", start) from None
    return _Builder(source, texts, start, level).node(parsed.body)


def weight(node: Node) -> int:
    """How many nodes a tree has, those of its predicates included."""
    return 1 + sum(weight(child) for child in _children(node))


def _children(node: Node) -> list[Node]:
    children: list[Any] = []
    for value in node:
        if isinstance(value, tuple):
            children += value if not hasattr(value, "column") else [value]
    return [child for child in children if hasattr(child, "column")]


class _Builder:
    """Builds the nodes of one text; `start` is where the text begins that Python read."""

    def __init__(self, source: Source, texts: dict[int, Source], start: int, level: int) -> None:
        self._source = source
        self._texts = texts
        self._start = start
        self._level = level
        self._depth = 0

    def node(self, found: ast.expr) -> Node:
        """The node of what Python found."""
        build = getattr(self, f"_{type(found).__name__.lower()}", None)
        if build is None:
            raise self._error("this is not part of the language", found)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("nested too deeply", found)
        built: Node = build(found, *self._place(found))
        self._depth -= 1
        return built

    def _at(self, found: ast.expr) -> int:
        return self._start + found.col_offset

    def _place(self, found: ast.expr) -> tuple[int, str]:
        at = self._at(found)
        said = " ".join(self._source.text[at : self._start + (found.end_col_offset or 0)].split())
        return self._source.columns[at], said if len(said) <= SAID else f"{said[: SAID - 1]}…"

    def _error(self, message: str, found: ast.expr) -> ExpressionError:
        return self._source.error(message, self._at(found))

    def _all(self, found: list[ast.expr]) -> tuple[Node, ...]:
        return tuple(self.node(one) for one in found)

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    def _constant(self, found: ast.Constant, column: int, said: str) -> Node:
        text = self._texts.get(self._at(found))
        value: Any = found.value if text is None else text.text
        return nodes.Literal(value, column, said)

    def _name(self, found: ast.Name, column: int, said: str) -> Node:
        if found.id in _CONSTANTS:
            return nodes.Literal(_CONSTANTS[found.id], column, said)
        return nodes.Name(found.id, self._level > 0, column, said)

    def _list(self, found: ast.List, column: int, said: str) -> Node:
        return nodes.Several(self._all(found.elts), column, said)

    def _attribute(self, found: ast.Attribute, column: int, said: str) -> Node:
        key_column = self._source.columns[self._start + (found.end_col_offset or 0) - len(found.attr)]
        return nodes.Field(self.node(found.value), found.attr, key_column, column, said)

    def _subscript(self, found: ast.Subscript, column: int, said: str) -> Node:
        of = self.node(found.value)
        if isinstance(found.slice, ast.Slice):
            return nodes.Slice(of, _whole(found.slice.lower), _whole(found.slice.upper), column, said)
        text = self._texts.get(self._at(found.slice))
        if text is not None:
            return nodes.Field(of, text.text, self._place(found.slice)[0], column, said)
        return nodes.Index(of, _whole(found.slice) or 0, column, said)

    # ── operators ────────────────────────────────────────────────────────────────────────────────

    def _unaryop(self, found: ast.UnaryOp, column: int, said: str) -> Node:
        return nodes.Prefixed(_SIGNS[type(found.op)], self.node(found.operand), column, said)

    def _boolop(self, found: ast.BoolOp, column: int, said: str) -> Node:
        return nodes.Logic(_SIGNS[type(found.op)], self._all(found.values), column, said)

    def _compare(self, found: ast.Compare, column: int, said: str) -> Node:
        signs = tuple(_SIGNS[type(one)] for one in found.ops)
        return nodes.Compare(self._all([found.left, *found.comparators]), signs, column, said)

    def _binop(self, found: ast.BinOp, column: int, said: str) -> Node:
        return nodes.Arithmetic(self.node(found.left), _SIGNS[type(found.op)], self.node(found.right), column, said)

    def _ifexp(self, found: ast.IfExp, column: int, said: str) -> Node:
        return nodes.Choice(self.node(found.test), self.node(found.body), self.node(found.orelse), column, said)

    # ── functions ────────────────────────────────────────────────────────────────────────────────

    def _call(self, found: ast.Call, column: int, said: str) -> Node:
        if not isinstance(found.func, ast.Name):
            raise self._error("only functions can be called, such as len(list)", found.func)
        name = found.func.id
        if name not in FUNCTIONS:
            near = did_you_mean(name, FUNCTIONS) or f": there are {', '.join(FUNCTIONS)}"
            raise self._error(f"there is no function '{name[:SAID]}'{near}", found.func)
        function = FUNCTIONS[name]
        if not function.accepts(len(found.args)):
            raise self._error(f"write {function.usage}", found)
        kinds = function.takes + function.takes[-1:] * len(found.args)
        arguments = [self._argument(kind, one, name) for kind, one in zip(kinds, found.args, strict=False)]
        return nodes.Call(name, tuple(arguments), column, said)

    def _argument(self, kind: str, found: ast.expr, name: str) -> Node:
        if kind == "decimals":
            if not isinstance(found, ast.Constant) or type(found.value) is not int or found.value > 15:
                raise self._error(f"write {FUNCTIONS[name].usage}", found)
        elif kind in ("predicate", "pattern"):
            return self._read_text(kind, found, name)
        return self.node(found)

    def _read_text(self, kind: str, found: ast.expr, name: str) -> Node:
        text = self._texts.get(self._at(found)) if isinstance(found, ast.Constant) else None
        if text is None:
            raise self._error(f"write {FUNCTIONS[name].usage}: the {kind} is a text", found)
        if kind == "pattern":
            return nodes.Pattern(LinearPattern(text), *self._place(found))
        body = tree(text, self._level + 1)
        return nodes.Predicate(body, weight(body), *self._place(found))


def _whole(found: ast.expr | None) -> int | None:
    """The whole number of an index; the order of tokens allows nothing else there."""
    if isinstance(found, ast.UnaryOp):
        return -(_whole(found.operand) or 0)
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, int) else None
