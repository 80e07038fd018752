"""One upstream group with its servers and passes, as the judges of the signal `upstream` look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opsdoc.model import Finding, Severity, Threshold, known
from opsdoc.signals.amounts import duration, number
from opsdoc.signals.peers import (
    FEW,
    NEARLY_ALL,
    TAKEN_OUT,
    Standing,
    Thresholds,
    UpstreamGroup,
    UpstreamServer,
    standing,
)
from opsdoc.signals.proxying import ProxyPass
from opsdoc.signals.upstream_causes import ejection, now_words
from opsdoc.signals.upstream_commands import by_hand

if TYPE_CHECKING:
    from opsdoc.signals.upstream import Limits

HAPPENED = 3  # requests: fewer that were lost or tried again are chance


class Facts:
    """What is known of a group. Servers are told apart by their place in `servers`, for two may have one address."""

    def __init__(
        self, group: UpstreamGroup, servers: Sequence[UpstreamServer], passes: Sequence[ProxyPass], limits: Limits
    ) -> None:
        self.group, self.passes, self.limits = group, passes, limits
        self.name = group.subject
        self.servers = [server for server in servers if server.state != "off"]
        self._thresholds = Thresholds(limits.failing_share.warn, limits.changes.warn)
        self.standings: list[Standing] = [standing(server, self._thresholds) for server in self.servers]
        self._usable = sum(found != "down" for found in self.standings)
        self.single = group.single and all(len(server.addresses) < 2 for server in servers)

    @property
    def answered_elsewhere(self) -> bool:
        """Whether clients had an answer although this group failed: from an error page, a cache or another group."""
        tried = sum(server.tried or 0 for server in self.servers)
        failed = sum(server.failed for server in self.servers)
        return self.requests > 0 and self.group.lost == 0 and failed >= NEARLY_ALL * tried > 0

    @property
    def requests(self) -> int:
        """How many requests it had; 0 where no log tells."""
        return known(self.group.requests) or 0

    def those(self, *standings: Standing) -> list[UpstreamServer]:
        """The servers that stand so."""
        return [server for server, found in zip(self.servers, self.standings, strict=True) if found in standings]

    def has_another(self, server: UpstreamServer) -> bool:
        """Whether a server beside this one may serve."""
        return self._usable > (standing(server, self._thresholds) != "down")

    # ── words ────────────────────────────────────────────────────────────────────────────────────

    def who(self, server: UpstreamServer) -> str:
        """`10.0.0.12:80 of backend`; only the address where it has no group."""
        alone = self.name == server.server or not self.group.configured
        return server.server if alone else f"{server.server} of {self.name}"

    def how_often(self, server: UpstreamServer) -> str:
        """`38 of 40 attempts failed, refuses now`."""
        tried = server.tried
        if tried is None:
            said = number(server.failed, "line") + " in the error log" if server.failed else ""
        elif tried == 0:
            said = "no request tried it in this time"
        else:
            said = f"{server.failed:,} of {number(tried, 'attempt')} failed"
        page = f"its status page has it as {server.said}" if server.said in TAKEN_OUT else ""
        return ", ".join(filter(None, [said, now_words(server), page]))

    def will_it_go(self, server: UpstreamServer) -> str:
        """Whether nginx takes it out by itself."""
        return ejection(server, self.group, self.passes, single=self.single)

    def what_clients_get(self, server: UpstreamServer) -> str:
        """What a failure of the only server means for them, to follow a semicolon."""
        if self.answered_elsewhere:
            return "clients are answered elsewhere (an error page, a cache, another group)"
        if server.cause == "read-timeout":
            return f"every request waits {self.read_timeout()} for a 504"
        if server.cause == "connect-timeout":
            return (
                f"every request waits {duration(max((p.connect_timeout for p in self.passes), default=60.0))} for a 504"
            )
        if server.cause == "cut-short":
            return "every request gets a part of an answer"
        return f"every request gets {server.cause[5:] if server.cause.startswith('http-') else 502}"

    def read_timeout(self) -> str:
        """The longest read timeout of those who pass to it: `60 s`."""
        return duration(max((one.read_timeout for one in self.passes), default=60.0))

    # ── severity ─────────────────────────────────────────────────────────────────────────────────

    def lost_by(self, server: UpstreamServer) -> float:
        """The share of the group's requests that were lost because of a server: failed, and not made good."""
        lost = (known(self.group.lost) or 0) + server.broken
        if not lost or not self.requests:
            return 0.0
        return min(max(0, server.failed - (known(server.masked_retries) or 0)), lost) / self.requests

    def severity(self, share: float, *, confirmed: bool) -> Severity:
        """At least a warning, and critical by the share that clients lost; few requests need the probe to confirm."""
        if self.requests < FEW and not confirmed:
            return Severity.WARNING
        return max(Severity.WARNING, self.limits.lost_share.grade(share))

    # ── findings ─────────────────────────────────────────────────────────────────────────────────

    def of_server(self, rule: str, server: UpstreamServer, severity: Severity, summary: str) -> Finding:
        """A finding about a server, with the limit that made it critical or else the one of its failures."""
        lost, tried = self.lost_by(server), server.tried
        threshold: Threshold | None = None
        if severity is Severity.CRITICAL and self.limits.lost_share.grade(lost) is severity:
            threshold = self.limits.lost_share.crossed("upstream.lost_share", lost)
        elif tried:
            threshold = self.limits.failing_share.crossed("upstream.failing_share", server.failed / tried)
        cited = [one.id for one in self.passes[:1] if server.cause.startswith("http-")]
        return Finding(
            rule=rule,
            key=f"{rule}:{self.name}/{server.server}",
            severity=severity,
            subject=self.who(server),
            summary=summary,
            evidence=tuple(filter(None, (server.id, self.group.id, *cited))),
            threshold=threshold,
            confidence=self.confidence(server),
            by_hand=by_hand(server, self.group, self.passes),
        )

    def of_group(self, rule: str, severity: Severity, summary: str, servers: Sequence[UpstreamServer] = ()) -> Finding:
        """A finding about the group as a whole, with some of its servers as evidence."""
        first = servers[0] if servers else None
        return Finding(
            rule=rule,
            key=f"{rule}:{self.name}",
            severity=severity,
            subject=self.name,
            summary=summary,
            evidence=tuple(filter(None, (self.group.id, *(server.id for server in servers[:5])))),
            confidence=None if first is None else self.confidence(first),
            by_hand=() if first is None else by_hand(first, self.group, self.passes),
        )

    def confidence(self, server: UpstreamServer) -> str:
        """`38 of 40 attempts, the probe agrees`."""
        if server.tried:
            said = f"{server.failed:,} of {number(server.tried, 'attempt')}"
        elif server.failed:
            said = number(server.failed, "line") + " of the error log"
        else:
            said = "no attempt in the log" if server.tried == 0 else "no log"
        fails = server.failed > 0
        if server.said in TAKEN_OUT:
            said += f", {server.said} by the status page"
        probe = {
            "dead": "the probe agrees" if fails else "one connection tried now",
            "erring": "the probe agrees" if fails else "one request tried now",
            "fine": "it connects now",
            "unclear": "not probed",
        }
        return f"{said}, {probe[server.now]}"
