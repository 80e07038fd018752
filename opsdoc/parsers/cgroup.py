"""Control groups: who is in which, where they are mounted, their CPU quota, and what people call them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from opsdoc.model import Malformed

_ESCAPED = re.compile(r"\\([0-3][0-7]{2})")
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
UNLIMITED = 1 << 60  # bytes: cgroup v1 writes "no limit" as the largest number of pages


class Membership(NamedTuple):
    """One line of `/proc/PID/cgroup`: the cgroup of a process in one hierarchy; v2 is the one without controllers."""

    controllers: tuple[str, ...]
    path: str


class Mount(NamedTuple):
    """Where a hierarchy can be seen: `root` is the cgroup whose folder the mount point is."""

    version: int
    controllers: tuple[str, ...]  # of v1; with the options of the mount among them
    root: str
    point: str


def parse_membership(text: str) -> list[Membership]:
    """`/proc/PID/cgroup` (format: cgroups(7)): lines of `ID:CONTROLLERS:PATH`. The path may hold colons."""
    found = []
    for line in _lines(text):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not _NUMBER.fullmatch(number) or not path.startswith("/"):
            raise Malformed(f"not a line of /proc/PID/cgroup: {line[:80]!r}")
        found.append(Membership(tuple(filter(None, controllers.split(","))), path))
    return found


def parse_mounts(text: str) -> list[Mount]:
    """The cgroup mounts in `/proc/PID/mountinfo` (format: proc(5)) that no later mount hides."""
    found: list[Mount] = []
    for line in _lines(text):
        fields, dash, kind = line.partition(" - ")
        _, _, _, root, point, *_ = [*fields.split(" ", 5), *[""] * 5]
        if not dash or not root.startswith("/") or not point.startswith("/"):
            raise Malformed(f"not a line of mountinfo: {line[:80]!r}")
        point = _plain(point)
        if found and any(_hides(point, mount.point) for mount in found):
            found = [mount for mount in found if not _hides(point, mount.point)]
        if kind.startswith("cgroup"):
            name, _, rest = kind.partition(" ")
            options = rest.rpartition(" ")[2].split(",")
            version = 2 if name == "cgroup2" else 1
            found.append(Mount(version, () if version == 2 else tuple(options), _plain(root), point))
    return found


def _lines(text: str) -> list[str]:
    """Names may hold what `splitlines` takes for the end of a line."""
    return [line for line in text.split("\n") if line]


def _hides(later: str, earlier: str) -> bool:
    return earlier.startswith(later) and (len(earlier) == len(later) or later == "/" or earlier[len(later)] == "/")


def _plain(path: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), path) if "\\" in path else path


def folders_below(root: str, path: str) -> list[str] | None:
    """The folders that lead from the root of a mount to a cgroup; None when it is not below it or cannot be told.

    Seen from another cgroup namespace both may begin with `/..`: as long as they do so alike, no name is missing.
    """
    wanted, base = path.strip("/").split("/"), [part for part in root.strip("/").split("/") if part]
    rest = wanted[len(base) :]
    if wanted[: len(base)] != base or any(part in ("..", ".") for part in rest):
        return None
    return [part for part in rest if part]


def parse_counters(text: str) -> dict[str, int]:
    """A file of `KEY VALUE` lines such as cpu.stat."""
    counters = {}
    for line in _lines(text):
        key, _, value = line.partition(" ")
        if not key or not _NUMBER.fullmatch(value):
            raise Malformed(f"not a counter of a cgroup: {line[:80]!r}")
        counters[key] = int(value)
    return counters


def parse_quota(quota: str, period: str) -> float | None:
    """The quota in cores from its two numbers of microseconds; None for `max` (v2) and -1 (v1): no limit."""
    if quota in ("max", "-1"):
        return None
    if not _NUMBER.fullmatch(quota) or not _NUMBER.fullmatch(period) or int(period) == 0:
        raise Malformed(f"not a CPU quota: {quota[:40]!r} {period[:40]!r}")
    return round(int(quota) / int(period), 4)


def parse_limit(text: str) -> int | None:
    """A limit or an amount of memory in bytes; None for no limit."""
    word = text.strip()
    if word == "max":
        return None
    if not _NUMBER.fullmatch(word):
        raise Malformed(f"not an amount of memory: {word[:40]!r}")
    return None if int(word) >= UNLIMITED else int(word)


# ── names ────────────────────────────────────────────────────────────────────────────────────────

# `ID`, `docker-ID.scope`, `…:cri-containerd:ID`; 64 hex digits, in Fargate 32 and a number.
_ID = re.compile(
    r"(?:(?P<prefix>[a-z][a-z.-]{0,40})-|.{0,200}:(?P<word>[a-z-]{1,40}):)?"
    r"(?P<id>[0-9a-f]{64}|[0-9a-f]{32}-\d{1,12})(?:\.scope)?",
    re.ASCII,
)
_LXC = re.compile(r"lxc\.payload[./](?P<name>[^/]{1,200})|lxc/(?P<old>[^/]{1,200})")
_POD = re.compile(r"(?:.{0,100}-)?pod(?P<uid>[0-9a-f]{8}[0-9a-f_-]{0,40})(?:\.slice)?(?::.*)?", re.DOTALL)
_UNIT = re.compile(r".{1,250}\.(?:service|scope|socket|mount|swap)", re.DOTALL)
_MANAGERS = {
    "docker": "docker",
    "libpod": "podman",
    "crio": "cri-o",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "ecs": "ecs",
}


class _Container(NamedTuple):
    manager: str  # "" where it cannot be told
    name: str
    place: int  # of its folder in the path


def container_of(cgroup: str) -> str | None:
    """The container named in `/proc/PID/cgroup`: 12 digits of its id, or its name where it has one (LXC); or None."""
    paths = [line.split(":", 2)[-1] for line in _lines(cgroup)]
    return next((found.name for found in map(_container, map(_parts, paths)) if found), None)


def name_of(path: str) -> str:
    """What people call a cgroup: `docker 0123456789ab`, `kubernetes pod 1f3b2c4d`, `systemd unit nginx.service`."""
    parts = _parts(path)
    if not parts:
        return "the root cgroup"
    container = _container(parts)
    unit = next((part for part in reversed(parts) if _UNIT.fullmatch(part)), "")
    pod = next((match["uid"][:8] for part in parts if (match := _POD.fullmatch(part))), "")
    if container is None:
        return f"kubernetes pod {pod}" if pod else f"systemd unit {unit}" if unit else parts[-1]
    name = f"{container.manager or 'container'} {container.name}"
    if pod:
        return f"kubernetes pod {pod}, container {container.name}"
    inside = [part for part in parts[container.place + 1 :] if _UNIT.fullmatch(part)]
    return f"systemd unit {inside[-1]} in {name}" if inside else name


def _parts(path: str) -> list[str]:
    return [part for part in path.removesuffix(" (deleted)").split("/") if part not in ("", "..")]


def _container(parts: list[str]) -> _Container | None:
    """The innermost container of a path. What watches over one (conmon, lxc.monitor) stands outside."""
    for place, part in reversed(list(enumerate(parts))):
        if (match := _ID.fullmatch(part)) is not None:
            prefix = match["prefix"] or match["word"] or ""
            if prefix.endswith("conmon"):
                return None
            return _Container(_manager([prefix, *reversed(parts[:place])]), match["id"][:12], place)
        if (match := _LXC.fullmatch("/".join(parts[max(0, place - 1) : place + 1]))) is not None:
            return _Container("lxc", match["name"] or match["old"], place)
        if (match := _LXC.fullmatch(part)) is not None:
            return _Container("lxc", match["name"], place)
    return None


def _manager(words: Iterable[str]) -> str:
    def known() -> Iterator[str]:
        for word in words:
            for name, manager in _MANAGERS.items():
                if word == name or word.startswith((name + "-", name + "_", name + "tasks-")):
                    yield manager

    return next(known(), "")
