"""One Redis server as it was looked at: what it said and refused, what it is, and what it tells of others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from opsdoc.clients.redis import Ask, Command
from opsdoc.clients.redis_target import Target
from opsdoc.host import Answer, Host
from opsdoc.model import Malformed, ProbeError
from opsdoc.parsers import redis_topology as topology
from opsdoc.parsers.redis_info import Info, parse

GLANCE = 0.5  # seconds for what is asked within the window, so that who stands still does not make it longer
MOST_WATCHED = 6  # masters of one Sentinel: each takes four commands, twice

ALL: Command = ("INFO", "all")
COUNTERS: Command = ("INFO", "stats")
ROLE: Command = ("ROLE",)
OF_CLUSTER: Command = ("CONFIG", "GET", "cluster-*")
VIEW: Command = ("CLUSTER", "NODES")

Kind = Literal["plain", "cluster", "sentinel"]

_NAME = re.compile(r"[^\s\0]{1,200}")  # of a master, as it can be asked for


class Look(NamedTuple):
    """What a node said at a time (seconds since the run began), by command; what it refused, with its own words."""

    at: float
    said: Mapping[Command, Any]
    refused: Mapping[Command, str]
    info: Info | None = None

    def read(self, command: Command, parser: Callable[[Any], Any]) -> Any:
        """An answer as a parser reads it; None where it was refused or is none."""
        try:
            return parser(self.said[command]) if command in self.said else None
        except Malformed:
            return None

    def text(self, command: Command, parser: Callable[[str], Any]) -> Any:
        """The same for an answer that is a text."""
        return self.read(command, lambda value: parser(value) if isinstance(value, str) else None)

    def setting(self, name: str) -> str | None:
        """A setting of the cluster, where CONFIG GET told it."""
        told = self.read(OF_CLUSTER, topology.pairs) or {}
        value = told.get(name)
        return value if isinstance(value, str) else None

    def joined(self, other: Look) -> Look:
        """The same with what was asked right after it."""
        return self._replace(said={**self.said, **other.said}, refused={**self.refused, **other.refused})


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One server. `named` are those that the user named; others were told of by one of these."""

    target: Target
    named: bool = False
    looks: list[Look] = field(default_factory=list)  # at both ends of the window
    between: list[Look] = field(default_factory=list)  # at its counters alone
    error: ProbeError | None = None  # why it did not answer, or not any more
    latency: Answer[Any] | ProbeError | None = None
    sample: Answer[Any] | ProbeError | None = None

    @property
    def name(self) -> str:
        """What it is called everywhere."""
        return self.target.address

    @property
    def last(self) -> Look | None:
        return self.looks[-1] if self.looks else None

    @property
    def info(self) -> Info | None:
        """INFO of the latest look that has it."""
        return next((look.info for look in reversed(self.looks) if look.info is not None), None)

    @property
    def answers(self) -> bool:
        """Whether it answered whenever it was asked."""
        return self.error is None and bool(self.looks)

    @property
    def kind(self) -> Kind | None:
        """What it is, by its own word; None where it said nothing."""
        if not self.looks:
            return None
        mode = self.info.text("redis_mode") if self.info else None
        if mode == "sentinel" or self.role_told == "sentinel":
            return "sentinel"
        enabled = self.info.flag("cluster_enabled") if self.info else self.looks[0].setting("cluster-enabled") == "yes"
        return "cluster" if mode == "cluster" or enabled else "plain"

    @property
    def role_told(self) -> str | None:
        """`master`, `slave` or `sentinel`, by INFO or, without it, by ROLE."""
        if self.info is not None:
            return self.info.text("role")
        for look in reversed(self.looks):
            role: topology.Role | None = look.read(ROLE, topology.role)
            if role is not None:
                return role.name
        return None

    def refusal(self, command: Command) -> str | None:
        """In which words it refused a command, the last time that it was asked; None where it did not."""
        return next((why for look in reversed(self.looks) if (why := look.refused.get(command)) is not None), None)

    def why(self, command: Command) -> str:
        """Why there is no answer to a command."""
        return self.refusal(command) or (self.error.detail if self.error is not None else "it was not asked")

    @property
    def user(self) -> str | None:
        """The user that we are; a single word before the @ of a URL may be a password."""
        login = self.target.login
        return login.user if any((login.given, login.password_env, login.password_file)) else None

    def by_hand(self, *words: str) -> str:
        """A command line that asks it the same."""
        address, encryption, *_ = self.target
        if address.startswith("unix:"):
            argv = ["redis-cli", "-s", address.removeprefix("unix:")]
        else:
            host, _, port = address.rpartition(":")
            argv = ["redis-cli", "-h", host.strip("[]"), "-p", port]
        if encryption is not None:
            argv += ["--tls", *(["--cacert", str(encryption.ca)] if encryption.ca else [])]
        if self.user is not None:
            argv += ["--user", self.user, "--askpass"]
        return shlex.join([*argv, *words])


def look_at(host: Host, asked: Sequence[tuple[Node, tuple[Command, ...]]], *, add: bool = False) -> None:
    """Ask nodes at the same time. Each gets one more look, or with `add` more of its last; or its error."""
    answers = host.gather([Ask(node.target, commands) for node, commands in asked])
    for (node, commands), answer in zip(asked, answers, strict=True):
        if isinstance(answer, ProbeError):
            node.error = answer
            continue
        look = _look(answer, commands)
        if add and node.looks:
            node.looks[-1] = node.looks[-1].joined(look)
        else:
            node.looks.append(look)


def glance_at(host: Host, nodes: Sequence[Node]) -> None:
    """See what nodes have counted until now. Who does not tell it soon is asked again at the end, as all are."""
    answers = host.gather([Ask(node.target, (COUNTERS,), GLANCE) for node in nodes])
    for node, answer in zip(nodes, answers, strict=True):
        if not isinstance(answer, ProbeError):
            node.between.append(_look(answer, (COUNTERS,)))


def _look(answer: Answer[Any], commands: tuple[Command, ...]) -> Look:
    pairs = list(zip(commands, answer.value, strict=True))
    said = {command: reply["ok"] for command, reply in pairs if "ok" in reply}
    refused = {command: str(reply["error"]) for command, reply in pairs if "error" in reply}
    info = None
    if (asked := next((one for one in (ALL, COUNTERS) if one in said), None)) is not None:
        try:
            info = parse(said[asked] if isinstance(said[asked], str) else "")
        except Malformed as error:
            refused[asked] = error.detail
    return Look(answer.at + answer.took, said, refused, info)


# ── what it tells of others ──────────────────────────────────────────────────────────────────────


def watched_names(node: Node) -> list[str]:
    """The masters that a Sentinel watches, as far as they can be asked for."""
    if node.info is not None:
        names = [one.name for one in node.info.watched]
    else:
        role: topology.Role | None = node.looks[0].read(ROLE, topology.role) if node.looks else None
        names = list(role.watched) if role is not None else []
    return [name for name in names if _NAME.fullmatch(name)][:MOST_WATCHED]


def about(name: str) -> tuple[Command, ...]:
    """What a Sentinel is asked about a master."""
    return (
        ("SENTINEL", "MASTER", name),
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name),
        ("SENTINEL", "SENTINELS", name),
        ("SENTINEL", "REPLICAS", name),
    )


def members(look: Look, command: Command) -> tuple[topology.Member, ...]:
    """Those that a Sentinel listed."""
    return look.read(command, topology.members) or ()


def member(look: Look, command: Command) -> topology.Member | None:
    """The one that a Sentinel told of."""
    found: tuple[topology.Member, ...] = look.read(command, lambda value: topology.members([value])) or ()
    return found[0] if found else None


def views_of(node: Node) -> tuple[topology.ClusterNode, ...]:
    """CLUSTER NODES of the latest look that has it."""
    for look in reversed(node.looks):
        if (lines := look.text(VIEW, topology.cluster_nodes)) is not None:
            return tuple(lines)
    return ()
