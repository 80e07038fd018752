"""Records that have a `depth`: a tree, each beneath what it hangs on, drawn in text, in Markdown and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opsdoc.model import Observation
from opsdoc.render import words
from opsdoc.render.layout import Page, first_and_rest, flow
from opsdoc.render.parts import Parts, parts_of

_DEPTH = "depth"
DEEPEST = 8  # levels that are told apart by how far in they stand
_HANGS = "\\_ "  # before each record but a root, as `ps f` has it
_STEP = len(_HANGS)
_MARGIN = 6  # columns: a tree needs room
_MOST = 20


class Branch(NamedTuple):
    """One record: how far in it stands, its name, and the rest of it in words; `marks` are its flags that are set."""

    level: int
    name: str
    marks: list[str]
    items: list[str]


class Tree(NamedTuple):
    """The records of one field in their order, which is depth first; `more` are not drawn."""

    title: str
    branches: list[Branch]
    more: int


def trees_of(observation: Observation, most: int = _MOST) -> Iterator[Tree]:
    """The fields of an observation whose records are trees."""
    return (tree for parts in parts_of(observation) if (tree := tree_of(parts, most)) is not None)


def tree_of(parts: Parts, most: int = _MOST) -> Tree | None:
    """The records of a field as a tree; None where one of them has no depth that could be drawn."""
    depths = [record.get(_DEPTH) for record in parts.records]
    if not all(isinstance(depth, int) and not isinstance(depth, bool) and depth >= 0 for depth in depths):
        return None
    shown = parts.records[:most]
    return Tree(parts.title, [_branch(parts, record) for record in shown], len(parts.records) - len(shown))


def _branch(parts: Parts, record: Mapping[str, Any]) -> Branch:
    name, *rest = [column for column in parts.columns if column.name != _DEPTH]
    values = [(column.meta, record.get(column.name)) for column in rest]
    return Branch(
        level=min(record[_DEPTH], DEEPEST),
        name=words.measured(name.meta, record.get(name.name)),
        marks=[meta.title for meta, value in values if value is True],
        items=[said for meta, value in values if not isinstance(value, bool) and (said := words.measured(meta, value))],
    )


# ── in lines ─────────────────────────────────────────────────────────────────────────────────────


def write_trees(page: Page, observation: Observation, margin: int, *, verbose: bool) -> None:
    """The trees of an observation beneath its row."""
    margin = min(margin, _MARGIN)
    for tree in trees_of(observation, 10 * _MOST if verbose else _MOST):
        for branch in tree.branches:
            said = [page.say(item) for item in (branch.name, *branch.marks, *branch.items)]
            room = page.width - margin - _STEP * (branch.level + 1)
            for first, line in first_and_rest(flow(said, room, page.between)):
                indent = _indent(branch.level) if first else " " * _STEP * (branch.level + 1)
                page.line((" " * margin + indent + line, "strong" if branch.marks else ""))
        if tree.more:
            page.line((" " * margin + page.say(f"+ {tree.more:,} more, all of them in the JSON"), "dim"))


def _indent(level: int) -> str:
    return " " * _STEP * (level - 1) + _HANGS if level else ""


def lines_of(tree: Tree) -> list[str]:
    """One line for each record, as far in as it stands."""
    lines = [
        _indent(branch.level) + " · ".join([branch.name, *branch.marks, *branch.items]) for branch in tree.branches
    ]
    return [*lines, *([f"+ {tree.more:,} more"] if tree.more else [])]
