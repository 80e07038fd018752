"""Whether connections fail for want of something: a place in a queue, an answer, a close, a port, a descriptor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unseen
from opsdoc.signals import hanging, running_out
from opsdoc.signals.connections import Descriptors, Listener, Network, PeerConnections, Ports, finding, inside

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "sockets.memory",  # the kernel cuts connections, whatever the programs do
    "sockets.conntrack",  # it drops packets: every connection suffers
    "sockets.close-wait",  # the leak that the descriptors go to
    "sockets.descriptors",  # who has none left cannot accept
    "sockets.accept-queue",
    "sockets.ports",
    "sockets.syn-sent",  # mostly somebody else's full queue
    "sockets.orphans",
    "sockets.retransmits",
    "sockets.hidden",
)


class Limits(NamedTuple):
    """From which number, rate or share on it matters."""

    queue: Limit = Limit(
        5,
        128,
        "count",
        "waiting at both ends of the window: a program that keeps up leaves none; 5 fills the smallest backlog in "
        "common use, and 128 was the kernel's upper bound for all until Linux 5.4",
    )
    overflows: Limit = Limit(
        0.1,
        10,
        "per_second",
        "each is a client that waits 1 s, then 3 s, then 7 s for its next attempt; beside a queue that stands it is "
        "always critical",
    )
    unclosed: Limit = Limit(
        20,
        500,
        "count",
        "in CLOSE_WAIT at both ends of the window: a program closes in milliseconds, pools keep a few; 500 is half of "
        "the usual limit of 1024 descriptors",
    )
    unanswered: Limit = Limit(
        1, 50, "count", "a request to connect is answered in one round trip; it is sent again after a whole second"
    )
    ports_used: Limit = Limit(
        0.8, 0.95, "ratio", "at 100 % connect(2) fails with EADDRNOTAVAIL; near to it the search for a port takes long"
    )
    descriptors_used: Limit = Limit(
        0.8, 0.95, "ratio", "at 100 % accept(2) and open(2) fail with EMFILE; what is left goes in one burst"
    )
    files_used: Limit = Limit(0.8, 0.95, "ratio", "at 100 % nobody but root can open a file on this machine (ENFILE)")
    retransmitted: Limit = Limit(
        0.03, 0.1, "ratio", "within a data centre less than 0.1 % is lost; with 3 % TCP has a fraction of its speed"
    )
    memory_used: Limit = Limit(
        0.67, 0.95, "ratio", "from two thirds of tcp_mem on, as it is by default, the kernel shrinks all buffers"
    )
    orphaned: Limit = Limit(
        0.25, 0.9, "ratio", "from a quarter of tcp_max_orphans on the kernel may reset what has been closed"
    )
    tracked: Limit = Limit(0.8, 0.95, "ratio", "at 100 % new connections are dropped: nf_conntrack: table full")


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Who waits, who does not close, who gets no answer, what runs out; OK findings say what was looked at."""
    networks = [one for one in observations if isinstance(one, Network)]
    if not networks:
        return
    first = networks[0]
    files = [one for one in observations if isinstance(one, Descriptors)]
    peers = [one for one in observations if isinstance(one, PeerConnections)]
    listeners = [one for one in observations if isinstance(one, Listener)]
    exhausted = running_out.exhausted(files, limits.descriptors_used)
    yield from hanging.accept_queues(networks, listeners, exhausted, limits.queue, limits.overflows)
    yield from hanging.close_wait(first, [one for one in peers if one.state == "CLOSE_WAIT"], limits.unclosed)
    yield from hanging.syn_sent(first, [one for one in peers if one.state == "SYN_SENT"], limits.unanswered)
    yield from running_out.ports(first, [one for one in observations if isinstance(one, Ports)], limits.ports_used)
    yield from running_out.descriptors(first, files, limits.descriptors_used, limits.files_used)
    yield from running_out.kernel(networks, limits.memory_used, limits.orphaned, limits.tracked)
    yield from running_out.retransmits(networks, limits.retransmitted)
    yield from (_hidden(one) for one in networks if one.denied or one.cut)


def _hidden(network: Network) -> Finding:
    """What could not be seen might be the trouble."""
    pid = network.of_process
    by_hand: tuple[str, ...]
    if network.denied:
        said = f"which sockets pid {pid} holds cannot be seen: not permitted"
        next_step, by_hand = "run it as root, or as the user of the process", (f"sudo ls -l /proc/{pid}/fd",)
    else:
        said = f"part of the sockets of {network.subject} were not seen: there are too many to be read in time"
        next_step, by_hand = "look again when fewer connections are made", inside(network, "ss -s")
    identity = "box" if pid is None else "process"
    return finding("sockets.hidden", identity, Severity.UNKNOWN, network.subject, said)._replace(
        evidence=(network.id,), next_step=next_step, by_hand=by_hand
    )
