"""YAML that can do no harm, with the place of every value, and the configuration files that are written in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from opsdoc.model import UsageError
from opsdoc.options import did_you_mean

SIZE_CAP = 1 << 20
DEPTH_CAP = 32


class Mark(NamedTuple):
    """Where something stands; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Key(str):
    """A key of a mapping, with its place."""

    __slots__ = ("mark",)
    mark: Mark


class Node(NamedTuple):
    """A value with its place. `value` is None, bool, int, float, str, list[Node] or dict[Key, Node].

    `text` is a scalar as it was written, so that `2s`, `2` and `"2"` go through the same converter as an option's text.
    """

    value: Any
    text: str
    mark: Mark

    def plain(self) -> Any:
        """The value without places."""
        match self.value:
            case dict():
                return {str(key): node.plain() for key, node in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
            case value:
                return value

    def mapping(self, what: str, keys: Iterable[str] | None = None) -> dict[Key, Node]:
        """The value as a mapping, of the keys given if they are a closed set. Raises UsageError."""
        if not isinstance(self.value, dict):
            raise UsageError(f"{self.mark}: {what} must be a mapping")
        for key in self.value if keys is not None else ():
            if key not in (known := list(keys or ())):
                near = did_you_mean(key, known) or f": it is one of {', '.join(known)}"
                raise UsageError(f"{key.mark}: no key '{key}' in {what}{near}")
        return self.value


# ── YAML ─────────────────────────────────────────────────────────────────────────────────────────

# YAML 1.2's JSON schema: `no`, `on`, 010, 1:30 and 2024-01-01 are text, as they look.
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null"), lambda _: None),
    (re.compile(r"true|false"), lambda text: text == "true"),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,300})"), int),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][-+]?[0-9]{1,3})?"), float),
)


def parse(data: bytes, file: str) -> Node | None:
    """One YAML document as nodes, or None for an empty one. Raises UsageError with file, line and column.

    Anchors, aliases, tags, duplicate keys, keys that are not text and more than one document are errors.
    """
    import yaml

    if len(data) > SIZE_CAP:
        raise UsageError(f"{file} is larger than 1 MiB")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(_Events(iter(yaml.parse(data, Loader=loader)), file))
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = Mark(file, where.line + 1, where.column + 1) if where else file
        raise UsageError(f"{mark}: {error.problem or error.context or 'not YAML'}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise UsageError(f"{file}: not YAML: {' '.join(str(error).split())}") from None


class _Events:
    """The parser's events, one ahead."""

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events = events
        self._file = file

    def next(self) -> tuple[str, Any, Mark]:
        event = next(self._events)
        mark = Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)
        if getattr(event, "anchor", None) is not None:  # an alias has one too
            raise UsageError(f"{mark}: anchors and aliases are not allowed")
        if getattr(event, "tag", None) not in (None, "!"):
            raise UsageError(f"{mark}: tags such as {event.tag} are not allowed")
        return type(event).__name__.removesuffix("Event"), event, mark


def _document(events: _Events) -> Node | None:
    events.next()
    kind, _, mark = events.next()
    if kind == "StreamEnd":
        return None
    root = _node(events, events.next(), 0)
    events.next()
    kind, _, mark = events.next()
    if kind != "StreamEnd":
        raise UsageError(f"{mark}: more than one document")
    return root


def _node(events: _Events, first: tuple[str, Any, Mark], depth: int) -> Node:
    kind, event, mark = first
    if depth > DEPTH_CAP:
        raise UsageError(f"{mark}: nested deeper than {DEPTH_CAP} levels")
    if kind == "Scalar":
        return Node(_scalar(event.value) if event.implicit[0] else event.value, event.value, mark)
    if kind == "SequenceStart":
        items = []
        while (item := events.next())[0] != "SequenceEnd":
            items.append(_node(events, item, depth + 1))
        return Node(items, "", mark)
    pairs: dict[Key, Node] = {}
    while (item := events.next())[0] != "MappingEnd":
        named = _node(events, item, depth + 1)
        if isinstance(named.value, dict | list):
            raise UsageError(f"{named.mark}: a key must be text")
        key = Key(named.text)
        key.mark = named.mark
        if key in pairs:
            raise UsageError(f"{key.mark}: '{key}' stands here twice")
        pairs[key] = _node(events, events.next(), depth + 1)
    return Node(pairs, "", mark)


def _scalar(text: str) -> Any:
    """The value of a scalar that is not quoted."""
    for pattern, read in _PLAIN:
        if pattern.fullmatch(text):
            value = read(text)
            return value if value != float("inf") and value != float("-inf") else text
    return text


# ── configuration files ──────────────────────────────────────────────────────────────────────────

PROJECT = Path("opsdoc.yml")
# What a file may say. It can set limits, but not where anything is written.
KEYS = ("timeout", "window", "rows", "color", "limits")


class Config(NamedTuple):
    """What the files say, the nearest first, and which were not trusted. Values are text with their place."""

    values: Mapping[str, Node]
    limits: Mapping[str, Node]
    files: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def places() -> tuple[Path, ...]:
    """Where configuration may stand, in the order of precedence: project, user, system."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config"))
    return PROJECT, Path(base).expanduser() / "opsdoc" / "config.yml", Path("/etc/opsdoc.yml")


def read_config(paths: Iterable[Path]) -> Config:
    """The configuration of files of which the first wins, key by key. Raises UsageError."""
    values: dict[str, Node] = {}
    limits: dict[str, Node] = {}
    files: list[str] = []
    ignored: list[str] = []
    for path in paths:
        data, why = _bytes(path)
        if data is None:
            ignored += [f"{path}: {why}"] if why else []
            continue
        files.append(str(path))
        root = parse(data, str(path))
        if root is None or root.value is None:
            continue
        for key, node in root.mapping("the configuration", KEYS).items():
            if key == "limits":
                for name, limit in node.mapping("limits").items():
                    limits.setdefault(name, _only_text(limit, f"limit '{name}'"))
            else:
                values.setdefault(key, _only_text(node, f"'{key}'"))
    return Config(values, limits, tuple(files), tuple(ignored))


def _only_text(node: Node, what: str) -> Node:
    if isinstance(node.value, dict | list) or node.value is None:
        raise UsageError(f"{node.mark}: {what} must be one value")
    return node


def _bytes(path: Path) -> tuple[bytes | None, str]:
    """The bytes of a file, or None and why it was ignored. No file at all needs no reason."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make us wait
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, error.strerror or "unreadable"
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return None, "not a regular file"
        if path == PROJECT and (stranger := _stranger(about)):
            return None, stranger
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(SIZE_CAP + 1), ""
    finally:
        os.close(descriptor)


def _stranger(about: os.stat_result) -> str:
    """Why a file in the current directory cannot be ours: limits from a stranger could turn red into green."""
    ours = {0, os.geteuid(), os.getuid()}
    if (sudo := os.environ.get("SUDO_UID", "")).isdecimal():
        ours.add(int(sudo))
    if about.st_uid not in ours:
        return f"it belongs to another user (uid {about.st_uid})"
    return "anybody may write it" if about.st_mode & stat.S_IWOTH else ""
