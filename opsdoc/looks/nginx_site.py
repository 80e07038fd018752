"""Which nginx runs here, in which version, and with which configuration; or a configuration that was saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients.nginx import Masters
from opsdoc.clients.nginx_conf import Configuration, Dump
from opsdoc.host import Host
from opsdoc.model import ProbeError, Unreachable, Unseen
from opsdoc.parsers import nginx_conf
from opsdoc.parsers.nginx_nouns import Conf

_OTHERS = 8  # masters that are named when only one can be looked at


class Site(NamedTuple):
    """What is looked at: a master that runs, its configuration, or either of them alone."""

    conf: Conf | None
    path: str | None  # of its main file
    master: Mapping[str, Any] | None = None
    files: tuple[Mapping[str, Any], ...] = ()
    unseen: tuple[Unseen, ...] = ()

    @property
    def is_dump(self) -> bool:
        """Whether it is a saved `nginx -T`, maybe of another machine: no file of it is looked at here."""
        return self.master is None and any(file["modified"] is None for file in self.files)

    @property
    def root(self) -> int | None:
        """The process below whose root and with whose rights the files of the site are read, where not our own."""
        return None if self.master is None or _is_ours(self.master) else int(self.master["pid"])


_NOTHING = Site(None, None)


def find(host: Host, conf: Path | None, pid: int | None, logs: Sequence[Path] = ()) -> Site:
    """The nginx to look at: the one of `pid`, the one that uses the file `conf`, or the first that runs.

    `conf` may also be a file that no nginx here uses, or a saved dump of one. `logs` that were named alone are those of
    the first that writes to one of them, and else of no nginx here. Raises Unreachable where nothing is found and
    nothing was named.
    """
    masters = host.ask(Masters()).value["masters"]
    if pid is not None:
        chosen = [master for master in masters if master["pid"] == pid]
        if not chosen:
            raise Unreachable(f"process {pid} is no master of nginx", "pgrep -a nginx")
    elif conf is not None:
        chosen = [master for master in masters if master["own_root"] and master["conf"] == str(conf)]
    else:
        chosen = sorted(masters, key=lambda master: (not _is_ours(master), master["started"], master["pid"]))
    if conf is not None and (pid is None or chosen[0]["conf"] != str(conf)):
        return _saved(host, conf, chosen[0] if chosen else None)
    if logs and pid is None:
        return next((site for site in map(partial(_running, host), chosen[:_OTHERS]) if _writes(site, logs)), _NOTHING)
    if not chosen:
        return _NOTHING
    site = _running(host, chosen[0])
    others = [master for master in masters if master is not chosen[0]] if pid is None and conf is None else []
    return site._replace(unseen=(*site.unseen, *_others(others)))


def _writes(site: Site, logs: Sequence[Path]) -> bool:
    """Whether it writes to one of these."""
    conf = site.conf or Conf()
    written = {*(log.path for log in conf.access_logs), *(log.path for log in conf.error_logs)}
    return not written.isdisjoint(map(str, logs))


def _running(host: Host, master: Mapping[str, Any]) -> Site:
    root = None if _is_ours(master) else int(master["pid"])
    if master["conf"] is None:
        why = Unseen(
            "configuration", "unsupported", master["unknown"].get("conf", "its path is unknown"), "--conf FILE"
        )
        return Site(None, None, master, unseen=(why,))
    try:
        answer = host.ask(Configuration(master["conf"], master["prefix"], root)).value
    except ProbeError as error:
        return Site(None, master["conf"], master, unseen=(error.unseen(f"configuration {master['conf']}"),))
    return _read(answer, master["conf"], master)


def _is_ours(master: Mapping[str, Any]) -> bool:
    """Whether its files are to be read as any other: it has our root, and is no other user's while we are root."""
    return bool(master["own_root"] and master["trusted"])


def _saved(host: Host, path: Path, master: Mapping[str, Any] | None) -> Site:
    return _read(host.ask(Dump(path)).value, str(path), master)


def _read(answer: Mapping[str, Any], path: str, master: Mapping[str, Any] | None) -> Site:
    compiled = [log for name in ("access_log", "error_log") if (log := (master or {}).get(name))]
    conf = nginx_conf.configuration(answer, *compiled) if len(compiled) == 2 else nginx_conf.configuration(answer)
    wrong = tuple(Unseen(str(problem.place), "malformed", problem.text) for problem in conf.problems)
    return Site(conf, path, master, tuple(answer["files"]), wrong)


def _others(masters: Sequence[Mapping[str, Any]]) -> Iterator[Unseen]:
    for master in masters[:_OTHERS]:
        yield Unseen(
            subject=f"nginx of pid {master['pid']}",
            reason="unsupported",
            detail=f"more than one nginx runs here; this one uses {master['conf']}",
            hint=f"opsdoc nginx --pid {master['pid']}",
        )


def changed(site: Site) -> tuple[float, str] | None:
    """By how many seconds the newest file of the configuration is newer than the newest worker, and which it is."""
    if site.master is None:
        return None
    begun = [worker["started"] for worker in site.master["workers"] if not worker["shutting_down"]]
    written = [(file["modified"], file["file"]) for file in site.files if file["modified"] is not None]
    if not begun or not written:
        return None
    newest, file = max(written)
    return (newest - max(begun), file) if newest > max(begun) + 1 else None  # 1: start times are in whole ticks
