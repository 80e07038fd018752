"""What a process of PostgreSQL does by its title: `postgres: app shop 10.0.0.5(43210) idle in transaction`.

The form is that of the documentation, chapter 28.1. A cluster may have a name, which comes first: `15/main: …`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TITLE = re.compile(r"(?:[^\s:]+: )?(.+?) (\[local\]|\S+\(\d{1,5}\))(?: (.*))?", re.DOTALL)
_ACTION = re.compile(r"[A-Za-z][A-Za-z ()]{0,63}")  # `idle`, `SELECT waiting`; a position in the log may follow
NOT_YET = ("authentication", "startup", "initializing", "")  # what a backend does before anybody's work


class Backend(NamedTuple):
    """A process that serves a client. `who` is user and database with a blank between, each of which may have some.

    `client` is a host without its port, or `[local]` for a unix socket; `state` is what the title says, without values.
    """

    who: str
    client: str
    state: str

    @property
    def idle(self) -> bool:
        """Whether it waits for its client, in a transaction or not."""
        return self.state.startswith("idle")

    @property
    def idle_in_transaction(self) -> bool:
        """Whether its client has a transaction open and asks nothing."""
        return self.state.startswith("idle in transaction")

    @property
    def active(self) -> bool:
        """Whether it works for its client, or waits for a lock or a replica for it."""
        return not self.idle and self.state not in NOT_YET

    @property
    def waiting(self) -> bool:
        """Whether it waits for a lock."""
        return self.state.endswith(" waiting")


def title(text: str) -> str | None:
    """What follows `postgres: `; None for what is no title of PostgreSQL's."""
    start, sign, rest = text.partition("postgres: ")
    return rest.strip() if sign and not start else None


def backend(text: str) -> Backend | None:
    """The client's process that a title tells of; None for those of the server itself and those that send its log."""
    rest = title(text)
    match = _TITLE.fullmatch(rest) if rest else None
    if match is None or match[1].startswith("walsender"):
        return None
    action = _ACTION.match(match[3] or "")
    state = action[0].strip() if action else ""
    return Backend(match[1], match[2].partition("(")[0], state.removesuffix(" for"))
