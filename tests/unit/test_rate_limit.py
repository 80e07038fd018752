"""Limits: what nginx itself rejects or delays, by zone, and never blamed on a server."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals.rate_limit import Limits, RateLimit, judge


def zone(**more):
    given = {
        "id": "z1",
        "subject": "zone one",
        "zone": "one",
        "rate": "10r/s",
        "key": "$binary_remote_addr",
        "place": "/etc/nginx/nginx.conf:12",
        "error_log": "/var/log/nginx/error.log",
    }
    return RateLimit(**{**given, **more})


def judged(*zones):
    return list(judge(list(zones), [], Limits()))


def test_rejected_requests_name_zone_rate_and_place_and_no_server():
    (found,) = judged(zone(rejected=310, share=0.031, status=429))
    assert (found.rule, found.severity, found.key) == ("limit.rejected", Severity.WARNING, "limit.rejected:one")
    assert found.summary == (
        "nginx itself rejected 310 requests (3.1 % of the requests) with 429, by the limit of requests zone one "
        "(10r/s per $binary_remote_addr, /etc/nginx/nginx.conf:12); no server is to blame"
    )
    assert (found.threshold.name, found.threshold.value) == ("rate_limit.rejected_share", 0.031)
    assert found.by_hand == ("tail -n 10000 /var/log/nginx/error.log | grep -E 'by zone .one' | tail -n 20",)


@pytest.mark.parametrize(
    ("rejected", "share", "severity"),
    [(310, 0.009, "ok"), (310, None, "warning"), (2, None, "ok"), (2, 0.5, "ok")],
)
def test_the_share_decides_where_it_is_known(rejected, share, severity):
    (found,) = judged(zone(rejected=rejected, share=share))
    assert found.severity.word == severity


def test_connections_and_delays():
    (found,) = judged(zone(limit="connections", rate="10", rejected=50, share=0.2))
    assert "limit of connections zone one" in found.summary
    assert "number of connections" in found.next_step
    (found,) = judged(zone(delayed=900, delayed_share=0.3))
    assert (found.rule, found.severity) == ("limit.delayed", Severity.WARNING)
    assert "they look slow, and no server is" in found.summary


def test_a_dry_run_rejects_nothing():
    (found,) = judged(zone(dry_run_rejected=70, dry_run_delayed=5, share=0.0))
    assert (found.rule, found.severity) == ("limit.dry-run", Severity.OK)
    assert "would have rejected 70 requests and delayed 5" in found.summary


def test_quiet_zones_are_one_finding_and_unknown_ones_are_said_to_be():
    (found,) = judged(zone(), zone(subject="zone two", zone="two"), zone(subject="zone three", zone="three"))
    assert found.rule == "limit.quiet"
    assert found.summary.endswith("and 1 more)")
    hidden = zone(rejected=Unknown("no log"), delayed=Unknown("no log"))
    (found,) = judged(hidden)
    assert found.summary.startswith("whether limits (zone one")
