"""Which MySQL servers follow which, as both sides tell of it, and what lies above a replica in a chain."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.looks.mysql_sides import Side, Times
from opsdoc.looks.mysql_statements import Version
from opsdoc.parsers.mysql_replication import Channel


class Server(NamedTuple):
    """A server that was asked; `first` is None without a window. `client` is the command line that asks it by hand."""

    name: str
    first: Side | None
    last: Side
    mariadb: bool = True
    version: Version = ()
    client: str = "mariadb"

    def by_hand(self, statement: str) -> str:
        """A command line that asks it the same."""
        return f"{self.client} -e {shlex.quote(statement)}"


class Link(NamedTuple):
    """A replica, one channel of it, and what that follows where it was asked, too: `source`, or `silent` if it did not
    answer, and why.
    """

    replica: Server
    channel: Channel
    source: Server | None = None
    silent: str | None = None

    @property
    def before(self) -> Channel | None:
        """The channel at the beginning of the window."""
        first = self.replica.first
        return None if first is None else first.channel(self.channel.name)

    @property
    def elapsed(self) -> float | None:
        """Seconds between the two looks at the replica."""
        first = self.replica.first
        return None if first is None or self.before is None else self.replica.last.at - first.at

    @property
    def times(self) -> Times:
        """What MySQL tells of the channel besides; of MariaDB nothing is in it."""
        return self.replica.last.times.get(self.channel.name, Times())

    @property
    def times_before(self) -> Times:
        """The same at the beginning of the window."""
        first = self.replica.first
        return Times() if first is None else first.times.get(self.channel.name, Times())

    @property
    def primary(self) -> str:
        """What the source is called: as it was named to us, else as the replica calls it."""
        return self.source.name if self.source is not None else self.channel.primary


def links(servers: Sequence[Server], silent: dict[str, str]) -> list[Link]:
    """Every channel of every server, with its source among those that were asked; `silent` maps names to why."""
    return [
        Link(
            server,
            channel,
            source := source_of(server, channel, servers),
            silent.get(channel.primary) if source is None else None,
        )
        for server in servers
        for channel in server.last.channels
    ]


def source_of(replica: Server, channel: Channel, servers: Sequence[Server]) -> Server | None:
    """The server that a channel follows: by its address, its UUID, or its id, which is its own in a topology."""
    others = [one for one in servers if one is not replica and one.mariadb == replica.mariadb]
    for fits in (
        lambda one: one.name == channel.primary,
        lambda one: channel.primary_uuid and one.last.uuid == channel.primary_uuid,
        lambda one: channel.primary_id and (one.last.server_id, one.last.port) == (channel.primary_id, channel.port),
        lambda one: channel.primary_id and one.last.server_id == channel.primary_id,
    ):
        found = [one for one in others if fits(one)]
        if len(found) == 1:
            return found[0]
    return None


def above(link: Link, all_links: Sequence[Link]) -> Iterator[Link]:
    """The links that its source, as a replica, follows, and so on; none where they form a ring."""
    path: list[Link] = []
    names = {link.replica.name}
    source = link.source
    while source is not None:
        if source.name in names:
            return
        names.add(source.name)
        upstream = [one for one in all_links if one.replica.name == source.name]
        if len(upstream) != 1:  # with several sources nobody knows which of them a change came from
            break
        path.append(upstream[0])
        source = upstream[0].source
    yield from path
