"""MySQL and MariaDB servers at both ends of a window: what each is, what it said, and why it did not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsdoc.clients.mysql import SESSION, Ask
from opsdoc.clients.mysql_target import FILE, Target
from opsdoc.clients.sql import Refusal, Said, Statement, said
from opsdoc.host import Answer, Host
from opsdoc.looks.db_outside import seen_from_outside
from opsdoc.model import ProbeError, TimedOut, Unreachable
from opsdoc.signals.contention_facts import DbNode
from opsdoc.signals.replica_lag_facts import Product

Version = tuple[int, ...]
Row = Mapping[str, Any]

_SETTINGS = (
    "version version_comment hostname port server_id server_uuid report_host report_port read_only super_read_only"
    " max_connections extra_max_connections extra_port performance_schema log_bin binlog_format offline_mode"
    " innodb_read_only slave_net_timeout replica_net_timeout wsrep_on rpl_semi_sync_master_enabled"
    " rpl_semi_sync_source_enabled rpl_semi_sync_master_timeout rpl_semi_sync_source_timeout"
    " rpl_semi_sync_master_wait_for_slave_count rpl_semi_sync_source_wait_for_replica_count innodb_lock_wait_timeout"
    " lock_wait_timeout wait_timeout performance_schema_digests_size"
).split()
SETTINGS = Statement("settings", "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{}')".format("', '".join(_SETTINGS)))


class Look(NamedTuple):
    """What a server said at a time, in seconds since the run began."""

    at: float
    said: Said

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a statement; none where it was refused or not asked."""
        return self.said.rows.get(name, [])

    def error(self, name: str) -> Refusal | None:
        """Why a statement was refused."""
        return self.said.errors.get(name)


@dataclass(slots=True, eq=False, repr=False)
class Watched:
    """One server: its settings, its looks, and why it did not answer, or not any more.

    `refused` is why it lets us in not although it is there: all connections used, or it is stopping. `outside` is what
    its machine shows of one that does not answer, where that is this machine.
    """

    target: Target
    settings: dict[str, str] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    error: ProbeError | None = None
    refused: Refusal | None = None
    outside: DbNode | None = None

    @property
    def name(self) -> str:
        """What it is called everywhere."""
        return self.target.address

    @property
    def answers(self) -> bool:
        """Whether it can be asked more."""
        return self.error is None and self.refused is None

    @property
    def is_dead(self) -> bool:
        """Whether it does not answer; one that does not let us in, or is none, does."""
        return isinstance(self.error, Unreachable | TimedOut)

    @property
    def mariadb(self) -> bool:
        """Which of the two dialects it speaks."""
        return "mariadb" in f"{self.settings.get('version', '')} {self.settings.get('version_comment', '')}".lower()

    @property
    def product(self) -> Product:
        """Which of the two it is."""
        return "mariadb" if self.mariadb else "mysql"

    @property
    def version(self) -> Version:
        """Its numbers, such as (10, 11, 19); empty where it did not tell."""
        found = re.match(
            r"(?:5\.5\.5-(?=\d+\.\d+\.\d+-MariaDB))?(\d{1,4}(?:\.\d{1,4}){1,2})", self.settings.get("version", "")
        )
        return tuple(map(int, found[1].split("."))) if found else ()

    @property
    def first(self) -> Look | None:
        """The look before the window; None without one."""
        return self.looks[0] if len(self.looks) > 1 else None

    @property
    def last(self) -> Look | None:
        """The newest look."""
        return self.looks[-1] if self.looks else None

    def is_on(self, setting: str) -> bool:
        """Whether a switch is on."""
        return self.settings.get(setting, "").upper() in ("ON", "1", "YES")

    def number(self, setting: str) -> int | None:
        """A setting that is a whole number."""
        text = self.settings.get(setting, "")
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None

    def by_hand(self, statement: str) -> str:
        """A command line that asks it the same."""
        text = " ".join(statement.split())
        plain = "'" in text and not set('"$`\\!') & set(text)  # then the other quotation marks are easier to read
        return f'{self.client} -e "{text}"' if plain else f"{self.client} -e {shlex.quote(text)}"

    @property
    def client(self) -> str:
        """The command line of the client for it, with the user that asked and no password."""
        words = ["mariadb" if self.mariadb else "mysql"]
        address = self.target.address
        if address.startswith("unix:"):
            words += ["-S", address.removeprefix("unix:")]
        elif address != FILE:
            host, _, port = address.rpartition(":")
            words += ["-h", host.strip("[]"), "-P", port]
        if self.target.login.user:
            words += ["-u", self.target.login.user, "-p"]
        return shlex.join(words)


class Seen(NamedTuple):
    """All servers, and why there is no look at the end of the window where there is none."""

    watched: list[Watched]
    cut_short: ProbeError | None = None


Asked = Callable[[Watched], Iterable[Statement]]


def watch(host: Host, targets: Sequence[Target], window: float, first: Sequence[Asked], last: Sequence[Asked]) -> Seen:
    """Ask servers before and after the window what `first` and `last` want of each, once its settings are known.

    What several of them want is asked once. Without a window only `last` is asked. Raises the ProbeError of the one
    that was named, where there is no other and it does not answer.
    """
    watched = [Watched(target) for target in dict.fromkeys(targets)]
    _get_to_know(host, watched)
    if len(watched) == 1 and watched[0].error is not None:
        raise watched[0].error
    for one in watched:
        if one.refused is not None or one.is_dead:
            one.outside = seen_from_outside(host, one.name, "mysql")
    if window:
        _look_at(host, watched, first)
        began = max((one.looks[0].at for one in watched if one.looks), default=host.now())
        if not any(one.answers for one in watched):
            return Seen(watched)
        try:
            host.sleep(max(0.0, window - (host.now() - began)))
        except ProbeError as error:
            return Seen(watched, error)  # what was seen until now is told
    _look_at(host, watched, last)
    return Seen(watched)


def _get_to_know(host: Host, watched: Sequence[Watched]) -> None:
    for one, look in _asked(host, [(one, (SETTINGS,)) for one in watched]):
        one.settings = {str(row.get("Variable_name")): str(row.get("Value")) for row in look.rows(SETTINGS.name)}
        if not one.settings:
            greeted = next(iter(look.rows(SESSION)), {})
            one.settings = {"version": str(greeted.get("version", ""))}


def _look_at(host: Host, watched: Sequence[Watched], wanted: Sequence[Asked]) -> None:
    asked = [(one, _statements(one, wanted)) for one in watched if one.answers]
    for one, look in _asked(host, asked):
        one.looks.append(look)


def _statements(one: Watched, wanted: Sequence[Asked]) -> tuple[Statement, ...]:
    named = {statement.name: statement for ask in wanted for statement in ask(one)}
    return tuple(named.values())


def _asked(host: Host, asked: Sequence[tuple[Watched, tuple[Statement, ...]]]) -> list[tuple[Watched, Look]]:
    """What those said who answered; of the others it is noted why not."""
    looks = []
    answers = host.gather([Ask(one.target, statements) for one, statements in asked])
    for (one, _), answer in zip(asked, answers, strict=True):
        if not isinstance(answer, Answer):
            one.error = answer
            continue
        told = said(answer.value)
        if told.refused is not None:
            one.refused = told.refused
        else:
            looks.append((one, Look(answer.at + answer.took, told)))
    return looks
