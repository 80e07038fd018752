"""The JSON that a page carries, so that it can be rendered again: whole, or its lists cut where it is too large."""

from __future__ import annotations

from functools import cached_property

from opsdoc.model import ProbeResult, Report
from opsdoc.render import json_v1
from opsdoc.render.story import looked_at

_MOST_CARRIED = 200  # observations of a kind where not all can be carried


class Data:
    """The report as data for a script element that no browser runs."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._shorter = report._replace(results=tuple(map(_shortened, report.results)))

    def under(self, most: int) -> tuple[str | None, bool]:
        """The JSON of at most so many characters, or none, and whether it is whole.

        What is too large keeps its verdict: the first observations of each kind and those that findings cite. How many
        there were is in `total`, as wherever a probe lists only the first.
        """
        if not most:
            return None, False
        if self._whole_may_fit(most) and len(self._whole) <= most:
            return self._whole, True
        return (self._short if len(self._short) <= most else None), False

    def _whole_may_fit(self, most: int) -> bool:
        """Whether it is worth writing all of it, judged by what it takes to write a part."""
        kept, total = _observations(self._shorter), _observations(self._report)
        return kept == total or len(self._short) * total / kept <= 2 * most

    @cached_property
    def _whole(self) -> str:
        return _embedded(self._report)

    @cached_property
    def _short(self) -> str:
        return _embedded(self._shorter)


def _observations(report: Report) -> int:
    return sum(len(result.observations) for result in report.results)


def _embedded(report: Report) -> str:
    text = json_v1.dumps(json_v1.as_dict(report), indent=None)
    return text.replace("<", "\\u003c")


def _shortened(result: ProbeResult) -> ProbeResult:
    cited = {each for finding in result.findings for each in finding.evidence}
    looked = looked_at(result)
    first = {id(o) for each in looked for o in each.rows[:_MOST_CARRIED]}
    kept = tuple(o for o in result.observations if id(o) in first or o.id in cited)
    return result._replace(observations=kept, totals={**result.totals, **{each.kind: each.total for each in looked}})
