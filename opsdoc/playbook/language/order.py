"""The order of tokens: what passes is always an expression of Python, so that its parser finds nothing to refuse.

Python's own messages differ from version to version and speak of what the language does not have.
"""

from __future__ import annotations

import re

from opsdoc.playbook.language.tokens import RESERVED, ExpressionError, Source, Token, refused

MAX_BRACKETS = 16  # open at once

_COMPARISONS = {"==", "!=", "<", "<=", ">", ">=", "in"}
_ARITHMETIC = {"+", "-", "*", "/", "%"}
_BINARY = {*_COMPARISONS, *_ARITHMETIC, "and", "or", "if", "else"}
_INDEX = re.compile(r"t|-?n|(-?n)?:(-?n)?")
_CLOSES = {")": "(", "]": "["}
_WORDS = {"and", "or", "not", "in", "if", "else"}


class Order:
    """Whether values and operators take turns and brackets are closed: what remains is always an expression."""

    def __init__(self, source: Source, tokens: list[Token]) -> None:
        self._source = source
        self._tokens = tokens
        self._end = Token("end", "", len(source.text))
        self._open: list[tuple[str, int]] = []  # "(" group, "f(" call, "[" list, "if"
        self._wants_value = True

    def check(self) -> None:
        """Raises ExpressionError at the first token that cannot stand where it stands."""
        at = 0
        while at < len(self._tokens):
            at += self._value(at) if self._wants_value else self._operator(at)
        if self._wants_value:
            hint = " (a share is written 0.85)" if self._token(at - 1).text == "%" else ""
            raise self._error(f"a value is missing at the end{hint}", self._end)
        if self._open:
            raise self._unclosed()

    def _token(self, at: int) -> Token:
        return self._tokens[at] if 0 <= at < len(self._tokens) else self._end

    def _error(self, message: str, token: Token) -> ExpressionError:
        return self._source.error(message, token.at)

    def _value(self, at: int) -> int:
        """Take the tokens at `at` that begin a value, and say how many they were."""
        token, before = self._tokens[at], self._token(at - 1).text
        if token.text == "not" and before in _COMPARISONS | _ARITHMETIC:
            raise self._error("write (not …) in brackets here", token)
        if token.text in ("(", "["):
            self._push(token.text, token)
        elif token.text in _CLOSES and before == _CLOSES[token.text] and self._open[-1][0] != "(":
            self._close(token)  # [] and f()
        elif token.kind in ("name", "number", "text") and token.text not in _WORDS:
            self._name(token)
            self._wants_value = False
        elif token.text not in ("-", "not"):
            hint = ": write 0.5" if token.text == "." and self._token(at + 1).kind == "number" else ""
            raise self._error(f"a value is missing before {_shown(token)}{hint}", token)
        return 1

    def _name(self, token: Token) -> None:
        if token.text in RESERVED:
            raise self._error(refused(token.text), token)
        if token.text[0] == "_":
            raise self._error("a name does not begin with '_'", token)

    def _operator(self, at: int) -> int:
        """Take the tokens at `at` that follow a value, and say how many they were."""
        token = self._tokens[at]
        if token.text == ".":
            return self._field(at)
        if token.text == "[":
            return self._index(at)
        if token.text == "not" and self._token(at + 1).text == "in":
            self._wants_value = True
            return 2
        if token.text == "(":
            self._push("f(", token)
        elif token.text in _CLOSES:
            return self._close(token)
        elif token.text == ",":
            self._comma(token)
        elif token.text in ("if", "else"):
            self._branch(token)
        elif token.text not in _BINARY:
            raise self._error(_misplaced(token), token)
        self._wants_value = True
        return 1

    def _field(self, at: int) -> int:
        name = self._token(at + 1)
        if self._tokens[at - 1].kind == "number" or name.kind != "name":
            raise self._error("the name of a field is missing after '.'", name)
        if name.text in RESERVED | _WORDS:
            raise self._error(f'{name.text!r} is no name here: a field is written ["{name.text}"]', name)
        self._name(name)
        return 2

    def _index(self, at: int) -> int:
        shape = ""
        for token in self._tokens[at + 1 : at + 7]:
            if token.text == "]":
                break
            shape += "t" if token.kind == "text" else "n" if token.text.isdigit() else token.text
        if not _INDEX.fullmatch(shape):
            raise self._error('an index is a number, a ["field"] or a slice such as [:5]', self._token(at + 1))
        length = len(shape) + 2
        if self._token(at + length - 1).text != "]":
            raise self._error("'[' is never closed", self._tokens[at])
        return length

    def _comma(self, token: Token) -> None:
        kind = self._open[-1][0] if self._open else ""
        if kind == "if":
            raise self._unclosed()
        if kind not in ("f(", "["):
            raise self._error("a list is written [a, b]", token)

    def _branch(self, token: Token) -> None:
        if token.text == "if":
            self._push("if", token)
        elif self._open and self._open[-1][0] == "if":
            self._open.pop()
        else:
            raise self._error("'else' without 'if'", token)

    def _push(self, kind: str, token: Token) -> None:
        self._open.append((kind, token.at))
        if len(self._open) > MAX_BRACKETS:
            raise self._error("nested too deeply", token)

    def _close(self, token: Token) -> int:
        if self._open and self._open[-1][0] == "if":
            raise self._unclosed()
        if not self._open or self._open[-1][0][-1] != _CLOSES[token.text]:
            raise self._error(f"{token.text!r} closes nothing", token)
        self._open.pop()
        self._wants_value = False
        return 1

    def _unclosed(self) -> ExpressionError:
        kind, at = self._open[-1]
        return self._source.error("'if' without 'else'" if kind == "if" else f"{kind[-1]!r} is never closed", at)


def _shown(token: Token) -> str:
    return "the text" if token.kind == "text" else repr(token.text[:40])


def _misplaced(token: Token) -> str:
    if token.text == "not":
        return "'not' after a value is only part of 'not in'"
    return refused(token.text) if token.text in RESERVED else f"an operator is missing before {_shown(token)}"
