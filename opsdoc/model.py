"""The nouns: what was measured, what could not be seen, what it means."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:  # for those who read the types; Python 3.10 has it not

    def dataclass_transform(**_: object) -> Any:
        return lambda made: made


T = TypeVar("T")

# Records are named tuples: making a dataclass takes 1 ms at every start, a named tuple a tenth of that. What stands
# where a tuple could (Unknown) is not.
_NONE: Mapping[str, int] = MappingProxyType({})

# ── severity ─────────────────────────────────────────────────────────────────────────────────────


class Severity(IntEnum):
    """How bad it is, in order: a blind spot is worse than a warning and never hides an outage."""

    OK = 0
    WARNING = 1
    UNKNOWN = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        """The severity as JSON, options and messages spell it."""
        return self.name.lower()

    @property
    def exit_code(self) -> int:
        """The exit code of a monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
        return {Severity.OK: 0, Severity.WARNING: 1, Severity.CRITICAL: 2, Severity.UNKNOWN: 3}[self]


# ── values ───────────────────────────────────────────────────────────────────────────────────────


class Unknown:
    """A value that could not be measured, and why. It is never 0, never OK and never left out."""

    __slots__ = ("reason",)
    reason: str

    def __init__(self, reason: str) -> None:
        object.__setattr__(self, "reason", reason)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an unknown value is never changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and self.reason == other.reason

    def __hash__(self) -> int:
        return hash((Unknown, self.reason))

    def __repr__(self) -> str:
        return f"Unknown({self.reason!r})"


def known(value: T | Unknown | None) -> T | None:
    """The value, or None where it is unknown or does not apply."""
    return None if isinstance(value, Unknown) else value


Origin = Literal["app", "library", "runtime"]


class Frame(NamedTuple):
    """One call in a stack. `origin` says whose code it is: the user's own, a library's or the runtime's."""

    function: str
    file: str | None = None
    line: int | None = None
    origin: Origin = "app"

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{self.function} ({where})" if self.file else self.function


class Share(NamedTuple):
    """`seen` of `of` samples agree."""

    seen: int
    of: int

    def __str__(self) -> str:
        return f"{self.seen} of {self.of} samples"


class Point(NamedTuple):
    """A value at a time, in seconds since the run began; `label` is what was seen there."""

    at: float
    value: float | None
    label: str | None = None


# ── observations ─────────────────────────────────────────────────────────────────────────────────

Unit = Literal["", "cores", "ratio", "seconds", "bytes", "per_second", "count", "id", "hex", "command", "time", "step"]
Show = Literal["main", "line", "full"]
_NO_COLUMNS: Mapping[str, Unit] = MappingProxyType({})


class Meta(NamedTuple):
    """How a field is called and measured; `show` says where a person meets it.

    `main` is the one number of the line, `line` stands beside it, `full` only in tables and JSON.

    A field may hold records: a tuple of one class of named tuples. `columns` has the units of their fields. The first
    field names a record, the first number is its size, and `failed`, where there is one, how much of that is bad.
    Where the first field is a `step`, the records are steps of a way in their order; where there is a `depth`, they are
    a tree, depth first.
    """

    title: str
    unit: Unit = ""
    show: Show = "full"
    columns: Mapping[str, Unit] = _NO_COLUMNS


class Measured:
    """A field of an observation as its class declares it."""

    __slots__ = ("default", "meta")

    def __init__(self, meta: Meta, default: Any) -> None:
        self.meta = meta
        self.default = default


def measure(
    title: str,
    unit: Unit = "",
    show: Show = "full",
    default: Any = None,
    *,
    columns: Mapping[str, Unit] = _NO_COLUMNS,
) -> Any:
    """Declare a field of an observation: base units (bytes, seconds, ratio 0-1, cores), null when it does not apply."""
    return Measured(Meta(title, unit, show, columns), default)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Measurement:
    """What makes an observation: made with keywords and never changed, as a frozen dataclass is.

    Defining one of those takes 1 to 6 ms at every start, for it writes and compiles its methods.
    """

    _metas: ClassVar[Mapping[str, Meta]] = MappingProxyType({})

    def __init_subclass__(cls) -> None:
        declared = {name: value for name, value in vars(cls).items() if isinstance(value, Measured)}
        for name, value in declared.items():
            setattr(cls, name, value.default)
        cls._metas = MappingProxyType({**cls._metas, **{name: value.meta for name, value in declared.items()}})

    def __init__(self, **values: Any) -> None:
        strange = values.keys() - self._metas.keys() - {"subject", "id"}
        if strange or "subject" not in values:
            raise TypeError(f"{type(self).__name__}: no subject, or no such field: {', '.join(sorted(strange))}")
        vars(self).update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"what was measured is never changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Measurement) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        known = vars(self)
        return hash((type(self), known["subject"], known.get("id")))  # a field may hold a mapping

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"

    def replaced(self, **changes: Any) -> Self:
        """The same with some values changed."""
        return type(self)(**{**vars(self), **changes})

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("subject", "id", *self._metas)}


class Observation(_Measurement):
    """A measured fact. Subclasses name their `kind` and declare fields with `measure()`; a field is `T | Unknown`."""

    kind: ClassVar[str] = ""
    subject: str
    id: str = ""

    @classmethod
    def fields(cls) -> Mapping[str, Meta]:
        """The measured fields in the order of their declaration."""
        return cls._metas


Reason = Literal[
    "unreachable", "timeout", "denied", "unsupported", "malformed", "internal", "not-recorded", "interrupted", "gone"
]


class Unseen(NamedTuple):
    """A blind spot: what could not be seen, why, and the command that would show it."""

    subject: str
    reason: Reason
    detail: str
    hint: str = ""


class Total(NamedTuple):
    """How many of a kind there were, where a probe emits only the first of them."""

    kind: str
    number: int


class Window(NamedTuple):
    """The time between the two samples that the rates of a result come from, in seconds."""

    seconds: float


# ── judgement ────────────────────────────────────────────────────────────────────────────────────


class Limit(NamedTuple):
    """Where a value begins to be worth a warning and where it is critical, in base units, with its source."""

    warn: float
    crit: float | None  # None: never critical by itself
    unit: Unit
    source: str

    def grade(self, value: float) -> Severity:
        """The severity of a value of which more is worse."""
        if self.crit is not None and value >= self.crit:
            return Severity.CRITICAL
        return Severity.WARNING if value >= self.warn else Severity.OK

    def crossed(self, name: str, value: float) -> Threshold:
        """The threshold as a finding cites it; `name` is `signal.field`."""
        return Threshold(name=name, value=value, warn=self.warn, crit=self.crit, unit=self.unit, source=self.source)


class Threshold(NamedTuple):
    """The limit a finding was judged by, and the value that met it."""

    name: str
    value: float
    warn: float
    crit: float | None
    unit: Unit
    source: str


class Finding(NamedTuple):
    """What the facts mean, with the evidence for it, the next step and the commands that show it by hand.

    `rule` names its section in docs/rules.md. `key` is the rule plus a stable identity, so that two reports can be
    compared. A finding that is OK states what was ruled out.
    """

    rule: str
    key: str
    severity: Severity
    subject: str
    summary: str
    evidence: tuple[str, ...] = ()
    threshold: Threshold | None = None
    confidence: str | None = None
    ruled_out: tuple[str, ...] = ()
    next_step: str = ""
    by_hand: tuple[str, ...] = ()


# ── results ──────────────────────────────────────────────────────────────────────────────────────

Status = Literal["ok", "partial", "skipped", "timeout", "denied", "error"]


class ProbeResult(NamedTuple):
    """One invocation of one probe. `started` is RFC 3339; `elapsed` is in seconds."""

    probe: str
    step: str | None
    targets: tuple[str, ...]
    status: Status
    started: str
    elapsed: float
    window: float | None = None
    observations: tuple[Observation, ...] = ()
    totals: Mapping[str, int] = _NONE
    unseen: tuple[Unseen, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def severity(self) -> Severity:
        """The worst finding."""
        return max((f.severity for f in self.findings), default=Severity.UNKNOWN)


class Pause(NamedTuple):
    """How long a target process stood still because of opsdoc, in seconds, and how that is known."""

    pid: int
    seconds: float
    how: str


class Cost(NamedTuple):
    """What the run itself took, children included, and the pauses and files it caused on its targets."""

    wall_seconds: float
    cpu_seconds: float
    max_rss_bytes: int
    pauses: tuple[Pause, ...] = ()
    target_files: tuple[str, ...] = ()


class HostFacts(NamedTuple):
    """The machine that was looked at. What could not be read is None."""

    hostname: str
    kernel: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    boot_time: str | None = None
    virtualization: str | None = None


PLAYBOOK = "playbook"  # the probe of the result that holds the findings of a playbook


class Report(NamedTuple):
    """Everything one run has to say. Severity and the one sentence are derived."""

    title: str
    version: str
    host: HostFacts
    started: str
    elapsed: float
    results: tuple[ProbeResult, ...]
    cost: Cost
    redactions: Mapping[str, int] = _NONE
    exit_code: int = 0
    interrupted: bool = False

    @property
    def severity(self) -> Severity:
        """The worst result."""
        return max((r.severity for r in self.results), default=Severity.UNKNOWN)

    @property
    def headline(self) -> Finding | None:
        """The first of the most severe findings; a playbook's own, which know all its steps, come before theirs."""
        in_order = sorted(self.results, key=lambda result: result.probe != PLAYBOOK)
        findings = [f for r in in_order for f in r.findings]
        return max(findings, key=lambda f: f.severity, default=None)

    @property
    def summary(self) -> str:
        """One sentence that stands alone in a chat window."""
        head = self.headline
        if head is None:
            return "nothing was measured"
        summaries = [f.summary for r in self.results for f in r.findings]
        if head.severity is Severity.OK and len(summaries) > 1:
            return "nothing wrong: " + "; ".join(summaries)
        return head.summary


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


class ProbeError(Exception):
    """A target did not answer as it should. `hint` is what the user can run or install about it."""

    reason: ClassVar[Reason] = "internal"

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def unseen(self, subject: str) -> Unseen:
        """The same as a blind spot, for a probe that goes on without it."""
        return Unseen(subject=subject, reason=self.reason, detail=self.detail, hint=self.hint)


class Unreachable(ProbeError):
    """Refused, no route, no such name, a server error, or the process is gone."""

    reason = "unreachable"


class TimedOut(ProbeError):
    """No answer in time."""

    reason = "timeout"


class Denied(ProbeError):
    """Not permitted; the hint is the exact grant or command."""

    reason = "denied"


class Unsupported(ProbeError):
    """A tool or feature is missing, or the target is too old."""

    reason = "unsupported"


class Malformed(ProbeError):
    """The answer is not what the protocol says; the detail shows its first bytes, escaped."""

    reason = "malformed"


class NotRecorded(ProbeError):
    """The recording has no answer to this question."""

    reason = "not-recorded"


class Interrupted(ProbeError):
    """The run is being stopped."""

    reason = "interrupted"


class UsageError(Exception):
    """What can be known to be wrong before any target is asked. One line; exit code 64."""
