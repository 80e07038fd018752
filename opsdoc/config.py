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
KEY_CAP = 256  # characters
VALUES_CAP = 20_000  # keys and values: 0.2 s to read


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

    `text` is a scalar as it was written, so that `2s`, `2` and `"2"` go through the same converter as an option's text;
    `source` is the same with its quotes, line breaks and indentation.
    """

    value: Any
    text: str
    mark: Mark
    source: str = ""

    def place(self, at: int) -> Mark:
        """Where a character of `text` stands in the file; of an escaped one, where the scalar begins."""
        found = _place_in(self.source, self.text, at)
        if found is None:
            return self.mark
        before = re.split(_LINE_BREAK, self.source[:found])
        column = len(before[-1]) + (self.mark.column if len(before) == 1 else 1)
        return Mark(self.mark.file, self.mark.line + len(before) - 1, column)

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

    def record(self, what: str, keys: Iterable[str], needed: Iterable[str] = ()) -> dict[str, Node]:
        """The same for a closed set of keys, of which some are needed, to be asked by name. Raises UsageError."""
        found = {str(key): node for key, node in self.mapping(what, keys).items()}
        for key in needed:
            if key not in found:
                raise UsageError(f"{self.mark}: {what} has no '{key}'")
        return found


# ── YAML ─────────────────────────────────────────────────────────────────────────────────────────

# Compiled when a file is read: every start imports this module.
_LINE_BREAK = "\r\n|[\n\r\x85\u2028\u2029]"
_BLANK = "[ \t\n\r\x85\u2028\u2029]*"
_HEADER = r"[|>][^\n\r]*(\r\n|[\n\r])?"  # of a block scalar: `|`, `>-`, `|2  # comment`
_FORBIDDEN = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.2, 5.1

# YAML 1.2's JSON schema: `no`, `on`, 010, 1:30 and 2024-01-01 are text, as they look.
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null"), lambda _: None),
    (re.compile(r"true|false"), lambda text: text == "true"),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,300})"), int),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][-+]?[0-9]{1,3})?"), float),
)


def parse(data: bytes, file: str) -> Node | None:
    """One YAML document as nodes, or None for an empty one. Raises UsageError with file, line and column.

    Anchors, aliases, tags, duplicate keys, keys that are not text, more than one document, and text that is not UTF-8
    are errors.
    """
    import yaml

    text = _decoded(data, file)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _document(_Events(iter(yaml.parse(text, Loader=loader)), file, text))
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = Mark(file, where.line + 1, where.column + 1) if where else Mark(file, 1, 1)
        raise UsageError(f"{mark}: {_hinted(error.problem or error.context or 'not YAML')}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{Mark(file, 1, 1)}: not YAML: {' '.join(str(error).split())}") from None


def _decoded(data: bytes, file: str) -> str:
    """The bytes as text without a byte order mark, of which all characters may stand in YAML. Raises UsageError."""
    head = data[:SIZE_CAP]
    if len(data) > SIZE_CAP:
        raise UsageError(f"{_end_of(head.decode('utf-8', 'replace'), file)}: the file is larger than 1 MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The mark of the encoding, if there is one, counts for the error's place but is no column.
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise UsageError(f"{_end_of(before, file)}: not UTF-8: {error.reason}") from None
    if (wrong := re.search(_FORBIDDEN, text)) is not None:
        raise UsageError(
            f"{_end_of(text[: wrong.start()], file)}: a character that may not stand in YAML: {wrong[0]!r}"
        )
    return text


def _end_of(text: str, file: str) -> Mark:
    """The place behind a text."""
    lines = re.split(_LINE_BREAK, text)
    return Mark(file, len(lines), len(lines[-1]) + 1)


def _hinted(problem: str) -> str:
    """What the YAML library says, and what is mostly behind it."""
    if not problem.startswith(("did not find expected", "expected", "mapping values")):
        return problem
    return f"{problem}; a text that begins with a quote or a bracket, or holds ': ', stands in quotes as a whole"


def _place_in(source: str, text: str, at: int) -> int | None:
    """Where in the source of a scalar the character `at` of its text stands, or None if it cannot be told.

    Text and source are read side by side: line breaks and blanks of the source may be one blank of the text or none.
    """
    header = re.match(_HEADER, source)
    where = header.end() if header else int(source[:1] in ("'", '"'))
    escapes = {"'": ("''",), '"': ('\\"', "\\\\", "\\/")}.get(source[:1], ())
    for index, char in enumerate(text):
        if char in " \n":
            if index == at:
                return where
            where = _blanks(source, where, all_of_them=text[index + 1 : index + 2] not in (" ", "\n"))
            continue
        where = _blanks(source, where, all_of_them=True)
        taken = next((escape for escape in escapes if source.startswith(escape, where) and escape[-1] == char), char)
        if not source.startswith(taken, where):
            return None
        if index == at:
            return where
        where += len(taken)
    return where if at >= len(text) else None


def _blanks(source: str, start: int, *, all_of_them: bool) -> int:
    """The end of the blanks that begin at `start`, or of the first of them."""
    blank = re.compile(_BLANK).match(source, start)
    end = start if blank is None else blank.end()
    return end if all_of_them else min(start + 1, end)


class _Events:
    """The parser's events, one after another."""

    def __init__(self, events: Iterator[Any], file: str, text: str) -> None:
        self._events = events
        self._file = file
        self._text = text
        self._count = 0

    def next(self) -> tuple[str, Any, Mark]:
        event = next(self._events)
        mark = Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)
        if getattr(event, "anchor", None) is not None:  # an alias has one too
            raise UsageError(f"{mark}: anchors and aliases are not allowed")
        if getattr(event, "tag", None) not in (None, "!"):
            raise UsageError(f"{mark}: tags such as {event.tag} are not allowed")
        self._count += 1
        if self._count > VALUES_CAP:
            raise UsageError(f"{mark}: more than {VALUES_CAP} keys and values")
        return type(event).__name__.removesuffix("Event"), event, mark

    def source(self, event: Any) -> str:
        """What stands in the file for a scalar."""
        return self._text[event.start_mark.index : event.end_mark.index]


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
        value = _scalar(event.value) if event.implicit[0] else event.value
        return Node(value, event.value, mark, events.source(event))
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
        if len(named.text) > KEY_CAP:
            raise UsageError(f"{named.mark}: a key has at most {KEY_CAP} characters")
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
        data, why = contents(path)
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


def contents(path: Path) -> tuple[bytes | None, str]:
    """The bytes of a regular file, at most one more than may be read, or None and why not; "" if there is none."""
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
