"""A talk with a Redis server: commands and their replies over the line that is kept to it, once it has let us in.

Spoken by ourselves: redis-py bounds neither the time of a whole reply nor its size, and its import takes longer than
all that is asked here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from opsdoc.clients import Live
from opsdoc.clients.lines import Kept, Line, Protocol
from opsdoc.clients.redis_target import Target
from opsdoc.model import Denied, Unreachable
from opsdoc.parsers import redis_text, resp
from opsdoc.parsers.resp import Failure, Reader, Reply

WITHIN = 1.5  # seconds for all answers to a question: they take milliseconds, so that who takes longer is sick

T = TypeVar("T")

_REDIS = Protocol(
    "Redis",
    "Redis listens at port 6379 by default, Sentinels at 26379",
    "write rediss:// instead of redis://, and --tls-ca FILE where the authority is your own",
    "if it speaks no TLS, write redis:// instead of rediss://",
)


def talk(target: Target, live: Live, within: float, say: Callable[[Talk], T]) -> T:
    """What `say` returns of a talk with a server that has let us in, in time."""
    kept = live.session(
        ("redis", target._replace(database=0)), lambda: Kept(target.address, target.encryption, _REDIS), Kept.close
    )

    def greeted(line: Line) -> T:
        talking = Talk(line, target)
        if line.is_new:
            talking.log_in()
        return say(talking)

    return kept.talk(greeted, live, within)


class Talk:
    """Commands and their replies over a line."""

    def __init__(self, line: Line, target: Target) -> None:
        self._line = line
        self._target = target
        self._reader = Reader(line.receive)

    def ask(self, commands: Sequence[Sequence[str | bytes]]) -> list[Reply]:
        """The replies to commands that are sent at once. Raises where the server lets us in no more."""
        self._line.send(b"".join(map(resp.command, commands)))
        return [self._let_in(self._reader.reply()) for _ in commands]

    def ping(self) -> float:
        """The seconds to an answer, whatever it says."""
        began = time.monotonic()
        self.ask([("PING",)])
        return round(time.monotonic() - began, 6)

    def log_in(self) -> None:
        """AUTH, where there is something to say. Raises Denied."""
        words = self._target.auth()
        if not words:
            return
        reply = self._auth(words)
        if isinstance(reply, Failure) and len(words) == 2 and "wrong number of arguments" in reply.text:
            reply = self._auth(words[1:])  # before 6.0 there were no users
        if isinstance(reply, Failure) and not re.search("no password is set|without any password", reply.text):
            raise Denied(
                f"{self._target} does not accept user and password ({redis_text.plain(reply)})",
                "check --user and the password, or what the URL says of them",
            )

    def _auth(self, words: tuple[str, ...]) -> Reply:
        return self.ask([("AUTH", *words)])[0]

    def _let_in(self, reply: Reply) -> Reply:
        if not isinstance(reply, Failure):
            return reply
        text = redis_text.plain(reply)
        if reply.code == "NOAUTH":
            hint = "give it: --password-file FILE or --password-env, and --user NAME for a user of an ACL"
            raise Denied(f"{self._target} wants a password ({text})", hint)
        if reply.code == "DENIED":
            raise Denied(f"{self._target} is in protected mode: {text}", "ask from its own machine, over loopback")
        if "max number of clients" in reply.text:
            hint = f"see who they are, over a connection that is open already: CLIENT LIST on {self._target}"
            raise Unreachable(f"{self._target} takes no more clients: {text}", hint)
        return reply
