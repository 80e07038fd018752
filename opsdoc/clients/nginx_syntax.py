"""The text of an nginx configuration as a tree, by crossplane's lexer: what is wrong is told, what is usable is used.

crossplane's own parser gives nothing at all of a file whose braces do not match, and drops what its tables of known
directives do not allow. So its tokens are put together here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

PIECE = 1 << 16  # characters that are cut at a time
MOST_WRONG = 50  # things that are told of one file
PULSE = 1024  # directives between two calls of `pulse`
_END = "\0end"  # a token that no text holds: a text is cut at its first NUL
# The lexer takes a file as characters, and works as well on runs of those that mean nothing to it: a quarter of the
# time. What means something to it or to its part for Lua (quotes, braces, `\`, `#`, `-`, the end of a line) is alone.
_RUNS = re.compile(r"\n|[^\S\n]+|\\[\s\S]|[{};\"'#\\-]|[^\s{};\"'#\\-]+")

Tree = list[dict[str, Any]]


class Wrong(NamedTuple):
    """What is wrong in a text, and in which line."""

    line: int
    text: str


class Rules(NamedTuple):
    """What is kept of a text: directives by name, at most so many, in blocks down to `deepest`; `clean` makes their
    arguments, and `pulse` is called now and then.
    """

    kept: Collection[str]
    clean: Callable[[str, list[str]], list[str]]
    pulse: Callable[[], object]
    deepest: int
    most: int


def tree_of(text: str, file: str, rules: Rules) -> tuple[Tree, int, list[Wrong]]:
    """The directives of one file, as {directive, args, file, line} and `block` where they have one; their number."""
    building = _Building(file, rules)
    from crossplane.errors import NgxParserBaseException

    try:
        for token, line, quoted in _tokens(text):
            building.take(token, line, quoted)
    except NgxParserBaseException as error:  # of a Lua block
        building.say(error.lineno or building.line, str(error.strerror))
    else:
        building.finish()
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        building.wrong.append(Wrong(line, "not text: here is a NUL byte, and what follows is not read"))
    return building.top, building.kept, building.wrong


def _tokens(text: str) -> Iterator[tuple[str, int, bool]]:
    from crossplane.lexer import _lex_file_object  # `lex` takes only a path, and gives up at the first wrong brace

    tokens: Iterator[tuple[str, int, bool]] = _lex_file_object(_runs(text))
    return tokens


def _runs(text: str) -> Iterator[list[str]]:
    at, nul = 0, text.find("\0")
    end = len(text) if nul < 0 else nul
    while at < end:
        cut = text.find("\n", at + PIECE, end) + 1 or end
        yield _RUNS.findall(text, at, cut)
        at = cut
    yield ["\n", _END, "\n"]


class _Building:
    """A tree while it is put together from tokens."""

    def __init__(self, file: str, rules: Rules) -> None:
        self.file = file
        self.rules = rules
        self.top: Tree = []
        self.wrong: list[Wrong] = []
        self.line = 0
        self._blocks: list[tuple[Tree | None, int]] = [(self.top, 0)]  # None: one that is not kept
        self._block: Tree | None = self.top
        self._name = ""
        self._begun = 0  # the line of the directive that is being read; 0: none is
        self._args: list[str] = []
        self._ended = False
        self._directives = 0
        self.kept = 0
        self._full = False

    def take(self, token: str, line: int, quoted: bool) -> None:
        """The next token."""
        self.line = line
        sign = "" if quoted or token[0] not in "{};#\0" else token[0]
        if sign == "#":
            return
        if not sign:
            if self._begun:
                self._args.append(token)
            else:
                self._name, self._begun = token, line
        elif sign == ";":
            if self._begun:
                self._add(None)
            else:
                self.say(line, 'unexpected ";"')
        elif sign == "{":
            self._open(line)
        elif sign == "}":
            self._unfinished(line)
            if len(self._blocks) > 1:
                self._blocks.pop()
                self._block = self._blocks[-1][0]
            else:
                self.say(line, 'unexpected "}"')
        else:
            self._ended = True

    def finish(self) -> None:
        """The end of the text."""
        if not self._ended:
            self.say(self.line, "the text ends within a quotation, or within a block of Lua, that begins after this")
        elif self._begun:
            self._unfinished(self._begun)
        if len(self._blocks) > 1:
            self.say(self._blocks[-1][1], 'the text ends before the "}" of the block that begins here')

    def say(self, line: int, text: str) -> None:
        """Note what is wrong."""
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(Wrong(line, text))

    def _unfinished(self, line: int) -> None:
        if self._begun:
            self.say(self._begun, f'"{self._name[:40]}" has no ";" before line {line}')
            self._add(None)

    def _open(self, line: int) -> None:
        inner: Tree | None = []
        if not self._begun:
            self.say(line, 'unexpected "{"')
            inner = None
        elif len(self._blocks) > self.rules.deepest:
            self.say(line, f'"{self._name[:40]}" is not read: too many blocks within blocks')
            inner, self._begun, self._args = None, 0, []
        elif self._add(inner) is None:
            inner = None
        self._blocks.append((inner, line))
        self._block = inner

    def _add(self, block: Tree | None) -> dict[str, Any] | None:
        """The directive that was read, if it is kept."""
        name, line, args = self._name, self._begun, self._args
        self._begun, self._args = 0, []
        self._directives += 1
        if self._directives % PULSE == 0:
            self.rules.pulse()
        if self._block is None or name not in self.rules.kept:
            return None
        if self.kept == self.rules.most:
            if not self._full:
                self.wrong.append(Wrong(line, f"not read from here on: more than {self.rules.most} directives"))
            self._full = True
            return None
        self.kept += 1
        made: dict[str, Any] = {
            "directive": name,
            "args": self.rules.clean(name, args),
            "file": self.file,
            "line": line,
        }
        if block is not None:
            made["block"] = block
        self._block.append(made)
        return made
