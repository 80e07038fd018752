r"""The text of an expression as tokens: whatever is foreign to the language is refused here, with its column.

Text literals are read here and not by Python: `\\`, `\'`, `\"`, `\n` and `\t` are escapes, any other backslash stands
for itself, so that a pattern can be written `"\d+ms"` without doubling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_LENGTH = 4096  # characters of an expression
MAX_TOKENS = 400
MAX_DIGITS = 18  # of a whole number: it fits 64 bits

TEXT = re.compile(r""""(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"|'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*'""")
_TOKEN = re.compile(
    rf"""(?P<blank>[ \t\r\n]+)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<text>{TEXT.pattern})
      | (?P<sign>==|!=|<=|>=|\*\*|//|:=|&&|\|\||<>|[-+*/%<>()\[\],.:])""",
    re.ASCII | re.VERBOSE,
)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}

_INSTEAD = {
    "True": "write true",
    "False": "write false",
    "None": "write null",
    "is": "write == or !=",
    "**": "there are no powers",
    "//": "write round(a / b)",
    ":=": "nothing is assigned here",
    "=": "write == to compare",
    "&&": "write and",
    "||": "write or",
    "<>": "write !=",
    "!": "write not",
    "{": "there are no records or sets",
    "#": "there are no comments",
}
# Words that Python keeps for itself: as a field they are written a["from"].
RESERVED = set(
    """False None True as assert async await break class continue def del elif except finally for from global import is
    lambda nonlocal pass raise return try while with yield""".split()
)


class ExpressionError(Exception):
    """What is wrong with an expression, and where: the 0-based column in the text that was given to be parsed."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


class Source(NamedTuple):
    """A text, and for each of its characters and its end the column in the outermost text that it came from."""

    text: str
    columns: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Source:
        """A text that stands for itself."""
        return cls(text, range(len(text) + 1))

    def error(self, message: str, at: int) -> ExpressionError:
        """An error at a character of this text."""
        return ExpressionError(message, self.columns[min(at, len(self.text))])


class Token(NamedTuple):
    """One word, sign, number or text of an expression and its place in it."""

    kind: str
    text: str
    at: int


def literal(source: Source, start: int, end: int) -> Source:
    """The text between the quotes at `start` and before `end`, without escapes, each character with its column."""
    chars: list[str] = []
    columns: list[int] = []
    at = start + 1
    while at < end - 1:
        columns.append(source.columns[at])
        char = source.text[at]
        if char == "\\" and source.text[at + 1] in _ESCAPES:
            at += 1
            char = _ESCAPES[source.text[at]]
        chars.append(char)
        at += 1
    return Source("".join(chars), [*columns, source.columns[end - 1]])


def tokens(source: Source) -> list[Token]:
    """The words, signs, numbers and texts of an expression. Raises ExpressionError at the first that is none."""
    if len(source.text) > MAX_LENGTH:
        raise source.error(f"an expression has at most {MAX_LENGTH} characters", MAX_LENGTH)
    found: list[Token] = []
    at = 0
    while at < len(source.text):
        match = _TOKEN.match(source.text, at)
        if match is None:
            raise source.error(_foreign(source.text[at]), at)
        if match.lastgroup != "blank":
            token = Token(str(match.lastgroup), match[0], at)
            _check_token(source, token)
            found.append(token)
            if len(found) > MAX_TOKENS:
                raise source.error(f"an expression has at most {MAX_TOKENS} words and signs", at)
        at = match.end()
    return found


def _foreign(char: str) -> str:
    if char in "\"'":
        return "the text that begins here does not end"
    return refused(char)


def refused(word: str) -> str:
    hint = _INSTEAD.get(word)
    return f"{word!r} is not part of the language" + (f": {hint}" if hint else "")


def _check_token(source: Source, token: Token) -> None:
    if token.kind == "sign" and token.text in _INSTEAD:
        raise source.error(refused(token.text), token.at)
    if token.kind == "number":
        _check_number(source, token)


def _check_number(source: Source, token: Token) -> None:
    end = token.at + len(token.text)
    if re.match(r"\w", source.text[end:]):
        raise source.error("a number has no unit here: write seconds, bytes, or a share from 0 to 1", end)
    if token.text.isdigit():
        if len(token.text) > MAX_DIGITS:
            raise source.error(f"a whole number has at most {MAX_DIGITS} digits", token.at)
        if token.text[0] == "0" and len(token.text) > 1:
            raise source.error("a number does not begin with 0", token.at)
    elif float(token.text) == float("inf"):
        raise source.error("the number is too large", token.at)
