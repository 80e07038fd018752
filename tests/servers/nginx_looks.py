"""What `opsdoc nginx` is asked of a site, and what it said, as tests put it."""

from __future__ import annotations

from typing import Any

from servers.cli import Opsdoc, Run
from servers.nginx_scenes import Site


def look(opsdoc: Opsdoc, site: Site, *args: object, **options: Any) -> Run:
    """The report on a site: other tests run an nginx beside it."""
    return opsdoc.json("nginx", "--pid", site.nginx.pid, *args, **options)


def served(site: Site, times: int = 40, connections: int = 1) -> Site:
    """The same after some requests, when all of them are logged."""
    site.nginx.request("/", times, connections)
    site.nginx.log_written()
    return site


def bad(run: Run) -> list[str]:
    """The rules of the findings that are not OK, the worst first."""
    return [finding["rule"] for finding in run.findings if finding["severity"] != "ok"]


def sick(run: Run) -> set[str]:
    """The addresses of the servers that are not as they should be."""
    return {one["server"] for one in run.of("upstream_server") if one["state"] in ("down", "failing", "flapping")}


def of_rule(run: Run, rule: str) -> dict[str, Any]:
    """The one finding of a rule, of any severity."""
    found = [finding for finding in run.findings if finding["rule"] == rule]
    assert len(found) == 1, f"{run}: {len(found)} findings {rule} among {[f['summary'] for f in run.findings]}"
    return found[0]


def line_of(site: Site, text: str) -> str:
    """Where something is written first: `/…/nginx.conf:12`."""
    lines = site.nginx.conf.read_text().splitlines()
    return f"{site.nginx.conf}:{1 + next(n for n, line in enumerate(lines) if text in line)}"
