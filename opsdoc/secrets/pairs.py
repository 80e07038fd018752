"""Keys with their values in any text: `k=v`, JSON, YAML, XML, headers, query strings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from opsdoc.secrets import Span, words
from opsdoc.secrets.flags import is_option
from opsdoc.secrets.keys import is_harmless, is_sensitive

KEYWORDS = (
    *("pass", "pw", "psw", "secret", "token", "key", "auth", "cred", "jwt", "bearer", "cookie", "session"),
    *("signature", "dsn"),
)
_KEY_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_KEY_REACH = 128  # how far before its keyword a key may begin
# Found in lower case, because a case-insensitive search is slow. The lookahead keeps the end of the key from being
# given back letter by letter.
_PAIR = re.compile(
    rf"(?:{'|'.join(KEYWORDS)})(?=([\w.\-\[\]]{{0,64}}))\1(?:%5d)?(?P<closed>\\{{0,3}}[\"'])?"
    r"(?P<between>[ \t]{0,8}(?::=|=>|==?|:(?!:)|%3d)[ \t]{0,8}|>|,\s{0,64}(?=\\{0,3}[\"'])|[ \t\0]{1,8})",
    re.ASCII,
)
_XML_TEXT = re.compile(r"[^<\r\n]*")
_LINE = re.compile(r"[^\r\n]*")
_QUOTE = re.compile(r"(?:[bru]{1,2}(?=[\"']))?(\\{0,3}[\"'])")
_QUOTED = {
    '"': re.compile(r'(?:[^"\\\r\n]|\\[^\r\n]|"")*'),
    "'": re.compile(r"(?:[^'\\\r\n]|\\[^\r\n]|'')*"),
}
_GLUED_ON = re.compile(r"(?:[\w\\$@%^*+!~.#/=-]|[\"'](?=\w))\S*", re.ASCII)  # a shell joins 'a'b
SCHEME = r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|ApiKey|AWS4-HMAC-SHA256)"
# A bare value goes up to a blank. After `=` another pair may follow without one: `a=1&b=2`, `a=1;b=2`; and a blank
# may belong to it: `a=two\ words`, as a shell and a DSN of PostgreSQL have it.
_BARE = re.compile(
    rf"(?:{SCHEME}[ \t]{{1,8}})?(?:[^\s\0;,]|[;,](?![\s\0]|\Z))+",
    re.ASCII | re.IGNORECASE,
)
_BARE_IN_PAIRS = re.compile(
    rf"(?:{SCHEME}[ \t]{{1,8}})?"
    r"(?:\\[ \t]|[^\s\0&;,]|[&;,](?![ \t]{0,4}[\"']?[A-Za-z_][\w.\-\[\]]{0,64}[\"']?=|[\s\0]|\Z))+",
    re.ASCII | re.IGNORECASE,
)
_JSON_BARE = re.compile(r"[^\s,}\]]+")
_STRUCTURE = re.compile(r"\{[ \t]{0,8}(?:[\"'}]|[\r\n]|\Z|[\w.\-]{1,64}[=:])", re.ASCII)
_LIST = re.compile(r"\[([^\]]{0,512})\](?=[\s,;)}\]\"']|\Z)")
_YAML_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]{0,8}\r?\n(?P<indent>[ \t]{1,64})([^\r\n]*(?:\r?\n(?P=indent)[^\r\n]*)*)")
_PORT_OR_TAG = re.compile(r"(?:\d{1,5}|v?\d+\.\d+[\w.-]{0,64}|latest)(?=[/?#:,;)\]}\"'\s]|\Z)", re.ASCII)
_VERSION = re.compile(r"\d[\w.]{0,32}(?=[\s,;\"')\]]|\Z)", re.ASCII)
_HEADERS = ("authorization", "cookie")
_DIRECTIVES = words("requirepass masterauth")  # redis.conf has no separator
_MARGIN = " \t>*#+|-"  # of a line in YAML, in a trace of `curl -v`, in a quotation
_MARGIN_REACH = 32
_CLOSERS = {")": "(", "]": "[", "}": "{", ">": "<", '"': '"', "'": "'"}
_CLOSER_REACH = 256
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def lower_case(text: str) -> str:
    """Lower case without a change of length, which a few letters would bring."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.translate(_ASCII_LOWER)


def key_spans(text: str, lower: str) -> Iterator[Span]:
    """The values of sensitive keys, from left to right."""
    at = 0
    while found := _PAIR.search(lower, at):
        at = found.end()
        span = _Pair(text, found).secret()
        if span:
            yield span
            at = max(at, span[1])


class _Pair:
    """A word that may be the key of a secret, and what stands around it."""

    def __init__(self, text: str, found: re.Match[str]) -> None:
        keyword, key_end = found.start(), found.start("closed" if found["closed"] else "between")
        near = text[max(0, keyword - _KEY_REACH) : keyword]
        self.text = text
        self.start = keyword - len(near) + len(near.rstrip(_KEY_CHARS))
        self.key = text[self.start : key_end]
        self.closed = bool(found["closed"])
        self.between = found["between"]
        self.value = found.end()
        self.before = text[self.start - 1 : self.start]

    def secret(self) -> Span | None:
        """The span of the value, if the key is sensitive and has one."""
        if not is_sensitive(self.key) or not self._binds():
            return None
        start, end = self._opened() or self._plain()
        value = self.text[start:end].strip()
        return (start, end) if value and not is_harmless(self.key, value) else None

    def _binds(self) -> bool:
        text, at, sign = self.text, self.value, self.between.strip(" \t\r\n\0")
        if not sign:
            return self._binds_by_blank()
        if sign == ">":
            return self.before == "<"
        if sign == ",":  # `["--password", "…"]`
            return self.closed and self.key.startswith("-") and not is_option(text, at + 1)
        if self.between == ":" and not self.closed:  # `/auth:1.2` is an image, `auth:8080/` a host
            return self.before != "/" and not _PORT_OR_TAG.match(text, at)
        return sign != "==" or not _VERSION.match(text, at)  # `token==1.2` is a requirement of pip

    def _binds_by_blank(self) -> bool:
        if self.key.startswith("-"):
            return not is_option(self.text, self.value)
        quoted = self.text[self.value : self.value + 1] in _QUOTED  # SQL: PASSWORD 'x'
        return self.key.lower() in _DIRECTIVES or (quoted and self.key.lower() == "password")

    def _opened(self) -> Span | None:
        """The value, if a sign of its own opens it."""
        text, at = self.text, self.value
        if self.between == ">":
            return at, _end(_XML_TEXT, text, at)
        if quote := _QUOTE.match(text, at):
            return self._quoted(quote)
        if _STRUCTURE.match(text, at):
            return at, at  # its keys speak for themselves
        if items := _LIST.match(text, at):
            return items.span(1)
        block = _YAML_BLOCK.match(text, at)
        return block.span(2) if block else None

    def _quoted(self, quote: re.Match[str]) -> Span:
        text, start, mark = self.text, quote.end(), quote[1]
        if len(mark) > 1:  # JSON in a string: \"password\": \"…\"
            line_end = _end(_LINE, text, start)
            end = text.find(mark, start, line_end)
            return start, line_end if end < 0 else end
        end = _end(_QUOTED[mark], text, start)
        glued = None if self.closed else _GLUED_ON.match(text, end + 1)
        return (quote.start(), glued.end()) if glued else (start, end)

    def _plain(self) -> Span:
        text, at = self.text, self.value
        if self.closed:
            return at, _end(_JSON_BARE, text, at)
        if self.before in _QUOTED:  # "X-Api-Key: …"
            return at, _end(_QUOTED[self.before], text, at)
        if self._reaches_line_end():
            return at, _end(_LINE, text, at)
        pairs = self.between.strip() in ("=", "==", ":=", "%3d")
        return at, self._without_closers(at, _end(_BARE_IN_PAIRS if pairs else _BARE, text, at))

    def _reaches_line_end(self) -> bool:
        colon = ":" in self.between
        if colon and self.key.lower().endswith(_HEADERS):
            return True
        if self.key.startswith("-") or not self._starts_line():
            return False
        if colon or self.between != self.between.strip():
            return True
        # `password=two words` in a properties file, but `PASSWORD=x program` and `password=x host=y`
        return not self.key.isupper() and "=" not in self.text[self.value : _end(_LINE, self.text, self.value)]

    def _starts_line(self) -> bool:
        near = self.text[max(0, self.start - _MARGIN_REACH) : self.start].rstrip(_MARGIN)
        return near.endswith(("\n", "\r")) if near else self.start <= _MARGIN_REACH

    def _without_closers(self, start: int, end: int) -> int:
        """A bracket or quote that was opened before the key is not part of the value."""
        near = self.text[max(0, self.start - _CLOSER_REACH) : self.start]
        while end > start and (opener := _CLOSERS.get(self.text[end - 1])) and opener in near:
            end -= 1
        return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
