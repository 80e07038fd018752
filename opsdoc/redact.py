"""Text without secrets: every string passes here before it leaves the machine.

The rules are the tables of `secret_shapes`; this module walks argv and text with them. Masking is idempotent and linear
in the length of its input, and it never raises: what it reads was written by others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from opsdoc import secret_shapes as shapes

MASK = "********"

LIMIT = 8 * 1024  # of what is returned, in bytes: a longer string is no evidence any more
READ_LIMIT = 8 * LIMIT  # of what is read, in characters; masking shortens, so it is more than LIMIT
ROUNDS = 4  # a mask can turn what stands beside it into a pair; another round settles that

Span = tuple[int, int]

# ── patterns ─────────────────────────────────────────────────────────────────────────────────────

_KEYWORD = r"(?:pass|pw|psw|secret|token|key|auth|cred|jwt|bearer|cookie|session|sig|dsn|masterauth)"
_KEY_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_KEY_REACH = 128  # how far before its keyword a key may begin
# Found in lower case: a case-insensitive search is five times slower.
_PAIR = re.compile(
    _KEYWORD + r"[\w.\-\[\]]{0,64}(?:%5d)?(?P<closed>\\{0,3}[\"'])?"
    r"(?P<between>[ \t]{0,8}(?::=|=>|==?|:(?!:)|%3d)[ \t]{0,8}|>|[ \t\0]{1,8})",
    re.ASCII,
)
_HINT = re.compile("|".join([_KEYWORD, *map(re.escape, [*shapes.NEEDLES, *shapes.TOOLS, "docker", "podman"])]))
_ASSIGNMENT = re.compile(r"(-{0,2}[A-Za-z_][\w.\-\[\]]{0,255})=(.*)", re.ASCII | re.DOTALL)
_NESTED = 4  # `--env=JAVA_OPTS=-Dpassword=…`
_OPTION = re.compile(r"--?[A-Za-z][\w.\-]{0,255}\Z", re.ASCII)
_NO_VALUE = re.compile(r"(?:--[a-z][a-z0-9-]{0,255}(?:=|[\s\0]|\Z)|-[A-Za-z](?:[\s\0]|\Z))")
_SCRIPT_FLAG = re.compile(r"-[a-z]{0,8}c\Z")

_LINE = re.compile(r"[^\r\n]*")
_QUOTE = re.compile(r"(?:[bru]{1,2}(?=[\"']))?(\\{0,3}[\"'])")
_QUOTED = {
    '"': re.compile(r'(?:[^"\\\r\n]|\\[^\r\n]|"")*'),
    "'": re.compile(r"(?:[^'\\\r\n]|\\[^\r\n]|'')*"),
}
_GLUED_ON = re.compile(r"(?:[\w\\$@%^*+!~.#/=-]|[\"'](?=\w))\S*", re.ASCII)  # a shell joins 'a'b
# A bare value goes up to a blank, or to a separator before the next pair: `a=1&b=2`, `a=1, b=2`.
_BARE = re.compile(
    rf"(?:{shapes.SCHEME}[ \t]{{1,8}})?"
    r"(?:[^\s\0&;,]|[&;,](?![ \t]{0,4}[\"']?[\w.\-\[\]]{1,64}[\"']?[=:]|[\s\0]|\Z))+",
    re.ASCII | re.IGNORECASE,
)
_JSON_BARE = re.compile(r"[^\s,}\]]+")
_STRUCTURE = re.compile(r"\{[ \t]{0,8}(?:[\"'}]|[\r\n]|\Z|[\w.\-]{1,64}[=:])", re.ASCII)
_LIST = re.compile(r"\[([^\]]{0,512})\](?=[\s,;)}\]\"']|\Z)")
_YAML_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]{0,8}\r?\n(([ \t]{1,64})[^\r\n]*(?:\r?\n\2[^\r\n]*)*)")
_PORT_OR_TAG = re.compile(r"(?:\d{1,5}|v?\d+\.\d+[\w.-]{0,64}|latest)(?=[/?#:,;)\]}\"'\s]|\Z)", re.ASCII)
_VERSION = re.compile(r"\d[\w.]{0,32}(?=[\s,;\"')\]]|\Z)", re.ASCII)
_HEADERS = ("authorization", "cookie")
_DIRECTIVES = frozenset({"requirepass", "masterauth"})  # redis.conf has no separator
_MARGIN = " \t>*#+|-"  # of a line in YAML, a trace of `curl -v`, a quotation
_MARGIN_REACH = 32
_CLOSERS = {")": "(", "]": "[", "}": "{", ">": "<", '"': '"', "'": "'"}
_CLOSER_REACH = 256

_TOOL = re.compile(rf"(?:{'|'.join(map(re.escape, [*shapes.TOOLS, *sorted(shapes.LOGIN_TOOLS)]))})(?=[ \t\0])")
_SHELL_WORD = re.compile(
    r"(?P<word>(?:\"(?:[^\"\\\r\n]|\\[^\r\n])*\"|'[^'\r\n]*'|\\[^\r\n]|[^\s\0\"'\\;|&]|[\"'\\])+)|(?P<end>[;|&\r\n])|[\s\0]"
)
_CLUSTER = re.compile(r"-[A-Za-z#0]{2,9}\Z")
_COMMAND_WORDS = 1024
_STEP = 512
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_CAPPED = re.compile(r"…\[\+(\d{1,18}) bytes\]\Z", re.ASCII)


# ── the redactor ─────────────────────────────────────────────────────────────────────────────────


class Redactor:
    """Masks secrets and counts them by rule; it keeps no value."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command line without secrets, element by element: an element with blanks is one value."""
        command = _Command()
        masked: list[str] = []
        key = previous = ""
        for word in argv:
            secret = command.secret(word)
            if secret:
                word_masked = self._cut_out("short-flag", word, [secret])
            elif key and not _NO_VALUE.match(word):
                word_masked = self._cut_out("sensitive-key", word, _whole(key, word))
            elif command.runs_shell and _SCRIPT_FLAG.match(previous):
                word_masked = word  # `PASSWORD=… exec app`: the value ends before the program
            else:
                word_masked = self._assignment(word)
            masked.append(self.text(word_masked))
            key = word if _OPTION.match(word) and word_masked is word and shapes.is_sensitive(word) else ""
            previous = word
        return masked

    def text(self, text: str) -> str:
        """A line, a message, a URL or a document without secrets, at most 8 KiB of it."""
        if len(text) <= LIMIT and not _HINT.search(text.lower()) and _size(text) <= LIMIT:
            return text
        body, omitted = _read(text)
        body = self._mask(body)
        for limit in range(LIMIT, 0, -_STEP):  # a cut can make a new value that a mask makes longer
            if _size(body) <= LIMIT:
                break
            kept = _shortened(body, limit)
            omitted += _size(body) - _size(kept)
            body = self._mask(kept)
        return f"{body}…[+{omitted} bytes]" if omitted else body

    def lines(self, data: bytes) -> bytes:
        """Bulk text without secrets, of any length. Latin-1 maps every byte to one character and back."""
        return self._mask(data.decode("latin-1")).encode("latin-1")

    def _mask(self, text: str) -> str:
        for _ in range(ROUNDS):
            before = text
            text = self._masked_once(text)
            if text == before:
                break
        return text

    def _masked_once(self, text: str) -> str:
        lower = _lower(text)
        if not _HINT.search(lower):
            return text
        present = {needle for needle in shapes.NEEDLES if needle in lower}
        text = self._shapes(shapes.SHAPES, text, present)
        text = self._cut_out("short-flag", text, _flag_spans(text))
        text = self._cut_out("sensitive-key", text, _pair_spans(text))
        return self._shapes(shapes.BARE_SHAPES, text, present)

    def _shapes(self, known: Sequence[shapes.Shape], text: str, present: set[str]) -> str:
        for shape in known:
            if shape.needle in present:
                text = self._cut_out(shape.rule, text, (m.span("secret") for m in shape.pattern.finditer(text)))
        return text

    def _assignment(self, word: str) -> str:
        """`K=V` as a whole element: the value reaches to its end, blanks and all."""
        start = 0
        for _ in range(_NESTED):
            pair = _ASSIGNMENT.match(word, start)
            if pair is None:
                return word
            if shapes.is_sensitive(pair[1]):
                return self._cut_out("sensitive-key", word, _whole(pair[1], word, pair.start(2)))
            start = pair.start(2)
        return word

    def _cut_out(self, rule: str, text: str, spans: Iterable[Span]) -> str:
        """The text with a mask for each span; what is masked already stays and does not count."""
        parts: list[str] = []
        at = 0
        for start, end in spans:
            if start < end and not text.startswith(MASK, start):
                parts += (text[at:start], MASK)
                at = end
        if not parts:
            return text
        self.counts[rule] = self.counts.get(rule, 0) + len(parts) // 2
        return "".join((*parts, text[at:]))


# ── length ───────────────────────────────────────────────────────────────────────────────────────


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _read(text: str) -> tuple[str, int]:
    """What of the text is read, and how many bytes are not; a text that was cut before is known by its end.

    The last token of a cut text may be half a secret, which no pattern knows: it goes too.
    """
    capped = _CAPPED.search(text, max(0, len(text) - 32))
    body, omitted = (text[: capped.start()], int(capped[1])) if capped else (text, 0)
    if len(body) <= READ_LIMIT:
        return body, omitted
    head = body[:READ_LIMIT]
    kept = head[: _last_blank(head) + 1]
    return kept, omitted + _size(body) - _size(kept)


def _shortened(text: str, limit: int) -> str:
    """At most `limit` bytes of a masked text, cut at a blank or at least not within a mask."""
    end = limit
    while (excess := _size(text[:end]) - limit) > 0:
        end -= max(1, excess // 4)  # a character has at most four bytes
    blank = _last_blank(text[:end])
    if blank > end - _STEP:
        return text[:blank]
    mask = text.rfind(MASK, end - len(MASK) + 1, end + len(MASK) - 1)
    return text[:end] if mask < 0 else text[:mask]


def _last_blank(text: str) -> int:
    return max(text.rfind(blank) for blank in " \t\r\n\0")


def _lower(text: str) -> str:
    """Lower case without a change of length, which a few letters would bring."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.translate(_ASCII_LOWER)


# ── keys and values in text ──────────────────────────────────────────────────────────────────────


def _whole(key: str, word: str, start: int = 0) -> list[Span]:
    return [] if shapes.is_harmless(key, word[start:]) else [(start, len(word))]


def _pair_spans(text: str) -> Iterator[Span]:
    """The values of sensitive keys, from left to right."""
    lower, at = _lower(text), 0
    while pair := _PAIR.search(lower, at):
        at = pair.end()
        span = _Pair(text, pair).secret()
        if span:
            yield span
            at = max(at, span[1])


class _Pair:
    """A word that may be a secret's key, and what stands around it."""

    def __init__(self, text: str, found: re.Match[str]) -> None:
        near = text[max(0, found.start() - _KEY_REACH) : found.start()]
        self.text = text
        self.start = found.start() - len(near) + len(near.rstrip(_KEY_CHARS))
        self.key = text[self.start : found.start("closed" if found["closed"] else "between")]
        self.closed = bool(found["closed"])
        self.between = found["between"]
        self.value = found.end()
        self.before = text[self.start - 1 : self.start]

    def secret(self) -> Span | None:
        if not shapes.is_sensitive(self.key) or not self._binds():
            return None
        start, end = self._extent()
        value = self.text[start:end].strip()
        return None if not value or shapes.is_harmless(self.key, value) else (start, end)

    def _binds(self) -> bool:
        """Does the key have a value at all?"""
        text, at = self.text, self.value
        if self.between == ">":
            return self.before == "<"
        if not self.between.strip(" \t\0"):
            return self._binds_by_blank()
        if self.between == ":" and not self.closed:  # `/auth:1.2` is an image, `auth:8080/` a host
            return self.before != "/" and not _PORT_OR_TAG.match(text, at)
        return self.between != "==" or not _VERSION.match(text, at)  # `token==1.2` is a requirement of pip

    def _binds_by_blank(self) -> bool:
        if self.key.startswith("-"):
            return not _NO_VALUE.match(self.text, self.value)
        quoted = self.text[self.value : self.value + 1] in ("'", '"')  # SQL: PASSWORD 'x'
        return self.key.lower() in _DIRECTIVES or (quoted and self.key.lower() == "password")

    def _extent(self) -> Span:
        text, at = self.text, self.value
        if self.between == ">":
            return at, text.find("<", at) if "<" in text[at:] else len(text)
        if quote := _QUOTE.match(text, at):
            return self._quoted(quote)
        if _STRUCTURE.match(text, at):
            return at, at
        if items := _LIST.match(text, at):
            return items.span(1)
        if block := _YAML_BLOCK.match(text, at):
            return block.span(1)
        if self.closed:
            return at, _end(_JSON_BARE, text, at)
        if self.before in _QUOTED:
            return at, _end(_QUOTED[self.before], text, at)
        if self._reaches_to_line_end():
            return at, _end(_LINE, text, at)
        return at, self._without_closers(at, _end(_BARE, text, at))

    def _quoted(self, quote: re.Match[str]) -> Span:
        text, start, mark = self.text, quote.end(), quote[1]
        if len(mark) > 1:  # JSON within a string: \"password\": \"…\"
            line_end = _end(_LINE, text, start)
            end = text.find(mark, start, line_end)
            return start, line_end if end < 0 else end
        end = _end(_QUOTED[mark], text, start)
        glued = None if self.closed else _GLUED_ON.match(text, end + 1)
        return (quote.start(), glued.end()) if glued else (start, end)

    def _reaches_to_line_end(self) -> bool:
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
        while end > start and _CLOSERS.get(self.text[end - 1], "\n") in near:
            end -= 1
        return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


# ── flags of tools ───────────────────────────────────────────────────────────────────────────────


class _Command:
    """Follows a command line word by word: which tool reads the flags, and which word is its secret?

    Wrappers (sudo, env, timeout, docker exec) need no knowledge: the last tool named reads what follows.
    """

    def __init__(self, previous: str = "") -> None:
        self.runs_shell = False
        self._previous = previous
        self._flags = shapes.NO_FLAGS
        self._may_log_in = False
        self._due = ""  # the field of `Flags` that the next word belongs to

    def secret(self, word: str) -> Span | None:
        """The span of the word that is secret."""
        due, self._due = self._due, ""
        previous, self._previous = self._previous, word
        if due and not _NO_VALUE.match(word):
            return _password(word, 0, self._flags.separator) if due == "login" else (0, len(word))
        if word.startswith("-"):
            return self._flag(word)
        if previous not in shapes.NAMING_OPTIONS:
            self._tool(word.rpartition("/")[2])
        return None

    def _tool(self, name: str) -> None:
        self.runs_shell = self.runs_shell or name in shapes.SHELLS
        if name in shapes.TOOLS:
            self._flags = shapes.TOOLS[name]
        elif name in shapes.LOGIN_TOOLS:
            self._flags, self._may_log_in = shapes.NO_FLAGS, True
        elif name == "login" and self._may_log_in:
            self._flags = shapes.LOGIN_FLAGS

    def _flag(self, word: str) -> Span | None:
        flags, letter = self._flags, word[1:2]
        option, equals, _ = word.partition("=")
        if option in flags.login_options:
            if equals:
                return _password(word, len(option) + 1, flags.separator)
            self._due = "login"
        elif len(word) == 2:
            self._due = "login" if letter in flags.login else "whole" if letter in flags.whole + flags.alone else ""
        elif letter and letter in flags.whole + flags.glued:
            return 2, len(word)
        elif letter and letter in flags.login:
            return _password(word, 2, flags.separator)
        elif flags.login and _CLUSTER.match(word) and word[-1] in flags.login:  # `curl -sSu user:…`
            self._due = "login"
        return None


def _password(word: str, start: int, separator: str) -> Span | None:
    """The password of `user:password`; of `key:` the key, for it is what logs in."""
    at = word.find(separator, start)
    if at < 0:
        return None
    return (at + 1, len(word)) if at + 1 < len(word) else (start, at)


def _flag_spans(text: str) -> Iterator[Span]:
    """The secrets of tools whose command lines are quoted in the text."""
    at = 0
    while tool := _TOOL.search(text, at):
        at = tool.end()
        if text[tool.start() - 1 : tool.start()].isalnum():
            continue
        before = text[max(0, tool.start() - _KEY_REACH) : tool.start()].split()
        command = _Command(before[-1] if before else "")
        for word in islice(_SHELL_WORD.finditer(text, tool.start()), _COMMAND_WORDS):
            at = word.end()
            if word["end"]:
                break
            if word["word"]:
                start, end = _unquoted(text, *word.span())
                secret = command.secret(text[start:end])
                if secret:
                    yield start + secret[0], start + secret[1]


def _unquoted(text: str, start: int, end: int) -> Span:
    if text[end - 1] in _QUOTED and text.count(text[end - 1], start, end) % 2:
        return start, end - 1  # it closes a quotation around the command
    if end - start > 1 and text[start] == text[end - 1] and text[start] in _QUOTED:
        return start + 1, end - 1
    return start, end
