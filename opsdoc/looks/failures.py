"""Why attempts failed, by access log and error log together, and whether nginx counts it as a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from opsdoc.parsers.nginx_nouns import Pass

_PLAIN = ("error", "timeout")  # proxy_next_upstream, unless it is written
_UNCONNECTED = ("socket-missing", "tls", "unreachable", "not-permitted", "queue-full", "no-local-port", "refused")
_UNANSWERED = ("reset", "invalid", "closed-early")
_FOUND_OUT = {  # what the error log tells apart where the access log has one and the same failure
    "refused": _UNCONNECTED,
    "closed-early": _UNANSWERED,
    "connect-timeout": ("tls", "connect-timeout"),
    "failed-502": (*_UNCONNECTED, *_UNANSWERED),
    "failed-504": ("tls", "connect-timeout", "read-timeout"),
}
_PASSED_ON = ("cut-short", "invalid")  # where the status of the answer was a good one, which is all that is logged


def finer(failures: Mapping[str, int], written: Mapping[str, int]) -> dict[str, int]:
    """Failures by cause; where the access log only says that nothing was connected or answered, the error log's."""
    found: Counter[str] = Counter()
    left = dict(written)
    for seen, times in failures.items():
        unclear = times
        for cause in _FOUND_OUT.get(seen, ()):
            taken = min(unclear, left.get(cause, 0))
            if taken:
                found[cause] += taken
                left[cause] -= taken
                unclear -= taken
        if unclear:
            said = [cause for cause in _FOUND_OUT.get(seen, ()) if written.get(cause)]
            found[said[0] if len(said) == 1 else seen] += unclear
    return dict(found.most_common())


def passed_on(others: int, written: Mapping[str, int], failures: Mapping[str, int]) -> dict[str, int]:
    """What failed when the client had the status already: the access log has a good attempt, the error log a line."""
    found = {}
    for cause in _PASSED_ON:
        times = min(others, written.get(cause, 0) - failures.get(cause, 0))
        if times > 0:
            found[cause] = failures.get(cause, 0) + times
            others -= times
    return found


def is_counted(failures: Mapping[str, int], logged: Mapping[str, int], passes: Sequence[Pass]) -> bool | None:
    """Whether nginx counts the most frequent failure, which is how it takes a server out (proxy_next_upstream).

    One that the access log does not have, nginx did not see as such: the answer had begun.
    """
    cause = max(failures, key=lambda one: failures[one], default=None)
    if cause is None:
        return None
    if not cause.startswith("http-"):
        return bool(logged)
    wanted = cause.replace("-", "_")
    lists = [one.settings["next_upstream"].args if "next_upstream" in one.settings else _PLAIN for one in passes]
    return bool(lists) and all(wanted in listed for listed in lists)
