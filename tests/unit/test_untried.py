"""Requests that fail though no server was tried: names that have no address, and what nobody explains."""

from __future__ import annotations

import pytest

from opsdoc.model import Severity, Unknown
from opsdoc.signals.untried import Limits, Untried, judge

LOG = "/var/log/nginx/error.log"


def untried(**more):
    given = {"id": "u", "subject": "nginx", "requests": 40, "share": 0.4, "unresolved": 0, "error_log": LOG}
    return Untried(**{**given, **more})


def named(**more):
    return untried(unresolved=40, names=("app.internal",), places=("nginx.conf:20",), **more)


def judged(*observations):
    return list(judge(list(observations), [], Limits()))


@pytest.mark.parametrize(
    ("one", "why", "step"),
    [
        (
            named(without_resolver=True),
            "nginx has no resolver to look up app.internal with (nginx.conf:20)",
            "write resolver ADDRESS in http",
        ),
        (
            named(silent=("10.0.0.2:53",)),
            "the resolver 10.0.0.2:53 does not answer for app.internal (nginx.conf:20)",
            "see whether the resolver runs",
        ),
        (
            named(resolvers=("10.0.0.2",)),
            "app.internal cannot be resolved (nginx.conf:20)",
            "see whether the name still exists",
        ),
    ],
)
def test_a_name_without_an_address_is_told_with_the_reason(one, why, step):
    (found,) = judged(one)
    assert (found.rule, found.severity) == ("untried.resolver", Severity.CRITICAL)
    assert found.summary == f"40 requests got 502, no server was tried: {why}"
    assert found.next_step.startswith(step)
    assert found.by_hand[-1] == f"tail -n 10000 {LOG} | grep -F resolve | tail -n 5"


def test_the_resolver_is_asked_by_hand_as_nginx_asks_it():
    assert judged(named(silent=("10.0.0.2:53",)))[0].by_hand[0] == "dig +time=2 +tries=1 app.internal @10.0.0.2 -p 53"
    assert judged(named(silent=("[::1]:5353",)))[0].by_hand[0] == "dig +time=2 +tries=1 app.internal @::1 -p 5353"
    assert judged(named(resolvers=("10.0.0.2",)))[0].by_hand[0] == "dig +time=2 +tries=1 app.internal @10.0.0.2"


def test_few_of_many_are_a_warning_and_no_share_is_one_too():
    assert judged(named(share=0.002))[0].severity is Severity.WARNING
    assert judged(named(share=Unknown("no log was read")))[0].severity is Severity.WARNING


def test_errors_of_nginx_that_nobody_explains():
    (found,) = judged(untried(statuses={"502": 30, "500": 10}))
    assert (found.rule, found.severity) == ("untried.unexplained", Severity.WARNING)
    assert "failed 40 requests (40 % of all; 30 got 502 and 10 got 500): no server was tried" in found.summary
    assert judged(untried(requests=2, share=0.4)) == []
    assert judged(untried(requests=40, share=0.0004)) == []
    assert judged(untried(requests=Unknown("no log was read"), share=None)) == []
