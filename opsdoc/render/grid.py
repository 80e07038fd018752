"""Observations of one kind as a table of a terminal: a heading, aligned numbers, each stack beneath its row."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from opsdoc.model import Meta, Observation
from opsdoc.render import words
from opsdoc.render.layout import Page, left, right, wrap
from opsdoc.render.rows import INDENT, frames_of, write_everything, write_stack
from opsdoc.render.trees import write_trees
from opsdoc.render.ways import write_ways

_GAP = "  "
_LEAST_SUBJECT = 20
_MOST_CELL = 28
_MOST_LINES = 6  # of a heading
_LONGEST_TITLE = 200


class Grid:
    """The columns come from field metadata: the subject, the main measure, then what stands beside it."""

    def __init__(
        self, page: Page, observations: Sequence[Observation], *, told: Collection[int] = (), verbose: bool = False
    ) -> None:
        self._page = page
        self._verbose = verbose
        self._told = told  # identities of those whose stack was shown above
        self._observations = observations
        metas = observations[0].fields()
        self._columns = {name: meta for show in ("main", "line") for name, meta in metas.items() if meta.show == show}
        self._cells = [[self._cell(o, name, meta) for name, meta in self._columns.items()] for o in observations]
        self._drop_the_empty()
        titles = [page.say(meta.title) for meta in self._columns.values()]
        longest = max(words.cells(self._kind), *(words.cells(page.say(o.subject)) for o in observations))
        cells = [max(map(words.cells, column)) for column in zip(*self._cells, strict=True)]
        for height in range(1, _MOST_LINES + 1):
            self._heads = [_broken(title, width, height) for title, width in zip(titles, cells, strict=True)]
            self._widths = [max(width, *map(words.cells, head)) for width, head in zip(cells, self._heads, strict=True)]
            room = page.width - INDENT - sum(width + len(_GAP) for width in self._widths)
            if room >= min(longest, _LEAST_SUBJECT):
                break
        self._subject = min(longest, max(_LEAST_SUBJECT, room))

    def write(self) -> None:
        """The heading and all rows."""
        height = max(map(len, self._heads), default=1)
        lines = zip(*([""] * (height - len(head)) + head for head in self._heads), strict=True)
        for index, titles in enumerate(lines if self._heads else [()], start=1):
            self._line(self._kind if index == height else "", titles, "dim")
        for observation, cells in zip(self._observations, self._cells, strict=True):
            subject = words.shorten(self._page.say(observation.subject), self._subject, self._page.ellipsis)
            self._line(subject, cells, "")
            frames = () if id(observation) in self._told else frames_of(observation)
            write_stack(self._page, frames, INDENT + 2, verbose=self._verbose)
            if id(observation) not in self._told:
                write_ways(self._page, observation, INDENT + 2)
                write_trees(self._page, observation, INDENT + 2, verbose=self._verbose)
            if self._verbose:
                write_everything(self._page, observation, INDENT + 2)

    @property
    def _kind(self) -> str:
        return self._page.say(words.kind_name(self._observations[0].kind))

    def _line(self, subject: str, cells: Sequence[str], style: str) -> None:
        fitted = [
            right(cell, width) if meta.is_number else left(cell, width)
            for cell, width, meta in zip(cells, self._widths, map(_Column, self._columns.values()), strict=True)
        ]
        self._page.line((" " * INDENT + left(subject, self._subject), style), (_GAP + _GAP.join(fitted), style))

    def _cell(self, observation: Observation, name: str, meta: Meta) -> str:
        said = self._page.say(words.stated(meta, getattr(observation, name)))
        return words.shorten(said, max(_MOST_CELL, self._page.width // 4), self._page.ellipsis)

    def _drop_the_empty(self) -> None:
        """Columns that apply to no row take no room."""
        nothing = self._page.say(words.quantity(None, ""))
        kept = [i for i in range(len(self._columns)) if any(cells[i] != nothing for cells in self._cells)]
        names = list(self._columns)
        self._columns = {names[i]: self._columns[names[i]] for i in kept}
        self._cells = [[cells[i] for i in kept] for cells in self._cells]


def _broken(title: str, width: int, height: int) -> list[str]:
    """A heading in at most so many lines, as narrow as they can be, but no narrower than what stands beneath it."""
    whole = words.cells(title)
    if height == 1 or not width < whole <= _LONGEST_TITLE:
        return [title]
    return next(lines for most in range(width, whole + 1) if len(lines := wrap(title, most)) <= height)


class _Column:
    def __init__(self, meta: Meta) -> None:
        self.is_number = meta.unit not in ("", "command", "time", "hex", "step")
