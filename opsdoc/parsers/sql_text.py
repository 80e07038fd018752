"""Statements and errors of SQL servers without the values in them: what may be shown of other people's data.

Where dialects differ in what ends a literal, a text is read in each way, and what any of them takes for a literal goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Product = Literal["postgresql", "mysql", "mariadb"]

READ = 4 << 10  # characters of a text: what is shown is far shorter
MARK = "?"
_APOSTROPHE = "'"


class _Dialect(NamedTuple):
    """How a text is read. `nested`: a comment may hold comments."""

    tokens: re.Pattern[str]
    nested: bool = False


class _Span(NamedTuple):
    start: int
    end: int
    comment: bool


def _string(sign: str, *, backslash: bool) -> str:
    """A literal, to its end or to the end of the text; a sign that stands twice does not end it."""
    plain = rf"[^{sign}\\]|\\." if backslash else rf"[^{sign}]"
    return rf"{sign}(?:{plain}|{sign}{sign})*(?:{sign}|\\?\Z)"


def _tokens(*, literals: str, names: str, comments: str) -> re.Pattern[str]:
    number = r"(?:(?<!\w)\.)?\d[\w$.]*(?:(?<=[eE])[+-]\d+)?"
    # First what is most of a text, for speed; no digit or sign within a word begins something.
    plain = r"[\s(),;=<>+*!~|&%^@:?\[\]{}]+|(?!\w{1,32}[\s&]{0,8}['\"])[^\W\d][\w$]*"
    others = f"(?P<comment>{comments})|(?P<literal>{literals}|{number})"
    return re.compile(rf"{plain}|{others}|(?P<name>{names}|\$\d+)|[^\W\d][\w$]*", re.DOTALL)


def _postgresql(*, backslash: bool) -> _Dialect:
    escape = r"(?i:'(?<=escape ')\\'(?!'))"  # `LIKE 'a' ESCAPE '\'` means the same to all
    escaped, plain = _string("'", backslash=True), _string("'", backslash=backslash)
    dollar = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
    literals = rf"{escape}|[eE]{escaped}|(?:[bBxXnN]|[uU]&)?{plain}|{dollar}"
    return _Dialect(_tokens(literals=literals, names=r'"[^"]*"', comments=r"--[^\n\r]*|/\*"), nested=True)


def _mysql(*, backslash: bool) -> _Dialect:
    strings = "|".join(_string(sign, backslash=backslash) for sign in "'\"")
    literals = rf"(?:[bBxXnN]|_\w{{1,32}}\s{{0,8}})?(?:{strings})"
    return _Dialect(_tokens(literals=literals, names=r"`[^`]*`", comments=r"--[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)"))


_POSTGRESQL = (_postgresql(backslash=False), _postgresql(backslash=True))
_MYSQL = (_mysql(backslash=True), _mysql(backslash=False))
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_NAME = re.compile(r"[^\W\d][\w$]*(?:[ .-][^\W\d][\w$]*)*")  # a name in quotes, as it may stay
_MANY = re.compile(r"\?(?:, ?\?){3,}")

# What stands in quotes after these words is a name, in the messages of the three products.
_NAMED = (
    "anonymous binlog channel column constraint database engine extension field file function host index key language "
    "log master name operator option parameter partition plugin privilege procedure publication relation replica role "
    "rule schema sequence server setting slave slot socket source subscription table tablespace transaction trigger "
    "type user variable view"
)
_KEPT = re.compile(
    rf"\b(?:{'|'.join(_NAMED.split())}|server at)[ =:]{{1,2}}"
    r"(?:'[\w$.@%:/() -]{1,128}'(?:@'[\w$.%:-]{0,128}')?|\"[\w$.@%:/() -]{1,128}\")(?!\w)"
    r"|\bfrom (?:master|source) when reading data from binary log: '[^']{1,200}'"  # words of the server
    r"|\bin '[\w$. ]{1,128}'(?!\w)"
    r"|`[^`]{1,128}`",
    re.IGNORECASE,
)
_QUERY = re.compile(r"\bQuery: '")
_LINES_OF_STATEMENT = re.compile(r"\n[ \t]*(?:LINE \d+|QUERY|STATEMENT|CONTEXT):.*", re.DOTALL)
_WRAPPED = re.compile(r"(.{0,200}?\b(?:Error|event:) ')(.*)(')((?: on query\.|;|\s*\Z).*)", re.DOTALL)
_ROW = re.compile(r"(Failing row contains \(|\)=\().*(\))", re.DOTALL)
_OPENING = re.compile(r"(?<!\w)['\"]")
_CLOSING = re.compile(r"['\"](?!\w)")
# Only these have the name of something behind their value.
_VALUED = re.compile(r"(?:Duplicate entry|value:) \Z")
_BEHIND = re.compile(r"' for (?:key|column) '[\w$. ]{1,128}'\Z")
_ROUNDS = 4  # a cut can leave a quotation without its end, which another round settles


def masked(text: str, most: int = 200, product: Product | None = None) -> str:
    """A statement with each literal as `?`, without comments, in one line of at most `most` characters.

    Names in double quotes stay where the `product` is PostgreSQL; to others they may be literals. Without a product
    the text is read in every way. Total for any text, and masking again changes nothing.
    """
    dialects = {"postgresql": _POSTGRESQL, None: (*_POSTGRESQL, *_MYSQL)}.get(product, _MYSQL)
    body = text[:READ]
    parts: list[str] = []
    at = 0
    for span in _merged(sorted(span for dialect in dialects for span in _spans(body, dialect))):
        parts += (body[at : span.start], " " if span.comment else MARK)
        at = span.end
    line = _MANY.sub("?, …", _one_line("".join((*parts, body[at:]))))
    return _cut(line if len(text) <= READ else f"{line}…", most)


def masked_error(text: str, most: int = 300) -> str:
    """An error of a server, in one line, without row data: `Duplicate entry '?' for key 'PRIMARY'`.

    Names of tables, keys, users and the like stay; the statement that a replica could not apply is masked.
    """
    line = text[:READ]
    for _ in range(_ROUNDS):
        before, line = line, _cut(_one_line(_error(line, most)), most)
        if line == before:
            break
    return line


# ── statements ───────────────────────────────────────────────────────────────────────────────────


def _spans(text: str, dialect: _Dialect) -> Iterator[_Span]:
    at = 0
    while token := dialect.tokens.search(text, at):
        at = token.end()
        if token["comment"] is not None:
            at = _comment_end(text, at) if dialect.nested and token["comment"] == "/*" else at
            yield _Span(token.start(), at, comment=True)
        elif token["literal"] is not None or not _may_stay(token["name"]):
            yield _Span(token.start(), at, comment=False)


def _may_stay(name: str | None) -> bool:
    return name is None or name.startswith("$") or _NAME.fullmatch(name[1:-1]) is not None


def _comment_end(text: str, at: int) -> int:
    """Where a comment ends that has begun before `at` and may hold others."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return len(text) if depth else at


def _merged(spans: list[_Span]) -> Iterator[_Span]:
    """Spans in order, those that overlap as one, which is a comment where all of them are."""
    last: _Span | None = None
    for span in spans:
        if last is None or span.start >= last.end:
            if last is not None:
                yield last
            last = span
        else:
            last = _Span(last.start, max(last.end, span.end), last.comment and span.comment)
    if last is not None:
        yield last


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


def _error(text: str, most: int) -> str:
    head, *queries = _QUERY.split(_LINES_OF_STATEMENT.sub("", text))
    line = _without_values(head)
    if len(queries) == 1:
        return f"{line}Query: '{masked(queries[0].removesuffix(_APOSTROPHE), most, 'mysql')}'"
    return f"{line}Query: '{MARK}'" if queries else line  # several: a value that looks like the end of a message


def _without_values(text: str, *, within: bool = False) -> str:
    """A message with what stands in quotes masked, unless a word before it says that it is a name.

    A message may be `within` another one: `Error '…' on query.`
    """
    if not within and (wrapped := _WRAPPED.fullmatch(text)):
        return "".join(
            (wrapped[1], _without_values(wrapped[2], within=True), wrapped[3], _without_values(wrapped[4], within=True))
        )
    text = _ROW.sub(rf"\1{MARK}\2", text)
    names = [found.span() for found in _KEPT.finditer(text)]
    at = 0
    while opening := _OPENING.search(text, at):
        start = opening.start()
        at = max((to for since, to in names if since <= start < to), default=start)
        if at == start:
            # A value may hold quotes: it ends at the last one, unless that is of a name behind it.
            ends = [found.end() for found in _CLOSING.finditer(text, start + 1)]
            if not ends:
                return f"{text[: start + 1]}{MARK}…"
            behind = _VALUED.search(text, 0, start) and _BEHIND.search(text, start + 1, ends[-1])
            end = behind.start() + 1 if behind else ends[-1]
            return f"{text[: start + 1]}{MARK}{text[end - 1 :]}"
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
