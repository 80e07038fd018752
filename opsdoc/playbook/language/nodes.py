"""The tree of an expression: what was written, checked for everything that can be known without types.

Each node has the column at which it begins and what was written there, shortened, for reasons such as `x.y is null`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union


class Literal(NamedTuple):
    """A number, a text, true, false or null."""

    value: float | str | bool | None
    column: int
    said: str


class Name(NamedTuple):
    """A name of the scope, or within a predicate a field of the item. `item` is then the item itself."""

    name: str
    in_predicate: bool
    column: int
    said: str


class Field(NamedTuple):
    """`a.b` and `a["b"]`."""

    of: Node
    key: str
    key_column: int
    column: int
    said: str


class Index(NamedTuple):
    """`a[0]`, `a[-1]`."""

    of: Node
    at: int
    column: int
    said: str


class Slice(NamedTuple):
    """`a[1:5]`."""

    of: Node
    start: int | None
    stop: int | None
    column: int
    said: str


class Several(NamedTuple):
    """A list that is written out: `[a, b]`."""

    items: tuple[Node, ...]
    column: int
    said: str


class Prefixed(NamedTuple):
    """`not a`, `-a`."""

    sign: str
    of: Node
    column: int
    said: str


class Logic(NamedTuple):
    """`a and b and c`, or the same with `or`."""

    sign: str
    parts: tuple[Node, ...]
    column: int
    said: str


class Compare(NamedTuple):
    """`a < b <= c`: one more part than signs."""

    parts: tuple[Node, ...]
    signs: tuple[str, ...]
    column: int
    said: str


class Arithmetic(NamedTuple):
    """`a + b` and the other four."""

    left: Node
    sign: str
    right: Node
    column: int
    said: str


class Choice(NamedTuple):
    """`a if test else b`."""

    test: Node
    then: Node
    otherwise: Node
    column: int
    said: str


class Predicate(NamedTuple):
    """An expression in a text, to be evaluated for each item of a list; its weight is how many nodes it has."""

    body: Node
    weight: int
    column: int
    said: str


class Pattern(NamedTuple):
    """What `matches` looks for; `find` is linear in the length of the text."""

    pattern: Any
    column: int
    said: str


class Call(NamedTuple):
    """A function with its arguments."""

    function: str
    arguments: tuple[Node, ...]
    column: int
    said: str


Node = Union[  # noqa: UP007 - names that are defined above one another
    Literal, Name, Field, Index, Slice, Several, Prefixed, Logic, Compare, Arithmetic, Choice, Predicate, Pattern, Call
]


def blamed(left: Node, right: Node) -> int:
    """The column of what is most likely wrong where two values do not go together: a quoted number, a null."""
    return right.column if isinstance(right, Literal) and isinstance(right.value, str | None) else left.column
