"""Which cache of nginx a request meets: by the zone that is configured where its path leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.parsers.nginx_nouns import AccessLog, Conf, Pass

# Patterns of locations that are understood. A pattern of a foreign configuration is never run: one can take for ever.
_EXTENSIONS = re.compile(r"(?:\.\*)?\\\.\(?(?:\?:)?([\w|]{1,200})\)?\$", re.ASCII)
_BEGINNING = re.compile(r"\^(/[\w/-]{1,100})(?:/?|\(/\|\$\)|\.\*)", re.ASCII)
_MOST = 4  # zones that are named where it is not known which one it is


class _Place(NamedTuple):
    """A location with a cache: how it is matched, by what, and the zone."""

    how: str  # "=", "^~", "" (the beginning of a path), "~", or "@" where no path leads to it
    what: str
    zone: str


class Zones:
    """The zones that requests of one access log can meet.

    A location is found as nginx finds it: one that is equal, else the longest beginning, unless a pattern fits. Of
    several servers that write to one log, and where a pattern is not understood, more than one zone may be meant; then
    the name is that of all of them: `a or b`. `otherwise` is the name where no cache is configured.
    """

    def __init__(self, conf: Conf, log: AccessLog, otherwise: str) -> None:
        names = set(log.server_names)
        passes = [one for one in conf.passes if not (names and one.server_names) or names & set(one.server_names)]
        self._places = list(dict.fromkeys(_places(passes)))
        self._all = _named({place.zone for place in self._places}) or otherwise
        self._single = len({place.zone for place in self._places}) < 2
        self._vague = any(place.how == "~" and not _understood(place.what) for place in self._places)

    def of(self, path: str) -> str:
        """The name of the zone."""
        if self._single or not path:
            return self._all
        exact = {place.zone for place in self._places if place.how == "=" and place.what == path}
        if exact:
            return _named(exact)
        beginnings = [place for place in self._places if place.how in ("", "^~") and path.startswith(place.what)]
        longest = max((len(place.what) for place in beginnings), default=0)
        best = [place for place in beginnings if len(place.what) == longest]
        if not any(place.how == "^~" for place in best):
            fitting = {place.zone for place in self._places if place.how == "~" and _fits(place.what, path)}
            if self._vague or fitting:
                return self._all if self._vague else _named(fitting)
        return _named({place.zone for place in best}) or self._all


def zone_of(one: Pass) -> str | None:
    """The zone that the answers of a pass are kept in; None where they are not, or only a request tells which."""
    cache = one.settings.get("cache")
    name = cache.args[0] if cache and cache.args else "off"
    return None if name == "off" or "$" in name else name


def _places(passes: Sequence[Pass]) -> Iterator[_Place]:
    for one in passes:
        zone = zone_of(one)
        if zone is None:
            continue
        how, space, what = one.location.partition(" ")
        if not space:
            how, what = "", one.location
        if what.startswith("@"):
            how = "@"
        yield _Place("~" if how == "~*" else how, what, zone)


def _understood(pattern: str) -> bool:
    return _EXTENSIONS.fullmatch(pattern) is not None or _BEGINNING.fullmatch(pattern) is not None


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern that is understood fits; small and capital letters are taken for the same."""
    if (ends := _EXTENSIONS.fullmatch(pattern)) is not None:
        return path.lower().endswith(tuple(f".{one}" for one in ends[1].lower().split("|")))
    begins = _BEGINNING.fullmatch(pattern)
    return begins is not None and path.lower().startswith(begins[1].lower())


def _named(zones: set[str]) -> str:
    names = sorted(zones)
    more = ["others"] if len(names) > _MOST else []
    return " or ".join([*names[:_MOST], *more])
