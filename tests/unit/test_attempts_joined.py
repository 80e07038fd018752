"""Attempts of the access log joined with the lines of the error log, and shared out to groups."""

from __future__ import annotations

import pytest

from opsdoc.looks.failures import finer, is_counted, passed_on
from opsdoc.looks.flows import shared_out
from opsdoc.parsers.attempts import Attempt, Trace, Visit
from opsdoc.parsers.nginx_nouns import Pass, Place, Setting

A, B = "10.0.0.1:80", "10.0.0.2:80"


@pytest.mark.parametrize(
    ("logged", "written", "found"),
    [
        ({"refused": 5}, {}, {"refused": 5}),
        ({"refused": 5}, {"socket-missing": 5}, {"socket-missing": 5}),
        ({"refused": 5}, {"tls": 2}, {"tls": 5}),  # the error log has not all of them, but only one reason
        ({"refused": 5}, {"tls": 2, "unreachable": 1}, {"tls": 2, "refused": 2, "unreachable": 1}),
        ({"closed-early": 3}, {"reset": 3}, {"reset": 3}),
        ({"closed-early": 3}, {"invalid": 3}, {"invalid": 3}),
        ({"closed-early": 3}, {"reset": 1, "closed-early": 2}, {"closed-early": 2, "reset": 1}),
        ({"closed-early": 3, "refused": 1}, {"refused": 4}, {"closed-early": 3, "refused": 1}),
        ({"connect-timeout": 2}, {"tls": 2}, {"tls": 2}),
        ({"failed-502": 2}, {"refused": 2}, {"refused": 2}),
        ({"failed-504": 2}, {"read-timeout": 2}, {"read-timeout": 2}),
        ({"http-503": 4, "read-timeout": 1}, {"read-timeout": 1}, {"http-503": 4, "read-timeout": 1}),
    ],
)
def test_the_error_log_tells_apart_what_the_access_log_cannot(logged, written, found):
    assert finer(logged, written) == found


def test_what_failed_behind_a_good_status_is_known_to_the_error_log_alone():
    assert passed_on(50, {"cut-short": 40}, {}) == {"cut-short": 40}
    assert passed_on(30, {"cut-short": 40}, {}) == {"cut-short": 30}, "no more than there were"
    assert passed_on(50, {"invalid": 4}, {"invalid": 4}) == {}, "these the access log has"
    assert passed_on(50, {"invalid": 9}, {"invalid": 4}) == {"invalid": 9}
    assert passed_on(50, {"refused": 9}, {}) == {}


def passing(*listed):
    settings = {"next_upstream": Setting(listed, Place("nginx.conf", 3))} if listed else {}
    return Pass("proxy", False, "http://app", "app", "", (), "/", Place("nginx.conf", 2), settings)


def test_nginx_counts_what_its_settings_say():
    assert is_counted({}, {}, [passing()]) is None
    assert is_counted({"refused": 3}, {"refused": 3}, [passing()]) is True
    assert is_counted({"http-503": 3}, {"http-503": 3}, [passing()]) is False
    assert is_counted({"http-503": 3}, {"http-503": 3}, [passing("error", "http_503")]) is True
    assert is_counted({"http-503": 3}, {"http-503": 3}, [passing("error", "http_503"), passing()]) is False
    assert is_counted({"cut-short": 3}, {}, [passing()]) is False, "the answer had begun"


def test_what_an_error_page_made_good_is_not_lost():
    failed = Visit((Attempt(A, 503, "http-503"),))
    saved = Visit((Attempt(B, 200),))
    named = {A: ("app",), B: ("spare",)}
    flows = shared_out(
        {
            Trace((failed,), 503): 5,
            Trace((failed,), 200): 7,  # a static page
            Trace((failed, saved), 200): 11,
            Trace((failed,), None): 13,
            Trace((failed,), 429): 17,
        },
        named,
        ["app", "spare"],
    )
    assert (flows["app"].requests, flows["app"].lost) == (53, 35)
    assert (flows["spare"].requests, flows["spare"].lost) == (11, 0)
