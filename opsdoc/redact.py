"""Text without secrets: every string passes here before it leaves the machine.

Where secrets are is the matter of `secrets`; here they are masked and counted. Masking is idempotent and linear
in the length of its input, and it never raises: what it reads was written by others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from opsdoc.secrets import Span, flags, keys, pairs, shapes

MASK = "********"

LIMIT = 8 * 1024  # of what is returned, in bytes: a longer string is no evidence any more
READ_LIMIT = 8 * LIMIT  # of what is read, in characters; masking shortens, so it is more than LIMIT
STEP = 512  # how far back a cut looks for a blank
ROUNDS = 4  # a mask can turn what stands beside it into a pair; another round settles that
NESTED = 4  # `--env=JAVA_OPTS=-Dpassword=…`

_ASSIGNMENT = re.compile(r"(-{0,2}[A-Za-z_][\w.\-\[\]]{0,255})=", re.ASCII)
_OPTION = re.compile(r"--?[A-Za-z][\w.\-]{0,255}\Z", re.ASCII)
_SCRIPT_FLAG = re.compile(r"-[a-z]{0,8}c\Z")
_CAPPED = re.compile(r"…\[\+(\d{1,18}) bytes\]\Z", re.ASCII)


class Redactor:
    """Masks secrets and counts them by rule; it keeps no value."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command line without secrets, element by element: an element with blanks is one value."""
        command = flags.Command()
        masked: list[str] = []
        key = previous = ""
        for word in argv:
            secret = command.secret(word)
            is_value = bool(secret or (key and not flags.is_option(word)))
            if secret:
                safe = self._masked("short-flag", word, [secret])
            elif is_value:
                safe = self._masked("sensitive-key", word, _value(key, word))
            elif command.runs_shell and _SCRIPT_FLAG.match(previous):
                safe = word  # `PASSWORD=… exec app`: here the value ends before the program
            else:
                safe = self._masked("sensitive-key", word, _assigned(word))
            masked.append(self.text(safe))
            key = word if not is_value and _OPTION.match(word) and keys.is_sensitive(word) else ""
            previous = word
        return masked

    def text(self, text: str) -> str:
        """A line, a message, a URL or a document without secrets, and at most 8 KiB of it."""
        if len(text) <= LIMIT and not shapes.may_hold_secrets(text.lower()) and _size(text) <= LIMIT:
            return text
        body, omitted = _read(text)
        body = self._settled(body)
        for limit in range(LIMIT, 0, -STEP):  # a cut can make a new value, and a mask can be longer than that
            if _size(body) <= LIMIT:
                break
            kept = _shortened(body, limit)
            omitted += _size(body) - _size(kept)
            body = self._settled(kept)
        return f"{body}…[+{omitted} bytes]" if omitted else body

    def lines(self, data: bytes) -> bytes:
        """Bulk text without secrets, of any length. Latin-1 maps every byte to a character and back."""
        return self._settled(data.decode("latin-1")).encode("latin-1")

    def _settled(self, text: str) -> str:
        lower = pairs.lower_case(text)
        if not shapes.may_hold_secrets(lower):
            return text
        for _ in range(ROUNDS):
            before, text = text, self._masked_once(text, lower)
            if text == before:
                break
            lower = pairs.lower_case(text)
        return text

    def _masked_once(self, text: str, lower: str) -> str:
        present = {needle for needle in shapes.NEEDLES if needle in lower}
        text = self._shapes_masked(shapes.FRAMED_SHAPES, text, present)
        text = self._masked("short-flag", text, flags.flag_spans(text))
        text = self._masked("sensitive-key", text, pairs.key_spans(text, pairs.lower_case(text)))
        return self._shapes_masked(shapes.BARE_SHAPES, text, present)

    def _shapes_masked(self, known: Iterable[shapes.Shape], text: str, present: set[str]) -> str:
        for shape in known:
            if shape.needle in present:
                text = self._masked(shape.rule, text, shape.spans(text))
        return text

    def _masked(self, rule: str, text: str, spans: Iterable[Span]) -> str:
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


# ── elements of argv ─────────────────────────────────────────────────────────────────────────────


def _value(key: str, word: str, start: int = 0) -> list[Span]:
    return [] if keys.is_harmless(key, word[start:]) else [(start, len(word))]


def _assigned(word: str) -> list[Span]:
    """The value of `K=V` as an element of its own: it reaches to the end, blanks and all."""
    start = 0
    for _ in range(NESTED):
        key = _ASSIGNMENT.match(word, start)
        if key is None:
            break
        start = key.end()
        if keys.is_sensitive(key[1]):
            return _value(key[1], word, start)
    return []


# ── length ───────────────────────────────────────────────────────────────────────────────────────


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _last_blank(text: str) -> int:
    return max(text.rfind(blank) for blank in " \t\r\n\0")


def _read(text: str) -> tuple[str, int]:
    """What of the text is read, and how many bytes are not; a text that was cut before is known by its end.

    The last token of a cut text may be half a secret, which no pattern knows: it goes too.
    """
    capped = _CAPPED.search(text, max(0, len(text) - 32))
    body, omitted = (text[: capped.start()], int(capped[1])) if capped else (text, 0)
    if len(body) <= READ_LIMIT:
        return body, omitted
    kept = body[: _last_blank(body[:READ_LIMIT]) + 1]
    return kept, omitted + _size(body) - _size(kept)


def _shortened(text: str, limit: int) -> str:
    """At most `limit` bytes of a masked text, cut at a blank or at least not within a mask."""
    end = limit
    while (excess := _size(text[:end]) - limit) > 0:
        end -= max(1, excess // 4)  # a character has at most four bytes
    blank = _last_blank(text[:end])
    if blank > end - STEP:
        return text[:blank]
    mask = text.rfind(MASK, max(0, end - len(MASK) + 1), end + len(MASK) - 1)
    return text[:end] if mask < 0 else text[:mask]
