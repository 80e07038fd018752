r"""A pattern as places: what each of them accepts, and which may follow it (Glushkov's construction).

Supported: characters, `.`, `[a-z]`, `\d \w \s` and their opposites, `( )`, `(?: )`, `|`, `* + ? {2,5}`, `^`, `$`, and
`(?i)` at the very beginning. What one place accepts is left to `re`, which is asked about one character at a time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from opsdoc.playbook.language.tokens import Source

MAX_PLACES = 256
MAX_GROUPS = 16  # open at once
MAX_WORK = 4096  # pieces read: a counted group is read again for each of its turns
BEGIN, END = "^^", "$$"  # the ends of a text, as characters that no text has

_CLASS = re.compile(r"\[\^?\]?(?:[^\]\\\[]|\\.)*\]", re.DOTALL)
_DOUBLED = re.compile(r"--|&&|\|\||~~")  # reserved for operations on sets: `re` warns of them
_COUNT = re.compile(r"\{(\d{1,3})?(,(\d{1,3})?)?\}", re.ASCII)
_TIMES: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_NO_ESCAPE = {
    "b": r"there are no word boundaries: write (^|\W)word(\W|$)",
    "B": "there are no word boundaries",
    "A": "write ^",
    "Z": "write $",
}


class Part(NamedTuple):
    """A piece of a pattern as sets of places: where it may begin and end, and whether it may be nothing."""

    first: int
    last: int
    empty: bool


_NOTHING = Part(0, 0, True)


class Places:
    """Reads a pattern. `literals` and `classes` say which places accept a character, `follow` what may come next."""

    def __init__(self, source: Source) -> None:
        """Raises ExpressionError at what is not supported."""
        self._source = source
        self._text = source.text
        self._at = 0
        self._flags = re.DOTALL
        self._open = 0
        self._work = 0
        self._origins: list[int] = []
        self.literals: dict[str, int] = {}
        self.classes: dict[re.Pattern[str], int] = {}
        self.follow: list[int] = []
        if self._text.startswith("(?i)"):
            self._flags |= re.IGNORECASE
            self._at = 4
        self.whole = self._alternatives()
        if self._at < len(self._text):
            raise source.error("')' closes nothing in the pattern", self._at)
        self._check_ends()

    def _check_ends(self) -> None:
        begins, ends = self.literals.get(BEGIN, 0), self.literals.get(END, 0)
        for place, after in enumerate(self.follow):
            if after and ends >> place & 1:
                raise self._source.error("'$' can only stand at the end", self._origins[place])
            if after & begins:
                wrong = (after & begins).bit_length() - 1
                raise self._source.error("'^' can only stand at the beginning", self._origins[wrong])

    # ── pieces together ──────────────────────────────────────────────────────────────────────────

    def _alternatives(self) -> Part:
        part = self._sequence()
        while self._text.startswith("|", self._at):
            self._at += 1
            other = self._sequence()
            part = Part(part.first | other.first, part.last | other.last, part.empty or other.empty)
        return part

    def _sequence(self) -> Part:
        whole = _NOTHING
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            whole = self._joined(whole, self._repeated())
        return whole

    def _joined(self, left: Part, right: Part) -> Part:
        self._link(left.last, right.first)
        return Part(
            left.first | right.first if left.empty else left.first,
            left.last | right.last if right.empty else right.last,
            left.empty and right.empty,
        )

    def _link(self, before: int, after: int) -> None:
        while before:
            lowest = before & -before
            self.follow[lowest.bit_length() - 1] |= after
            before ^= lowest

    def _repeated(self) -> Part:
        start = self._at
        part = self._one()
        least, most = self._times()
        if (least, most) == (1, 1):
            return part
        end = self._at
        whole = _NOTHING
        for turn in range(max(least, 1) if most is None else most):
            if turn:
                self._at = start
                part = self._one()
            if most is None and turn >= least - 1:
                self._link(part.last, part.first)
            whole = self._joined(whole, part if turn < least else part._replace(empty=True))
        self._at = end
        return whole

    def _times(self) -> tuple[int, int | None]:
        sign = self._text[self._at : self._at + 1]
        if sign in _TIMES:
            self._at += 1
            times = _TIMES[sign]
        elif sign == "{":
            times = self._counted()
        else:
            return 1, 1
        if self._text.startswith("?", self._at):  # a lazy one finds the same
            self._at += 1
        if self._text[self._at : self._at + 1] in ("*", "+", "?", "{"):
            raise self._source.error("put what is to be repeated again in brackets", self._at)
        return times

    def _counted(self) -> tuple[int, int | None]:
        match = _COUNT.match(self._text, self._at)
        if match is None or match[1] is match[3] is None:
            raise self._source.error(r"write {2}, {2,} or {2,5}; the character itself is \{", self._at)
        least = int(match[1] or 0)
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if most is not None and most < least:
            raise self._source.error("the smaller number comes first", self._at)
        self._at = match.end()
        return least, most

    # ── one piece ────────────────────────────────────────────────────────────────────────────────

    def _one(self) -> Part:
        at = self._at
        self._work += 1
        if self._work > MAX_WORK:
            raise self._source.error("the pattern repeats too much", at)
        char = self._text[at]
        if char == "(":
            return self._group(at)
        self._at += 1
        if char in "*+?{":
            raise self._source.error(rf"nothing to repeat; the character itself is \{char}", at)
        if char in "^$":
            return self._place(BEGIN if char == "^" else END, at)
        if char == "[":
            return self._class(at)
        if char == "\\":
            return self._escape(at)
        return self._compiled(char, at) if char == "." else self._literal(char, at)

    def _group(self, at: int) -> Part:
        self._at += 3 if self._text.startswith("(?:", at) else 1
        if self._text.startswith("?", self._at):
            raise self._source.error("only (…), (?:…), and (?i) at the very beginning are supported", at)
        self._open += 1
        if self._open > MAX_GROUPS:
            raise self._source.error("nested too deeply", at)
        part = self._alternatives()
        self._open -= 1
        if not self._text.startswith(")", self._at):
            raise self._source.error("'(' is never closed in the pattern", at)
        self._at += 1
        return part

    def _class(self, at: int) -> Part:
        match = _CLASS.match(self._text, at)
        if match is None:
            raise self._source.error(r"'[' is never closed in the pattern; within it, write \[", at)
        if _DOUBLED.search(match[0]):
            raise self._source.error(r"write this sign once, or as \-, \&, \| or \~", at)
        self._at = match.end()
        return self._compiled(match[0], at)

    def _escape(self, at: int) -> Part:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        if char in _NO_ESCAPE:
            raise self._source.error(_NO_ESCAPE[char], at)
        if char.isdigit() or char in ("x", "u", "U", "N"):
            raise self._source.error("there are no references and no codes: write the character itself", at)
        return self._compiled("\\" + char, at) if char.isalpha() or not char else self._literal(char, at)

    def _literal(self, char: str, at: int) -> Part:
        has_case = self._flags & re.IGNORECASE and char.lower() != char.upper()
        return self._compiled(re.escape(char), at) if has_case else self._place(char, at)

    def _compiled(self, text: str, at: int) -> Part:
        try:
            return self._place(re.compile(text, self._flags), at)
        except re.error as error:
            raise self._source.error(f"not a pattern: {error.msg}", at) from None

    def _place(self, accepts: re.Pattern[str] | str, at: int) -> Part:
        place = len(self.follow)
        if place == MAX_PLACES:
            raise self._source.error(f"the pattern has more than {MAX_PLACES} places", at)
        self.follow.append(0)
        self._origins.append(at)
        if isinstance(accepts, str):
            self.literals[accepts] = self.literals.get(accepts, 0) | 1 << place
        else:
            self.classes[accepts] = self.classes.get(accepts, 0) | 1 << place
        return Part(1 << place, 1 << place, False)
