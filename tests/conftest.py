"""Options, groups and fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers.fixtures import *  # noqa: F403
from servers.fixtures import (  # noqa: F401
    _hostile_jvm,
    _hot_jvm,
    _installed_for_nobody,
    _lukewarm_jvm,
    _mariadb_pair,
    _postgresql_pair,
)

# Tests of one group run in one worker, so that what they share is started once.
GROUPS = {
    "java": {"hot_jvm", "hot_jvm_unattached", "lukewarm_jvm", "hostile_jvm", "gc_jvm"},
    "nobody": {"opsdoc_as_nobody"},
    "browser": {"browser"},
    "nginx": {"nginx_site", "newer_nginx"},
    "postgresql": {"postgresql_pair"},
    "mariadb": {"mariadb_pair"},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="rewrite the expected reports of recordings")


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    """Whether expectations are rewritten instead of compared."""
    return bool(request.config.getoption("--accept"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for group, fixtures in GROUPS.items():
            if names & fixtures and item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(group))
        if names & {"quiet_box", "busy_disk"}:
            item.add_marker(pytest.mark.box)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Leave what was skipped to whoever runs the tests in several parts."""
    path = os.environ.get("OPSDOC_SKIPPED")
    if path:
        with Path(path).open("a") as file:
            for report in terminalreporter.stats.get("skipped", []):
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                file.write(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}\n")
