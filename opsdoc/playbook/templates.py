"""Texts with `${{ expression }}` in them: rendered for people, or as a value for the options of a step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from opsdoc.model import Unknown
from opsdoc.playbook.expressions import Expression, ExpressionError, Source, Type, parse
from opsdoc.playbook.language.functions import written
from opsdoc.playbook.language.kinds import kind_of
from opsdoc.playbook.language.tokens import TEXT
from opsdoc.playbook.language.values import Refused, incomplete, kind, settled, word

MAX_LENGTH = 16 * 1024  # characters of a template
MAX_EXPRESSIONS = 64
_HARMLESS = re.compile(r"(?!-)[\w./:@,+=-]+", re.ASCII)  # nor may a value begin an option
MAX_RENDERED = 8 * 1024  # characters of one value in a text
MAX_ITEMS = 10  # of a list in a text
_OPEN, _CLOSE = "${{", "}}"


class Template:
    """A text in which each expression is replaced by its value."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str, parts: list[tuple[str | Expression, int]]) -> None:
        self.text = text
        self._parts = parts  # with their columns

    def render(self, scope: Mapping[str, Any]) -> str:
        """The text for a person: short numbers, long lists cut, `unknown (reason)`. It is text, never markup.

        Raises ExpressionError as evaluation does.
        """
        return "".join(part if isinstance(part, str) else readable(part.evaluate(scope)) for part, _ in self._parts)

    def command(self, scope: Mapping[str, Any]) -> str | None:
        """The text as a line for a shell, or None where a value holds what a shell would obey, or nothing.

        To quote such a value would not do: the quotes of the text around it could be closed by it.
        """
        values = [readable(part.evaluate(scope)) for part, _ in self._parts if isinstance(part, Expression)]
        return self.render(scope) if all(_HARMLESS.fullmatch(value) for value in values) else None

    def value(self, scope: Mapping[str, Any]) -> Any:
        """The value for a machine: of the one expression, where nothing stands around it, else a text.

        A text of which a part is unknown or null is unknown, so that no probe is asked about "unknown". Raises
        ExpressionError as evaluation does, and where a list or a record stands in a text.
        """
        if self._single is not None:
            return self._single.evaluate(scope)
        texts = []
        for part, column in self._parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            try:
                text = written(part.evaluate(scope), part.text.strip())
            except Refused as refused:
                raise ExpressionError(str(refused), column) from None
            if isinstance(text, Unknown):
                return text
            texts.append(text)
        return "".join(texts)

    def check(self, types: Mapping[str, Type]) -> None:
        """Whether it can be rendered in a scope of these types. Raises ExpressionError for the first thing wrong."""
        for part, _ in self._parts:
            if isinstance(part, Expression):
                part.check(types)

    def check_value(self, types: Mapping[str, Type]) -> Type:
        """The type of the value in a scope of these types. Raises ExpressionError for the first thing wrong."""
        if self._single is not None:
            return self._single.check(types)
        for part, column in self._parts:
            if isinstance(part, Expression) and (kind := kind_of(part.check(types))) in ("list", "record"):
                raise ExpressionError(f"{word(kind)} cannot be part of a text: take a field of it", column)
        return "text"

    @property
    def is_plain(self) -> bool:
        """Whether there is no expression in it."""
        return all(isinstance(part, str) for part, _ in self._parts)

    @property
    def _single(self) -> Expression | None:
        first = self._parts[0][0] if len(self._parts) == 1 else None
        return first if isinstance(first, Expression) else None


def parse_template(text: str) -> Template:
    """Read a text with expressions. Raises ExpressionError with its column in the text, and nothing else."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"a text has at most {MAX_LENGTH} characters", MAX_LENGTH)
    parts: list[tuple[str | Expression, int]] = []
    at = count = 0
    while (start := text.find(_OPEN, at)) >= 0:
        if start > at:
            parts.append((text[at:start], at))
        count += 1
        if count > MAX_EXPRESSIONS:
            raise ExpressionError(f"a text has at most {MAX_EXPRESSIONS} expressions", start)
        inner = start + len(_OPEN)
        end = _end(text, inner)
        parts.append((parse(Source(text[inner:end], range(inner, end + 1))), inner))
        at = end + len(_CLOSE)
    if at < len(text) or not parts:
        parts.append((text[at:], at))
    return Template(text, parts)


def _end(text: str, start: int) -> int:
    """Where the expression ends that begins at `start`: at the first `}}` that is in no text of its own."""
    at = start
    while at < len(text):
        if text.startswith(_CLOSE, at):
            return at
        literal = TEXT.match(text, at)
        at = literal.end() if literal else at + 1
    raise ExpressionError("'${{' is never closed", start - len(_OPEN))


# ── values for people ────────────────────────────────────────────────────────────────────────────


def readable(value: Any, depth: int = 0) -> str:
    """Any value in a text for a person, at most MAX_RENDERED characters of it."""
    text = _readable(value, depth)
    return text if len(text) <= MAX_RENDERED else f"{text[: MAX_RENDERED - 1]}…"


def _readable(value: Any, depth: int) -> str:
    if isinstance(value, Unknown):
        return f"unknown ({value.reason})"
    if isinstance(value, list):
        return _listed(value, depth)
    if isinstance(value, Mapping):
        return _recorded(value, depth)
    if value is None:
        return "—"
    if kind(value) == "any":
        return str(value)
    return short(value) if kind(value) == "number" else str(written(value, ""))


def short(number: float) -> str:
    """A number as people write it in a sentence: whole as it is, else with three digits, without thousands signs."""
    known = settled(number)
    if isinstance(known, Unknown):
        return readable(known)
    if known == round(known):
        return str(written(known, ""))
    return f"{known:.0f}" if abs(known) >= 1000 else f"{known:.3g}"


def _listed(items: list[Any], depth: int) -> str:
    if depth > 2:
        return "…"
    texts = [readable(item, depth + 1) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        texts.append(f"and {len(items) - MAX_ITEMS} more")
    missing = incomplete(items)
    text = ", ".join(texts) or "none"
    return text if missing is None else f"{text} (incomplete: {missing.reason})"


def _recorded(record: Mapping[str, Any], depth: int) -> str:
    """A record by its subject, as observations have one, or else by its fields."""
    if isinstance(record.get("subject"), str):
        return str(record["subject"])
    if depth > 2:
        return "…"
    fields = islice(record.items(), MAX_ITEMS)
    return ", ".join(f"{key} {readable(value, depth + 1)}" for key, value in fields) or "nothing"
