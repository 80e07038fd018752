"""What fastjson writes and JSON does not know: objects and numbers as keys, `$ref`, NaN.

Seen in replies of RocketMQ 4.9.3 (fastjson 1.2.76). The value that comes out is what JSON can hold, so that it survives
a recording: a key that was an object is the text of that object (`object_key` reads it), a number is its digits, NaN
and the infinities are None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from opsdoc.model import Malformed

MAX_DEPTH = 64  # replies of RocketMQ have 5
MAX_REPEATED = 1_000_000  # values that `$ref` may add: a small text must not become a large one
LONGEST_INTEGER = 20  # characters: a long of Java has 19 digits, and nothing overflows by one

_OBJECT_KEY = re.compile(r"(?<=[{,])(\{[^{}]*\})(?=:)")
_NUMBER_KEY = re.compile(r"(?<=[{,])(-?\d{1,20})(?=:)", re.ASCII)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BLANK = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|NaN|-?Infinity", re.ASCII)
_CONSTANTS = {"true": True, "false": False, "null": None, "NaN": None, "Infinity": None, "-Infinity": None}
_STEP = re.compile(r"""\.((?:[^.\[\\]|\\.)+)|\[(\d{1,9})\]|\["((?:[^"\\]|\\.)*)"\]|\['((?:[^'\\]|\\.)*)'\]""", re.ASCII)


def parse(data: bytes) -> Any:
    """The value: dict, list, str, int, float, bool or None, at most MAX_DEPTH deep, or twice that by references.

    Raises Malformed for what is neither JSON nor what fastjson makes of it.
    """
    text = data.decode("utf-8", "replace")  # a backslash in place of a byte would be an escape
    try:
        value = _parsed(text)
    except (ValueError, RecursionError):
        raise Malformed(f"not JSON, nor what fastjson writes: {data[:80]!r:.80}") from None
    if text.count("{") + text.count("[") > MAX_DEPTH:  # then it may be deeper, too
        _refuse_deep(value)
    if '"$ref"' in text:
        _resolve(value)
    return _whole(value, text)


def object_key(key: str) -> dict[str, Any]:
    """The object that was a key, by the text that stands for it. Raises Malformed where it was none."""
    try:
        value = _DECODER.decode(key)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or key.count("{") + key.count("[") > MAX_DEPTH:
        raise Malformed(f"not an object as a key: {key[:80]!r:.80}")
    whole: dict[str, Any] = _whole(value, key)
    return whole


def _parsed(text: str) -> Any:
    """By the quickest way that understands it.

    Keys are quoted without regard to strings. Text that looks like a key within a string then ends that string before
    a brace or a digit, which is an error: another value comes of it only where somebody made the whole text for that.
    """
    try:
        return _DECODER.decode(text)
    except ValueError:
        pass
    try:
        return _DECODER.decode(_NUMBER_KEY.sub(r'"\1"', _OBJECT_KEY.sub(lambda key: json.dumps(key[1]), text)))
    except ValueError:
        return _Tolerant(text).value()


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError("no number of Java's")
    return int(digits)


def _number(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_float=_number, parse_constant=_CONSTANTS.__getitem__, strict=False
)


# ── the tolerant parser ──────────────────────────────────────────────────────────────────────────


class _Open(NamedTuple):
    """An object or a list whose end has not come; `start` is where it began."""

    container: dict[str, Any] | list[Any]
    start: int
    keys: list[str]  # the key whose value comes next, if there is one


class _Tolerant:
    """Reads one text, without recursion. Whatever stands where a key should may be a string, a number or an object."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[_Open] = []

    def value(self) -> Any:
        while True:
            self._skip()
            complete, value, start = self._begin()
            while complete:
                if not self._open:
                    self._skip()
                    if self._at != len(self._text):
                        raise ValueError("something follows")
                    return value
                self._put(value, start)
                complete, value, start = self._end()

    def _begin(self) -> tuple[bool, Any, int]:
        """Read a value that begins here, or, of an object or a list that is not empty, its first character."""
        start, first = self._at, self._text[self._at : self._at + 1]
        if first == '"':
            value, self._at = _DECODER.raw_decode(self._text, start)
            return True, value, start
        if first in ("{", "["):
            if len(self._open) >= 2 * MAX_DEPTH:  # an object as a key is one more, which is gone when it was read
                raise ValueError("too deep")
            self._at += 1
            self._open.append(_Open({} if first == "{" else [], start, []))
            self._skip()
            if self._next() in ("}", "]"):
                return self._end()
            return False, None, start
        match = _SCALAR.match(self._text, start)
        if match is None:
            raise ValueError("no value")
        self._at = match.end()
        word = match[0]
        if word in _CONSTANTS:
            return True, _CONSTANTS[word], start
        return True, _integer(word) if word.lstrip("-").isdigit() else _number(word), start

    def _put(self, value: Any, start: int) -> None:
        """Give a value to the innermost object or list; in an object it may be the next key."""
        container, _, keys = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif keys:
            container[keys.pop()] = value
        else:
            keys.append(value if isinstance(value, str) else self._text[start : self._at])
            self._skip()
            if self._next() != ":":
                raise ValueError("no colon")
            self._at += 1

    def _end(self) -> tuple[bool, Any, int]:
        """What follows a value: a comma, or the end of what it stands in."""
        container, start, keys = self._open[-1]
        if keys:  # its value is next
            return False, None, start
        self._skip()
        mark = self._next()
        self._at += 1
        if mark == ",":
            return False, None, start
        if mark != ("]" if isinstance(container, list) else "}"):
            raise ValueError("no end")
        self._open.pop()
        return True, container, start

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at


# ── once it is read ──────────────────────────────────────────────────────────────────────────────


def _inner(container: Any) -> Iterator[Any]:
    return iter(container.values() if isinstance(container, dict) else container)


def _refuse_deep(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [inner for container in level for inner in _inner(container) if isinstance(inner, dict | list)]
        if not level:
            return
    raise Malformed(f"nested deeper than {MAX_DEPTH} times")


def _reference(value: Any) -> str | None:
    """The path that a value refers to by `{"$ref": "$.a[0]"}`, or None for any other value."""
    path = value.get("$ref") if isinstance(value, dict) and len(value) == 1 else None
    return path if isinstance(path, str) else None


def _resolve(root: Any) -> None:
    """Put in place of each reference what it refers to.

    One that leads nowhere, back to what it stands in, or to what holds references itself is left as it is.
    """
    sizes: dict[int, int | None] = {}
    found: list[tuple[Any, Any, Any]] = []
    budget = MAX_REPEATED
    for container in list(_containers(root)):
        for place, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            path = _reference(value)
            target = None if path is None else _target(root, path)
            if target is None:
                continue
            if id(target) not in sizes:
                sizes[id(target)] = _size(target)
            size = sizes[id(target)]
            if size is None:
                continue
            budget -= size
            if budget < 0:
                raise Malformed("its references repeat more than a reply can hold")
            found.append((container, place, target))
    for container, place, target in found:
        container[place] = target


def _containers(root: Any) -> Iterator[Any]:
    waiting = [root] if isinstance(root, dict | list) else []
    while waiting:
        container = waiting.pop()
        yield container
        waiting += [inner for inner in _inner(container) if isinstance(inner, dict | list)]


def _size(target: Any) -> int | None:
    """How many values it holds, itself included; None when there are references among them."""
    size = 1
    for container in _containers(target):
        if _reference(container) is not None:
            return None
        size += len(container)
    return size


def _target(root: Any, path: str) -> dict[str, Any] | list[Any] | None:
    """The object or list at a path such as `$.a.b[0]`."""
    if not path.startswith("$"):  # `..` and `@` lead back
        return None
    value, at = root, 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        name = step[1] or step[3] or step[4]
        if isinstance(value, list) and step[2] is not None and int(step[2]) < len(value):
            value = value[int(step[2])]
        elif isinstance(value, dict) and name is not None:
            value = value.get(re.sub(r"\\(.)", r"\1", name))
        elif isinstance(value, dict) and step[2] is not None:
            value = value.get(step[2])
        else:
            return None
    return value if isinstance(value, dict | list) else None


def _whole(value: Any, text: str) -> Any:
    r"""The value of a text without lone surrogates, which JSON may spell as `\ud800` and nothing can write."""
    return _without_surrogates(value) if _SURROGATE.search(text) else value


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_without_surrogates(inner) for inner in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
    return value
