"""/proc/net: TCP and unix sockets, counters, limits of descriptors (format: proc(5), net/ipv4/tcp_ipv4.c)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opsdoc.model import Malformed

CUT = b"cut\n"  # the last row of a table that goes on
SEPARATOR = b"\0"  # between the tables of a namespace: no path that the kernel prints holds a NUL

LISTEN, ESTABLISHED, SYN_SENT, TIME_WAIT, CLOSE_WAIT = b"0A", b"01", b"02", b"06", b"08"
_STATES = {
    b"01": "ESTABLISHED", b"02": "SYN_SENT", b"03": "SYN_RECV", b"04": "FIN_WAIT1", b"05": "FIN_WAIT2",
    b"06": "TIME_WAIT", b"07": "CLOSE", b"08": "CLOSE_WAIT", b"09": "LAST_ACK", b"0A": "LISTEN", b"0B": "CLOSING",
    b"0C": "SYN_RECV",
}  # fmt: skip

_HEAD = b"  sl  local_address"
_MAPPED = b" 0000000000000000FFFF0000"  # an IPv4 address as an IPv6 socket has it: the same port space

# 100,000 rows take 0.05 s with these, and four times as much when each line is split into its fields.
_PAIR = re.compile(rb": ([0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4} [0-9A-F]{2}) ")
_TROUBLED = re.compile(
    rb": ([0-9A-F]+:[0-9A-F]{4}) ([0-9A-F]+:[0-9A-F]{4}) (0A|02|08) "
    rb"[0-9A-F]{8}:([0-9A-F]{8}) [0-9A-F]{2}:[0-9A-F]{8} ([0-9A-F]{8}) +(\d{1,10}) +\d+ (\d{1,20}) "
)
_UNACCEPTED = re.compile(
    rb": ([0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4}) (?:01|08) "
    rb"[0-9A-F]{8}:[0-9A-F]{8} [0-9A-F]{2}:[0-9A-F]{8} [0-9A-F]{8} +\d{1,10} +\d+ 0 "
)
_UNIX = re.compile(
    rb"^[0-9a-fA-F]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) (?:0001|0005) (\d\d) +(\d{1,20})(?: (.*))?$", re.MULTILINE
)
_UNIX_ROW = re.compile(rb"^[0-9a-fA-F]+: ", re.MULTILINE)
_ACCEPTS_CONNECTIONS = 0x10000  # __SO_ACCEPTCON


class Socket(NamedTuple):
    """A TCP socket that a process holds. Endpoints are as the kernel prints them: see `address`."""

    local: bytes
    remote: bytes
    state: bytes
    received: int  # bytes that were not read; of a listener the connections that were not accepted
    retries: int  # how often in a row what is under way was sent again
    uid: int
    inode: int


class UnixListener(NamedTuple):
    """A unix socket that accepts connections, and how many wait for that."""

    path: bytes
    inode: int
    queue: int


class Tables(NamedTuple):
    """The sockets of a network namespace at a moment, as far as they may be in trouble."""

    listeners: tuple[Socket, ...]
    troubled: tuple[Socket, ...]  # in CLOSE_WAIT or SYN_SENT, and held by a process
    unaccepted: frozenset[bytes]  # `local remote` of connections that no process has yet
    unix: tuple[UnixListener, ...]
    rows: bytes  # all TCP sockets: see `survey`
    unread: int  # rows of unix sockets that are none
    cut: bool  # whether there are more


def parse_tables(blob: bytes) -> Tables:
    """`/proc/PID/net/tcp`, `tcp6` and `unix`, separated by NUL; a family that the kernel has not is empty."""
    tcp, tcp6, unix, *_ = [*blob.split(SEPARATOR), b"", b""]
    if not tcp.startswith(_HEAD):
        raise Malformed(f"not /proc/net/tcp: {tcp[:80]!r}")
    rows = tcp.partition(b"\n")[2] + tcp6.partition(b"\n")[2].replace(_MAPPED, b" ")
    found = [
        Socket(local, remote, state, int(queued, 16), int(retries, 16), int(uid), int(inode))
        for local, remote, state, queued, retries, uid, inode in _TROUBLED.findall(rows)
    ]
    listeners = tuple(one for one in found if one.state == LISTEN)
    waiting = any(one.received for one in listeners)
    unix_listeners, strange = _unix(unix)
    return Tables(
        listeners,
        tuple(one for one in found if one.state != LISTEN and one.inode),
        frozenset(_UNACCEPTED.findall(rows)) if waiting else frozenset(),
        unix_listeners,
        rows,
        strange,
        any(table.endswith(b"\n" + CUT) for table in (tcp, tcp6, unix)),
    )


class Survey(NamedTuple):
    """All TCP sockets of a network namespace, in short."""

    pairs: Sequence[bytes]  # `local remote state` of each
    states: Mapping[str, int]  # how many are in each state
    unread: int  # rows that are none


def survey(rows: bytes) -> Survey:
    """What is worth knowing of every socket; for 100,000 of them that costs as much as all the rest."""
    pairs = _PAIR.findall(rows)
    states = Counter(pair[-2:] for pair in pairs)
    named = {_STATES.get(state, "other"): count for state, count in states.items()}
    return Survey(pairs, named, max(0, rows.count(b"\n") - len(pairs)))


def _unix(table: bytes) -> tuple[tuple[UnixListener, ...], int]:
    """The listeners of `/proc/net/unix`, and how many rows are none.

    A connection that was not accepted has the listener's path, state 02 and no inode: it has no socket yet.
    """
    listening: dict[int, bytes] = {}
    waiting: Counter[bytes] = Counter()
    for flags, state, inode, path in _UNIX.findall(table):
        if int(flags, 16) & _ACCEPTS_CONNECTIONS and int(inode):
            listening[int(inode)] = path
        elif state == b"02" and not int(inode):
            waiting[path] += 1
    rows = max(0, table.count(b"\n") - 1)
    found = tuple(UnixListener(path, inode, waiting[path]) for inode, path in listening.items())
    return found, max(0, rows - len(_UNIX_ROW.findall(table)))


class Destination(NamedTuple):
    """Where connections go to from one local address: each of them needs a port of its own."""

    local: bytes  # address without port
    remote: bytes  # address and port
    ports: int
    time_wait: int  # of these, connections that are closed and only kept


def destinations(pairs: Sequence[bytes], first: int, last: int) -> list[Destination]:
    """The destinations by how many local ports from `first` to `last` they hold, the most first."""
    low, high = b"%04X" % first, b"%04X" % last
    counts: Counter[bytes] = Counter()
    for pair in pairs:
        at = pair.find(b":")
        if low <= pair[at + 1 : at + 5] <= high:
            counts[pair[:at] + pair[at + 5 :]] += 1
    ports: Counter[bytes] = Counter()
    for key, count in counts.items():
        ports[key[:-3]] += count
    found = []
    for key, count in ports.most_common():
        local, _, remote = key.partition(b" ")
        if not remote.endswith(b":0000"):
            found.append(Destination(local, remote, count, counts[key + b" " + TIME_WAIT]))
    return found


def address(endpoint: bytes) -> str:
    """An address, with or without its port, as people write it: `127.0.0.1:8080`, `[::1]:8080`, `*:8080`.

    The kernel prints 32-bit words in the byte order of the machine, which is little-endian wherever opsdoc runs.
    """
    host, colon, port = endpoint.partition(b":")
    try:
        raw = bytes.fromhex(host.decode("ascii"))
        words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
        said = _address(b"".join(words))
        return f"{said}:{int(port, 16)}" if colon else said
    except ValueError:
        raise Malformed(f"not an address: {endpoint[:80]!r}") from None


def _address(raw: bytes) -> str:
    import ipaddress

    if not any(raw):
        return "*"
    if len(raw) == 4:
        return str(ipaddress.IPv4Address(raw))
    return f"[{ipaddress.IPv6Address(raw)}]"


def is_loopback(host: bytes) -> bool:
    """Whether an address as the kernel prints it is the machine's own: 127.0.0.0/8 or ::1."""
    return host == b"00000000000000000000000001000000" or (len(host) == 8 and host.endswith(b"7F"))


def parse_counters(text: str) -> dict[str, int]:
    """`/proc/net/snmp` and `netstat`: counters as `Tcp.OutSegs`; each row of names is followed by one of values."""
    lines = text.splitlines()
    counters: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group, *titles = names.split()[:1024] or [""]
        other, *numbers = values.split()[:1024] or [""]
        if group != other or not group.endswith(":") or len(titles) != len(numbers):
            raise Malformed(f"not counters of the network: {names[:80]!r}")
        counters |= {f"{group}{title}".replace(":", "."): n for title, n in zip(titles, _numbers(numbers), strict=True)}
    if not counters:
        raise Malformed(f"not counters of the network: {text[:80]!r}")
    return counters


def parse_sockstat(text: str) -> dict[str, int]:
    """`/proc/net/sockstat`: what TCP uses, such as `orphan`, `tw` and `mem` (pages)."""
    words = next((line.split()[1:17] for line in text.splitlines() if line.startswith("TCP: ")), [])
    if not words or len(words) % 2:
        raise Malformed(f"not /proc/net/sockstat: {text[:80]!r}")
    return dict(zip(words[::2], _numbers(words[1::2]), strict=True))


def parse_numbers(text: str) -> tuple[int, ...]:
    """A setting of /proc/sys that is one or several numbers."""
    return tuple(_numbers(text.split()[:16]))


def parse_ports(text: str) -> tuple[tuple[int, int], ...]:
    """`ip_local_reserved_ports`: ranges of ports, such as `8080,9000-9010`."""
    ranges = []
    for word in text.strip().split(",")[:65536]:
        if word:
            first, _, last = word.partition("-")
            low, high = _numbers([first, last or first])
            ranges.append((low, high))
    return tuple(ranges)


def parse_open_files(text: str) -> int | None:
    """How many descriptors a process may open, from `/proc/PID/limits`; None is without limit."""
    match = re.search(r"^Max open files +(unlimited|[0-9]{1,20}) ", text, re.MULTILINE)
    if match is None:
        raise Malformed(f"not /proc/PID/limits: {text[:80]!r}")
    return None if match[1] == "unlimited" else int(match[1])


def _numbers(words: Sequence[str]) -> Iterator[int]:
    for word in words:
        if re.fullmatch(r"-?[0-9]{1,20}", word) is None:
            raise Malformed(f"not a number: {word[:80]!r}")
        yield int(word)
