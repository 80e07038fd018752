"""The configuration of nginx as it lies on disk or in a saved `nginx -T`, reduced to what opsdoc reads, and masked.

nginx is never asked for it: `nginx -t` and `-T` make log files, a pid file and folders.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.files import SavedFile
from opsdoc.clients.nginx_files import MAGIC, MOST_BYTES, MOST_FILES, Content, Disk, Files, Saved, reason
from opsdoc.clients.nginx_syntax import Rules, Tree, tree_of
from opsdoc.clients.proc import gone
from opsdoc.clients.rooted import reader_of
from opsdoc.model import Denied, Unreachable, UsageError
from opsdoc.parsers.nginx_conf import DEEPEST, KEPT, UNTOLD
from opsdoc.parsers.nginx_settings import HEADERS, SET_HEADERS

MOST_DIRECTIVES = 300_000  # that are kept: 10,000 servers with 30 each
MOST_PROBLEMS = 200
DEEPEST_INCLUDE = 32  # files within files

_DUMPED = re.compile(r"^# configuration file (.+):\r?$", re.MULTILINE)
_VARIABLE = re.compile(r"(\$\w+|\$\{\w+\})")
_ESCAPED = re.compile(r"\\([\"'\\trn])")
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
_TOLD_HEADERS = {header.lower() for header in HEADERS}


class Configuration(NamedTuple):
    """The configuration whose main file is `path`, with what it includes.

    A relative path begins at `prefix`. With `pid` all files are read as that process sees them, below its root, and
    with the rights of its user: whoever starts an nginx with `-c /etc/shadow` is told nothing by what root reads. The
    answer has `prefix`; `files`, {file, modified, size}; `directives`, {directive, args, file, line, block}, the
    included ones in the place of their include; and `problems`, {file, line, text, include}, where `include` is the
    file that could not be read, or null. Raises Denied or Unreachable where the main file cannot be read.
    """

    path: str
    prefix: str = ""
    pid: int | None = None

    def key(self) -> str:
        return f"nginx.conf {self.path}" if self.pid is None else f"nginx.conf {self.pid} {self.path}"

    def answer(self, live: Live) -> dict[str, Any]:
        root = Path("/") if self.pid is None else live.proc / str(self.pid) / "root"
        path = os.path.join(self.prefix, self.path)
        if self.pid is None:
            path = os.path.abspath(path)
        try:
            os.stat(root)
            disk = Disk(root, None if self.pid is None else reader_of(live.proc, self.pid))
        except PermissionError:
            raise Denied(f"not permitted to look below {root}", live.as_root()) from None
        except OSError:
            raise gone(self.pid or 0) from None
        try:
            main = disk.read(path, MOST_BYTES)
        except PermissionError:
            who = "" if disk.reader is None else " for the user of this nginx"
            raise Denied(
                f"not permitted to read {path}{who}", live.as_root() or f"opsdoc nginx --conf {path}"
            ) from None
        except OSError as error:
            raise Unreachable(f"cannot read {path}: {reason(error)}", f"{live.again} --conf FILE") from None
        return _Reading(live, disk, path).whole(main, self.prefix)


class Dump(NamedTuple):
    """What the user named: a saved `nginx -T`, which holds all files, or a main file, whose includes are on disk.

    Answers as Configuration does; of a dump no time of modification is known. Raises UsageError where it cannot be
    read.
    """

    path: Path

    def key(self) -> str:
        return f"nginx.dump {self.path.name}"

    def answer(self, live: Live) -> dict[str, Any]:
        data = SavedFile(self.path).answer(live)
        if len(data) > MOST_BYTES:
            raise UsageError(f"cannot read {self.path}: it is larger than {MOST_BYTES >> 20} MiB")
        text = data.decode("utf-8", "backslashreplace")
        _, *parts = _DUMPED.split(text)
        if not parts:
            path = os.path.abspath(self.path)
            content = Content(text, len(data), _modified(self.path))
            return _Reading(live, Disk(Path("/")), path).whole(content, "")
        files: dict[str, str] = {}
        for name, part in zip(parts[::2], parts[1::2], strict=True):
            files.setdefault(name, part.removeprefix("\n"))
        saved, main = Saved(files), parts[0]
        return _Reading(live, saved, main).whole(saved.read(main, MOST_BYTES), "")


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


class _File(NamedTuple):
    """A file as it was read, before what it includes is put in its place."""

    shown: str
    tree: Tree
    kept: int


class _Reading:
    """One configuration while it is read."""

    def __init__(self, live: Live, files: Files, main: str) -> None:
        self.live = live
        self.files = files
        self.main = main
        self.folder = os.path.dirname(main)
        self.read: dict[str, _File] = {}
        self.told: list[dict[str, Any]] = []
        self.problems: dict[tuple[str, int, str], dict[str, Any]] = {}
        self.bytes = self.kept = self.placed = 0
        self.arguments: dict[str, str] = {}  # as masked: most occur again and again
        self.rules = Rules(KEPT | {"include"}, self._clean, live.remaining, DEEPEST, MOST_DIRECTIVES)

    def whole(self, main: Content, prefix: str) -> dict[str, Any]:
        """The answer."""
        directives = self._placed(self._parsed(self.main, main), (self.main,), DEEPEST)
        problems = [*self.problems.values()]
        return {"prefix": prefix, "files": self.told, "directives": directives, "problems": problems}

    def _parsed(self, path: str, content: Content) -> _File:
        shown = self.live.redactor.text(path)
        self.told.append({"file": shown, "modified": content.modified, "size": content.size})
        self.bytes += content.size
        tree, kept, wrong = tree_of(content.text, shown, self.rules)
        for line, text in wrong:
            self._say(shown, line, text)
        self.read[path] = _File(shown, tree, kept)
        return self.read[path]

    def _placed(self, file: _File, within: tuple[str, ...], depth: int) -> Tree:
        """The directives of a file, what it includes among them."""
        self.placed += 1
        self.kept += file.kept
        if self.kept > MOST_DIRECTIVES or self.placed > MOST_FILES:
            raise _TooMuchError
        return self._expanded(file.tree, within, depth)

    def _expanded(self, tree: Tree, within: tuple[str, ...], depth: int) -> Tree:
        expanded: Tree = []
        for directive in tree:
            if directive["directive"] == "include":
                expanded += self._included(directive, within, depth)
            elif "block" not in directive:
                expanded.append(directive)
            elif depth:
                expanded.append({**directive, "block": self._expanded(directive["block"], within, depth - 1)})
            else:
                self._say(directive["file"], directive["line"], "not read: too many blocks within blocks")
        return expanded

    def _included(self, directive: dict[str, Any], within: tuple[str, ...], depth: int) -> Tree:
        self.live.remaining()
        place = (directive["file"], directive["line"])
        pattern = os.path.join(self.folder, *directive["args"][:1])
        try:
            paths = self.files.matching(pattern) if MAGIC.search(pattern) else [pattern]
        except OSError as error:
            self._say(*place, f"cannot look for {pattern}: {reason(error)}", pattern)
            return []
        included: Tree = []
        for path in paths:
            try:
                included += self._include(path, within, depth)
            except OSError as error:
                self._say(*place, f"cannot read {path}: {reason(error)}", path)
            except _TooMuchError:
                self._say(
                    *place, f"not read from here on: more than {MOST_FILES} files or {MOST_DIRECTIVES} directives"
                )
                break
        return included

    def _include(self, path: str, within: tuple[str, ...], depth: int) -> Tree:
        if path in within or len(within) > DEEPEST_INCLUDE:
            raise OSError(errno.ELOOP, "it includes itself, or too many files include each other", path)
        file = self.read.get(path) or self._parsed(path, self.files.read(path, MOST_BYTES - self.bytes))
        return self._placed(file, (*within, path), depth)

    def _say(self, file: str, line: int, text: str, include: str | None = None) -> None:
        if len(self.problems) >= MOST_PROBLEMS:
            return
        mask = self.live.redactor.text
        problem = {"file": file, "line": line, "text": mask(text), "include": include and mask(include)}
        self.problems.setdefault((file, line, text), problem)

    # ── arguments ────────────────────────────────────────────────────────────────────────────────

    def _clean(self, name: str, args: list[str]) -> list[str]:
        """The arguments of a directive as opsdoc may know them."""
        if name in UNTOLD:
            return []
        if name in SET_HEADERS and args[:1] and args[0].lower() not in _TOLD_HEADERS:
            del args[1:]  # `Authorization "Basic …"`
        if name == "include":  # which is not answered
            return [*map(_plain, args)]
        if name == "log_format":
            return [*map(self._format_masked, args)]
        known = self.arguments
        for word in args:
            if word not in known:
                known[word] = self.live.redactor.text(_plain(word))
        return [known[word] for word in args]

    def _format_masked(self, word: str) -> str:
        """A format of a log: `token="$arg_token"` names what is logged and tells no secret; without it no line fits."""
        return "".join(
            part if _VARIABLE.fullmatch(part) else self.live.redactor.text(part)
            for part in _VARIABLE.split(_plain(word))
        )


class _TooMuchError(Exception):
    """A bound was met."""


def _plain(word: str) -> str:
    """A word without its escapes, as ngx_conf_read_token has it; crossplane's lexer leaves nearly all of them."""
    return _ESCAPED.sub(lambda match: _CONTROLS.get(match[1], match[1]), word) if "\\" in word else word
