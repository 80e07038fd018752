"""Which PostgreSQL servers are the same pair, as both sides tell of it: by slot, name, address, and by their log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from opsdoc.looks.postgresql_sides import Look, Sender, Side, Slot
from opsdoc.parsers.lsn import latest

UNNAMED = "walreceiver"  # what a standby is called that nobody gave a name
_LOCAL = ("localhost:", "[::1]:")


class Server(NamedTuple):
    """A server that was asked; `first` is None without a window. `by_hand` makes a command line for it."""

    name: str
    first: Look | None
    last: Look
    by_hand: Callable[[str], str]

    @property
    def side(self) -> Side:
        """What it says of itself now."""
        return self.last.side

    @property
    def slot(self) -> str | None:
        """The slot that it reads from as a standby, or means to."""
        receiver = self.side.receiver
        return (receiver.slot if receiver else None) or self.side.settings.get("primary_slot_name") or None

    @property
    def application(self) -> str:
        """What it calls itself as a standby."""
        return self.side.application or self.side.settings.get("cluster_name") or UNNAMED

    @property
    def upstream(self) -> str | None:
        """The address of what it follows, or should."""
        receiver = self.side.receiver
        return (receiver.upstream if receiver else None) or self.side.upstream

    @property
    def streams(self) -> bool:
        """Whether it says that it receives."""
        return self.side.receiver is not None and self.side.receiver.status == "streaming"


class Link(NamedTuple):
    """A replica and what it follows; one of them was asked, or both. `before` is `sender` at the first look."""

    replica: Server | None = None
    upstream: Server | None = None
    sender: Sender | None = None
    before: Sender | None = None
    slot: Slot | None = None


def links(servers: Sequence[Server]) -> list[Link]:
    """Each replica once: those that were asked, then those that only the other side tells of."""
    senders = _senders_of(servers)
    made: list[Link] = []
    for server in servers:
        if server.side.standby:
            upstream, sender = senders.get(server.name) or (_upstream(server, servers), None)
            made.append(_link(server, upstream, sender))
    for upstream in servers:
        made += _untold(upstream, made)
    return made


def top_of(link: Link, made: Sequence[Link], servers: Sequence[Server]) -> Server:
    """The nearest to the primary that was asked: by the chain, or the only primary that wrote the same log."""
    above = {one.replica.name: one.upstream for one in made if one.replica is not None}
    at = link.replica or link.upstream
    assert at is not None, "one side of a pair was asked"
    for _ in servers:
        at = above.get(at.name) or at
    if not at.side.standby:
        return at
    primaries = [one for one in servers if not one.side.standby and same_log(one, at) is True]
    return primaries[0] if len(primaries) == 1 else at


def same_log(one: Server, other: Server) -> bool | None:
    """Whether both began as the same database; None where one of them does not tell."""
    if one.side.system is None or other.side.system is None:
        return None
    return one.side.system == other.side.system


def called(link: Link, made: Sequence[Link]) -> str:
    """What a replica is called: as it was asked, else what the other side knows it by, which cannot be dialled."""
    name = _called(link)
    sender = link.sender or link.before
    alike = sum(_called(other) == name for other in made)
    return f"{name} (session {sender.pid})" if alike > 1 and sender is not None else name


def _called(link: Link) -> str:
    if link.replica is not None:
        return link.replica.name
    sender = link.sender or link.before
    address = sender.address if sender else None
    name = sender.application if sender and sender.application != UNNAMED else None
    name = name or (link.slot.name if link.slot else None)
    return f"{name} at {address}" if name and address else name or address or "a replica"


# ── who is who ───────────────────────────────────────────────────────────────────────────────────


def _senders_of(servers: Sequence[Server]) -> Mapping[str, tuple[Server, Sender]]:
    """The row of each standby on the server that it follows; the surest first, and each row once.

    Where two standbys and two rows are alike in all but their positions, the nearest are taken for the same.
    """
    matches = [
        (-score, _distance(server.side, sender), server.name, upstream.name, sender.pid)
        for server in servers
        if server.side.standby
        for upstream in servers
        if upstream is not server and same_log(server, upstream) is not False
        for sender in upstream.last.senders
        if (score := _score(server, upstream, sender)) is not None
    ]
    by_name = {server.name: server for server in servers}
    found: dict[str, tuple[Server, Sender]] = {}
    taken: set[tuple[str, int]] = set()
    for _, _, name, upstream_name, pid in sorted(matches):
        if name not in found and (upstream_name, pid) not in taken:
            taken.add((upstream_name, pid))
            upstream = by_name[upstream_name]
            found[name] = upstream, next(one for one in upstream.last.senders if one.pid == pid)
    return found


def _score(server: Server, upstream: Server, sender: Sender) -> int | None:
    """How sure it is that a row is of a standby; None if it is not."""
    if sender.slot != server.slot and (sender.slot is not None or server.streams):
        return None
    if sender.application not in (None, server.application):
        return None
    named = sender.application is not None and sender.application != UNNAMED
    return (
        4 * (sender.slot is not None)
        + 2 * named
        + _at(server.upstream, upstream.name)
        + (sender.address is not None and server.name.startswith(f"{sender.address}:"))
    )


def _distance(side: Side, sender: Sender) -> int:
    pairs = ((side.replayed, sender.replay), (latest(side.received, side.replayed), sender.flush))
    return sum(abs(one - other) for one, other in pairs if one is not None and other is not None)


def _upstream(server: Server, servers: Sequence[Server]) -> Server | None:
    """What a standby follows that no row is of: the server at its address, the keeper of its slot, or the primary."""
    scores = {
        upstream.name: score
        for upstream in servers
        if upstream is not server and same_log(server, upstream) is True
        for score in [
            4 * _at(server.upstream, upstream.name)
            + 2 * any(slot.name == server.slot and not slot.active for slot in upstream.last.slots)
            + (not upstream.side.standby and not server.streams)
        ]
        if score
    }
    best = [name for name, score in scores.items() if score == max(scores.values())]
    return next(one for one in servers if one.name == best[0]) if len(best) == 1 else None


def _at(told: str | None, name: str) -> bool:
    return told is not None and _plain(told) == _plain(name)


def _plain(address: str) -> str:
    for local in _LOCAL:
        if address.startswith(local):
            return f"127.0.0.1:{address.removeprefix(local)}"
    return address


# ── what only one side tells of ──────────────────────────────────────────────────────────────────


def _link(replica: Server | None, upstream: Server | None, sender: Sender | None, slot: str | None = None) -> Link:
    before = None
    if upstream is not None and upstream.first is not None and sender is not None:
        before = next((one for one in upstream.first.senders if one.pid == sender.pid), None)
    name = (sender.slot if sender else None) or (replica.slot if replica else None) or slot
    slots = upstream.last.slots if upstream is not None and name is not None else ()
    return Link(replica, upstream, sender, before, next((one for one in slots if one.name == name), None))


def _untold(upstream: Server, made: Sequence[Link]) -> Iterator[Link]:
    """Rows and slots of a server that belong to nobody who was asked, and rows that went away in the window."""
    mine = [link for link in made if link.upstream is upstream]
    pids = {link.sender.pid for link in mine if link.sender}
    for sender in upstream.last.senders:
        if sender.pid not in pids:
            yield _link(None, upstream, sender)
    slots = {link.slot.name for link in mine if link.slot} | {sender.slot for sender in upstream.last.senders}
    for slot in upstream.last.slots:
        used = slot.restart is not None or slot.status == "lost"
        if slot.name not in slots and slot.type == "physical" and slot.active is False and used:
            yield _link(None, upstream, None, slot.name)
    there = {(one.application, one.address) for one in upstream.last.senders}
    there |= {(link.replica.application, None) for link in mine if link.replica}
    kept = {slot.name for slot in upstream.last.slots}
    for gone in upstream.first.senders if upstream.first is not None else ():
        known = {(gone.application, gone.address), (gone.application, None)} & there
        if not known and gone.slot not in kept:
            yield Link(None, upstream, None, gone)
