"""Who waits for whom in a database: the trees of sessions, each from the one that waits for nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from opsdoc.signals.contention_facts import LockChain, Waiter
from opsdoc.signals.replica_lag_facts import Product

PREPARED = 0  # the session of prepared transactions, as pg_blocking_pids has it: they have none
NOT_SEEN = "not seen"  # the state of a session that others wait for and that no list of sessions has


class Wait(NamedTuple):
    """A session that waits, and for which ones."""

    session: int
    blockers: tuple[int, ...]


class Session(NamedTuple):
    """What is known of a session. Times are seconds; `open` is that of its transaction, `waits` that of its request.

    `amplifier` says that what it wants is so strong that all later requests queue behind it. `object` is what it waits
    for, `applier` whether it applies replication, `prepared` the global id of a prepared transaction.
    """

    id: int
    user: str = ""
    application: str = ""
    state: str = ""
    wants: str = ""
    waits: float | None = None
    open: float | None = None
    amplifier: bool = False
    statement: str = ""
    object: str | None = None
    applier: bool = False
    prepared: str | None = None


class Chain(NamedTuple):
    """Sessions that hang together: the root first, then depth first, each once, below the deepest of its blockers.

    Where several sessions wait for nobody, the root is the one that holds up most, and of those the one that is open
    for longest; the others follow with depth 0. In a circle there is none: the root is one of it and waits too.
    `longest` is None where nobody knows how long it waits.
    """

    root: Session
    sessions: tuple[Waiter, ...]
    waiting: int
    longest: float | None
    object: str | None
    blocks_applier: bool

    def observed(self, node: str, product: Product, end_root: str, by_hand: str) -> LockChain:
        """The same as a fact about a server; prepared transactions, whatever their number here, have no session."""
        root = self.root
        return LockChain(
            subject=f"{node} prepared {root.prepared}" if root.prepared else f"{node} session {root.id}",
            node=node,
            product=product,
            waiting=self.waiting,
            longest=self.longest,
            root=_shown(root.id),
            root_state=root.state,
            root_open=root.open,
            root_user=root.user,
            root_application=root.application,
            root_prepared=root.prepared,
            root_is_applier=root.applier,
            blocks_applier=self.blocks_applier,
            object=self.object,
            sessions=tuple(
                one._replace(session=_shown(one.session), blocked_by=tuple(map(_shown, one.blocked_by)))
                for one in self.sessions
            ),
            end_root=end_root,
            by_hand=(by_hand,),
        )


def _shown(session: int) -> int:
    return max(PREPARED, session)


def chains(waits: Iterable[Wait], sessions: Iterable[Session]) -> list[Chain]:
    """The chains, those with most waiting sessions first. Who waits for itself, or for nobody, does not count.

    A blocker that no session tells of becomes one with the state `not seen`.
    """
    known = {session.id: session for session in sessions}
    blockers: dict[int, tuple[int, ...]] = {}
    for wait in waits:
        told = dict.fromkeys((*blockers.get(wait.session, ()), *wait.blockers))
        told.pop(wait.session, None)
        if told:
            blockers[wait.session] = tuple(told)
    for one in {*blockers, *(other for others in blockers.values() for other in others)}:
        known.setdefault(one, Session(one, state="prepared" if one == PREPARED else NOT_SEEN))
    behind: dict[int, list[int]] = defaultdict(list)
    for waiter, others in blockers.items():
        for other in others:
            behind[other].append(waiter)
    found = [_Group(members, blockers, behind, known).chain() for members in _connected(blockers, behind)]
    return sorted(found, key=lambda chain: (-chain.waiting, -(chain.longest or 0.0), chain.root.id))


def _connected(blockers: Mapping[int, Sequence[int]], behind: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """The sessions in groups that have to do with each other."""
    groups = []
    left = dict.fromkeys((*blockers, *behind))
    while left:
        group, ahead = set[int](), [next(iter(left))]
        while ahead:
            one = ahead.pop()
            if one not in group:
                group.add(one)
                ahead += (*blockers.get(one, ()), *behind.get(one, ()))
        for one in group:
            left.pop(one)
        groups.append(sorted(group))
    return groups


class _Group:
    """Sessions that have to do with each other, on their way to a tree."""

    def __init__(
        self,
        members: Sequence[int],
        blockers: Mapping[int, Sequence[int]],
        behind: Mapping[int, Sequence[int]],
        known: Mapping[int, Session],
    ) -> None:
        self._members = members
        self._above = {one: tuple(blockers.get(one, ())) for one in members}
        self._behind = {one: tuple(behind.get(one, ())) for one in members}
        self._known = known
        self._rank = {one: (0 if self._above[one] else self._held_up(one), self._open(one), -one) for one in members}
        self._depths: dict[int, int] = {}
        self._below: dict[int, list[int]] = defaultdict(list)

    def chain(self) -> Chain:
        self._place()
        order: list[int] = []
        ahead = sorted((one for one in self._members if self._depths[one] == 0), key=self._rank.__getitem__)
        while ahead:
            one = ahead.pop()
            order.append(one)
            ahead += sorted(self._below[one], key=lambda child: (self._waits(child), -child))
        waiting = [self._known[one] for one in order if self._above[one]]
        first = max(self._behind[order[0]], key=self._waits)
        return Chain(
            root=self._known[order[0]],
            sessions=tuple(self._waiter(one) for one in order),
            waiting=len(waiting),
            longest=max((session.waits for session in waiting if session.waits is not None), default=None),
            object=self._known[first].object,
            blocks_applier=any(session.applier for session in waiting),
        )

    def _place(self) -> None:
        """Find how deep each session is and who is right below it: each comes after all that it waits for."""
        missing = {one: len(above) for one, above in self._above.items()}
        ready = [one for one in self._members if not missing[one]]
        while len(self._depths) < len(self._members):
            one = ready.pop() if ready else self._of_a_circle()
            placed = [other for other in self._above[one] if other in self._depths]
            parent = max(placed, key=lambda other: (self._depths[other], self._rank[other]), default=None)
            self._depths[one] = 0 if parent is None else self._depths[parent] + 1
            if parent is not None:
                self._below[parent].append(one)
            for other in self._behind[one]:
                missing[other] -= 1
                if not missing[other] and other not in self._depths:
                    ready.append(other)

    def _of_a_circle(self) -> int:
        """Of sessions that all wait for each other the one that is open for longest."""
        path: list[int] = []
        one = next(one for one in self._members if one not in self._depths)
        while one not in path:
            path.append(one)
            one = next(other for other in self._above[one] if other not in self._depths)
        return max(path[path.index(one) :], key=self._rank.__getitem__)

    def _held_up(self, root: int) -> int:
        """How many wait for a session, directly or for one that does."""
        found, ahead = set[int](), [root]
        while ahead:
            new = set(self._behind[ahead.pop()]) - found
            found |= new
            ahead += new
        return len(found)

    def _open(self, one: int) -> float:
        return self._known[one].open or 0.0

    def _waits(self, one: int) -> float:
        return self._known[one].waits or 0.0

    def _waiter(self, one: int) -> Waiter:
        session, blocked_by = self._known[one], self._above[one]
        return Waiter(
            session.id,
            self._depths[one],
            blocked_by,
            session.user,
            session.application,
            session.state,
            session.wants,
            session.waits,
            session.open,
            session.amplifier and bool(blocked_by),
            session.statement,
        )
