"""memcached: its `stats`, which change nothing, over one connection to each server, as questions with plain answers.

Spoken by ourselves: pymemcache waits for names without a deadline, bounds only single reads and cuts values at a blank,
which `stats settings` has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.lines import Encryption, Kept, Line, Protocol
from opsdoc.model import Denied, Malformed, Unreachable, UsageError
from opsdoc.parsers.cache_url import memcached_server
from opsdoc.parsers.memcached import Reader, Refusal

WITHIN = 1.5  # seconds for all answers to a question: they take milliseconds, so that who takes longer is sick
GROUPS = frozenset(("", "items", "settings", "slabs"))

_MEMCACHED = Protocol(
    "memcached",
    "memcached listens at port 11211 by default",
    "use --tls, and --tls-ca FILE where the authority is your own",
    "if it speaks no TLS, leave --tls out",
)


class Server(NamedTuple):
    """A server, `host:port` or `unix:/path`, and how it is spoken to."""

    address: str
    encryption: Encryption | None = None

    @classmethod
    def of(cls, text: str, *, tls: bool = False, ca: Path | None = None) -> Server:
        """The server that a person named. Raises UsageError."""
        try:
            return cls(memcached_server(text), Encryption(ca) if tls else None)
        except Malformed as error:
            raise UsageError(f"bad --server: {error.detail}: {error.hint}") from None


class Stats(NamedTuple):
    """The answers to `stats` and its groups (`items`, `slabs`, `settings`; `` is the general one), sent together.

    For each, in order, {"ok": {name: text}} or {"error": "SERVER_ERROR …"}. `parsers/memcached.Stats` reads them.
    """

    server: Server
    groups: tuple[str, ...] = ("",)
    within: float = WITHIN

    def key(self) -> str:
        return f"memcached {self.server.address}: {', '.join(f'stats {group}'.strip() for group in self.groups)}"

    def answer(self, live: Live) -> list[dict[str, Any]]:
        if strange := set(self.groups) - GROUPS:
            raise ValueError(f"not known to be harmless: stats {strange}")
        address, encryption = self.server
        kept = live.session(("memcached", self.server), lambda: Kept(address, encryption, _MEMCACHED), Kept.close)
        answers = kept.talk(self._asked, live, self.within)
        mask = live.redactor.text
        return [
            {"error": mask(answer.text)}
            if isinstance(answer, Refusal)
            else {"ok": {mask(name): mask(value) for name, value in answer.items()}}
            for answer in answers
        ]

    def _asked(self, line: Line) -> list[dict[str, str] | Refusal]:
        reader = Reader(line.receive)
        line.send(b"".join(f"stats {group}".strip().encode() + b"\r\n" for group in self.groups))
        return [self._let_in(reader.answer()) for _ in self.groups]

    def _let_in(self, answer: dict[str, str] | Refusal) -> dict[str, str] | Refusal:
        if isinstance(answer, Refusal):
            if "unauthenticated" in answer.text:
                hint = "opsdoc does not log in to memcached: to do so is to send a command that would write elsewhere"
                raise Denied(f"{self.server.address} wants a user and a password (-Y)", hint)
            if "Too many open connections" in answer.text:
                raise Unreachable(f"{self.server.address} takes no more connections (-c)")
        return answer
