"""nginx's upstream groups and servers as they were measured, and how a server stands by log and probe together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Observation, Unknown, known, measure

State = Literal["up", "failing", "down", "flapping", "idle", "off", "unknown"]
Standing = Literal["up", "failing", "down", "flapping", "idle", "off", "unknown", "recovered", "contradicted"]
Now = Literal["fine", "dead", "erring", "unclear"]

NO_LOG = Unknown("no log was read")
NOT_PROBED = Unknown("it was not probed")

FAILING = 0.05  # of the attempts, see Limits of upstream.py
CHANGES = 3  # between a run of failures and a run of successes
NEARLY_ALL = 0.9  # of the attempts failed: what the others were, it does not serve
FEW = 20  # attempts: below it a share says little, and the probe says more
FEW_LINES = 3  # of the error log, where the log does not tell how many attempts there were
TAKEN_OUT = ("unavail", "unavailable", "unhealthy")  # by nginx: words of NGINX Plus and Angie
CALM = 30.0  # seconds without a failure: three times nginx's default fail_timeout, so that it was tried again
LATELY = 5.0  # seconds before the end of the log: an answer that fresh contradicts a probe that finds it dead

# What the probe found (clients/dial.py): how it stands, and the cause that the logs would give for it. Nothing else
# tells of the server: with a name that cannot be resolved now nginx goes on with the addresses of its start.
_PROBED: Mapping[str, tuple[Now, str]] = {
    "connects": ("fine", ""),
    "refused": ("dead", "refused"),
    "no answer": ("dead", "connect-timeout"),
    "no route": ("dead", "unreachable"),
    "socket missing": ("dead", "socket-missing"),
    "reset": ("dead", "reset"),
    "queue full": ("dead", "queue-full"),
    "tls ok": ("fine", ""),
    "tls failed": ("dead", "tls"),
    "tls no answer": ("dead", "tls"),
    "silent": ("erring", "read-timeout"),
    "closed early": ("erring", "closed-early"),
    "not http": ("erring", "invalid"),
}
# Failures that a connection which succeeds now has done away with; of all others it proves nothing, for the kernel
# accepts for a program that hangs.
CONNECTING = frozenset({"refused", "socket-missing", "unreachable", "connect-timeout", "queue-full", "resolver", "tls"})
# What the error log tells apart where the access log has one and the same 502 without a connection.
_FINER = frozenset({"refused", "socket-missing", "unreachable", "queue-full", "not-permitted", "no-local-port", "tls"})


class UpstreamServer(Observation):
    """One `server` of a group: what the logs of the window tell of it, and what a connection says now."""

    kind: ClassVar[str] = "upstream_server"
    failure_share: float | Unknown | None = measure("attempts failed", "ratio", "main")
    state: State = measure("state", show="line", default="unknown")
    attempts: int | Unknown = measure("attempts", "count", "line", default=NO_LOG)
    p50: float | Unknown | None = measure("p50", "seconds", "line")
    p95: float | Unknown | None = measure("p95", "seconds", "line")
    share: float | Unknown | None = measure("share", "ratio", "line")
    probed: str | Unknown | None = measure("now", show="line", default=NOT_PROBED)
    said: str | None = measure("state by the status page", show="line")
    group: str = measure("group", default="")
    server: str = measure("server", default="")
    failures: Mapping[str, int] | Unknown = measure("failures by cause", default=NO_LOG)
    error_log: Mapping[str, int] | Unknown = measure("error log lines by cause", default=NO_LOG)
    masked_retries: int | Unknown = measure("failed attempts that another server made good", "count", default=NO_LOG)
    counted: bool | None = measure("nginx counts these failures")
    first_attempts: int | Unknown = measure("first attempts", "count", default=NO_LOG)
    expected_share: float | Unknown | None = measure("expected share", "ratio")
    said_requests: int | None = measure("requests by the status page, since nginx started", "count")
    said_failures: int | None = measure("failures by the status page, since nginx started", "count")
    probe_seconds: float | None = measure("connect time now", "seconds")
    connect_p50: float | Unknown | None = measure("connect time, p50", "seconds")
    header_p95: float | Unknown | None = measure("time to the first byte, p95", "seconds")
    transitions: int | Unknown | None = measure("changes between failing and fine", "count")
    last_failure: float | None = measure("last failure, before the end of the log", "seconds")
    last_success: float | None = measure("last success, before the end of the log", "seconds")
    window: float | None = measure("log covered", "seconds")
    backup: bool = measure("backup", default=False)
    weight: int = measure("weight", "count", default=1)
    max_fails: int = measure("max_fails", "count", default=1)
    fail_timeout: float = measure("fail_timeout", "seconds", default=10.0)
    addresses: tuple[str, ...] = measure("addresses of its name now", default=())
    stale: tuple[str, ...] = measure("addresses in use that its name no longer has", default=())
    shared_with: tuple[str, ...] = measure("groups with the same address", default=())
    place: str | None = measure("configured at")

    @property
    def tried(self) -> int | None:
        """How many attempts the log has, or None where no log tells."""
        return known(self.attempts)

    @property
    def causes(self) -> Mapping[str, int]:
        """Failures by cause: of the access log, or of the error log where that one alone knows of it."""
        return (known(self.failures) or {}) if self.tried else known(self.failures) or known(self.error_log) or {}

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return sum(self.causes.values())

    @property
    def answers(self) -> bool:
        """Whether its failures are answers: with a status that is one, or of which the end is missing."""
        return self.cause.startswith("http-") or self.cause == "cut-short"

    @property
    def broken(self) -> int:
        """Failures that the client saw although it had a good status: answers that broke off, or were none."""
        return self.causes.get("cut-short", 0) + (self.causes.get("invalid", 0) if self.counted is False else 0)

    @property
    def now(self) -> Now:
        """How it stands by the probe."""
        return self._probed[0]

    @property
    def cause(self) -> str:
        """The most frequent cause of its failures; of the probe where the logs have none.

        Where the access log only tells that it could not connect, the error log names the reason.
        """
        if self.failed:
            main = max(self.causes, key=lambda cause: self.causes[cause])
            finer = {c: n for c, n in (known(self.error_log) or {}).items() if c in _FINER}
            return max(finer, key=lambda cause: finer[cause]) if main == "refused" and finer else main
        return self._probed[1] or "other"

    @property
    def _probed(self) -> tuple[Now, str]:
        said = known(self.probed) or ""
        if said.startswith("http ") and said[5:].isdecimal():
            return ("erring", f"http-{said[5:]}") if int(said[5:]) >= 500 or said[5:] == "429" else ("fine", "")
        return _PROBED.get(said, ("unclear", ""))


class ServerPart(NamedTuple):
    """The part that one server has in its group; `state` and `now` as the server itself has them."""

    server: str
    attempts: int | Unknown = NO_LOG
    failed: int | Unknown = NO_LOG
    share: float | Unknown | None = None
    expected_share: float | Unknown | None = None
    p50: float | Unknown | None = None
    p95: float | Unknown | None = None
    state: State = "unknown"
    now: str | Unknown | None = NOT_PROBED


class UpstreamGroup(Observation):
    """An upstream group, or the single server of a `proxy_pass` without one: what became of its requests."""

    kind: ClassVar[str] = "upstream_group"
    error_share: float | Unknown | None = measure("requests lost", "ratio", "main")
    requests: int | Unknown = measure("requests", "count", "line", default=NO_LOG)
    no_live: int | Unknown = measure("without a live server", "count", "line", default=NO_LOG)
    masked: int | Unknown = measure("made good by a retry", "count", "line", default=NO_LOG)
    retry_seconds: float | Unknown | None = measure("a retry costs", "seconds", "line")
    lost: int | Unknown = measure("requests that the client saw fail", "count", default=NO_LOG)
    masked_share: float | Unknown | None = measure("made good, of all requests", "ratio")
    backup_attempts: int | Unknown = measure("attempts on a backup", "count", default=0)
    server_count: int = measure("servers", "count", default=1)
    primaries: int = measure("servers that are no backup", "count", default=1)
    usable: int | Unknown = measure("usable servers", "count", default=NOT_PROBED)
    method: str = measure("method", default="round robin")
    key: str | None = measure("hash key")
    zone: str | None = measure("zone")
    implicit: bool = measure("made from a proxy_pass", default=False)
    workers: int | None = measure("workers", "count")
    statuses: Mapping[str, int] = measure("statuses sent to clients", default={})
    servers: tuple[ServerPart, ...] = measure(
        "servers",
        default=(),
        columns={
            "attempts": "count",
            "failed": "count",
            "share": "ratio",
            "expected_share": "ratio",
            "p50": "seconds",
            "p95": "seconds",
        },
    )
    access_log: str | None = measure("access log")
    error_log: str | None = measure("error log")
    place: str | None = measure("configured at")

    @property
    def single(self) -> bool:
        """Whether nginx has one address to choose from, and ignores max_fails."""
        return self.server_count == 1 and self.configured

    @property
    def configured(self) -> bool:
        """Whether it is known from a configuration, and not only from logs."""
        return self.method != "unknown"


class Thresholds(NamedTuple):
    """From which share of its attempts a server fails, and from how many changes on it flaps."""

    failing: float = FAILING
    changes: float = CHANGES


def standing(server: UpstreamServer, thresholds: Thresholds = Thresholds()) -> Standing:  # noqa: PLR0911 - one line per standing
    """How a server stands, by the log of the window and the probe of now together."""
    if server.state == "off":
        return "off"
    often = _fails_often(server, thresholds.failing)
    if often and (known(server.transitions) or 0) >= thresholds.changes:
        return "flapping"
    if server.now == "dead":
        fresh = server.last_success is not None and server.last_success <= LATELY
        return "contradicted" if server.tried and fresh and not _fails_nearly_always(server) else "down"
    if not server.tried:
        return _untried(server)
    if not often:
        return "failing" if server.now == "erring" or server.said in TAKEN_OUT else "up"
    if _is_over(server):
        return "recovered"
    certain = server.tried >= FEW_LINES or server.now == "unclear"
    return "down" if certain and _fails_nearly_always(server) else "failing"


def state_of(server: UpstreamServer) -> State:
    """What to show as its state: a server that recovered is up, and one that answers, however badly, is not down.

    One that the probe and the log disagree on fails.
    """
    found = standing(server)
    if found == "recovered":
        return "up"
    return "failing" if found == "contradicted" or (found == "down" and server.answers) else found


def _fails_often(server: UpstreamServer, share: float) -> bool:
    """By its share, or by half of few attempts, or by the lines of the error log alone."""
    if server.tried is None:
        return server.failed >= FEW_LINES
    return server.failed > 0 and server.failed >= (share if server.tried >= FEW else 0.5) * server.tried


def _fails_nearly_always(server: UpstreamServer) -> bool:
    return bool(server.tried) and server.failed >= NEARLY_ALL * (server.tried or 0)


def _untried(server: UpstreamServer) -> Standing:
    """A server that the log has no attempt of, or that no log tells of."""
    if server.now == "erring" or server.said in TAKEN_OUT:
        return "failing"
    if server.failed >= FEW_LINES:
        return "recovered" if server.now == "fine" and server.cause in CONNECTING else "failing"
    if server.now == "unclear":
        return "unknown"
    return "idle" if server.tried == 0 else "up"


def _is_over(server: UpstreamServer) -> bool:
    """Whether its failures have ended: by answers since, or by a connection that works now."""
    ago = server.last_failure
    calm = ago is not None and ago >= CALM and ago >= _usual_gap(server, ago)
    if ago is not None and calm and server.last_success is not None and server.last_success < ago:
        return True
    return server.now == "fine" and server.cause in CONNECTING and (calm or _fails_nearly_always(server))


def _usual_gap(server: UpstreamServer, ago: float) -> float:
    """Three times the time between two failures while it failed: a shorter silence may be chance."""
    return 3 * max(0.0, (server.window or 0.0) - ago) / max(1, server.failed)
