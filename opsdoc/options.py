"""Options of a probe: read from its signature, converted from text; one converter for every way in."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from opsdoc.model import UsageError


class Opt(NamedTuple):
    """What a person is told about an option; its type and default stand in the probe's signature."""

    help: str
    metavar: str | None = None
    positional: bool = False
    short: str | None = None
    group: str = "What to look at"


class Param(NamedTuple):
    """An option as every way in sees it. `required` means that the signature gives no default."""

    name: str
    type: Any
    opt: Opt
    default: Any
    required: bool

    @property
    def flag(self) -> str:
        """The option as it is typed: `--pause-budget`; `--no-frames` for a switch that is on unless told otherwise."""
        return ("--no-" if self.default is True else "--") + self.name.replace("_", "-")

    @property
    def many(self) -> bool:
        """Whether the option may be given more than once: its type is `list[T]`."""
        return get_origin(self.type) is list

    def read(self, text: str) -> Any:
        """One value of the option from text. Raises ValueError with what to write instead."""
        return convert(text, get_args(self.type)[0] if self.many else self.type)

    @property
    def metavar(self) -> str:
        """What stands for the value in help: `DURATION`, `text|json`."""
        kind = get_args(self.type)[0] if self.many else self.type
        if get_origin(kind) is Literal:
            return self.opt.metavar or "|".join(get_args(kind))
        return self.opt.metavar or _METAVARS.get(kind, kind.__name__.upper())


class Duration(float):
    """Seconds, written `500ms`, `5s`, `10m`."""


class Size(int):
    """Bytes, written `64KiB`, `8MiB`, `1GB`."""


class Ratio(float):
    """0 to 1, written `85%` or `0.85`."""


class Url(str):
    """Where a server is, perhaps with a user and a password, which whoever prints or records it does not see.

    It is a URL, or what libpq takes in its place: `host=db1 user=bob password='two words'`. A single word before the
    @ is the password where redis-cli takes it as that.
    """

    __slots__ = ()

    def __str__(self) -> str:
        text = self[:]
        if "://" not in text.partition("=")[0] and _CONNINFO.fullmatch(text):
            return _CONNINFO_PAIR.sub(_pair_masked, text)
        place, sign, query = text, "", ""
        if found := _QUERY.search(text):  # without names behind it a ? may belong to the password
            place, sign, query = text[: found.start()], "?", text[found.end() :]
        before, at, place = place.rpartition("@")
        scheme, slashes, login = before.rpartition("//")
        user, colon, _ = login.partition(":")
        masked = f"{user}:{_MASK}" if colon else login if _DATABASE.match(scheme) else _MASK
        start = f"{scheme}{slashes}{masked}@" if at else ""
        return start + place + sign + _QUERY_PAIR.sub(_pair_masked, query)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __format__(self, form: str) -> str:
        return format(str(self), form)


_MASK = "********"
_QUERY = re.compile(r"\?(?=[\w.%-]{1,64}=)")
_QUERY_PAIR = re.compile(r"([^=&]*)(=)([^&]*)")
_CONNINFO = re.compile(r"\s*[A-Za-z_]\w{0,63}\s*=.*", re.DOTALL)
# A value in quotes, which may not end, or up to a blank; a backslash takes the meaning of what follows it.
_CONNINFO_PAIR = re.compile(
    r"([^\s=]+)(\s*=\s*)((?:'(?:[^'\\]|\\.)*(?:'|\\?\Z)|[^\s\\']|\\.|\\\Z)*)", re.ASCII | re.DOTALL
)
_DATABASE = re.compile(r"(?:postgres|mysql|mariadb)", re.IGNORECASE)


def _pair_masked(pair: re.Match[str]) -> str:
    from urllib.parse import unquote

    secret = re.search(r"pass(?!file)|pwd|secret|token", unquote(pair[1]).lower())
    return pair[1] + pair[2] + (_MASK if secret and pair[3] else pair[3])


class ThreadId(int):
    """A thread id, written in decimal, or in hex as `0xb26` (also `b26`, unless it is all digits)."""


_METAVARS: dict[Any, str] = {int: "N", float: "NUMBER", str: "TEXT", ThreadId: "TID"}
_YEAR = 366 * 86400.0
# Options that several probes take, so that they are called and explained alike.
WindowLength = Annotated[Duration, Opt("time between the two samples", metavar="DURATION", group="How long")]
Rows = Annotated[int, Opt("how many rows of each kind (0 = all)", short="-n", metavar="N", group="Output")]
_GET_IN = "How to get in"
PasswordEnv = Annotated[str | None, Opt("the variable with the password", "NAME", group=_GET_IN)]
PasswordFile = Annotated[Path | None, Opt("the file with the password", "FILE", group=_GET_IN)]
TlsCa = Annotated[Path | None, Opt("the authority of the certificates", "FILE", group=_GET_IN)]
PauseBudget = Annotated[
    Duration, Opt("how long each target process may stand still for us", metavar="DURATION", group="How long")
]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip


def duration(text: str) -> Duration:
    """`500ms`, `5s`, `10m`, `2h`, `1d`; a bare `0` is allowed because it needs no unit."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)?", text.strip())
    if match is None or (match[2] is None and float(match[1]) != 0):
        raise ValueError("write a duration such as 500ms, 5s or 10m")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if seconds > _YEAR:
        raise ValueError("write a duration of at most a year")
    return Duration(seconds)


def spelled(value: Any) -> str:
    """A value as it is typed: `2s`, `85%`, `json`."""
    match value:
        case Duration() if 0 < value < 1:
            return f"{value * 1000:g}ms"
        case Duration():
            return f"{value:g}s"
        case Ratio():
            return f"{value * 100:g}%"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def size(text: str) -> Size:
    """`512`, `64KiB`, `8MiB`, `1GB`."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError("write a size such as 64KiB or 8MiB")
    return Size(float(match[1]) * _BYTES[(match[2] or "").upper()])


def ratio(text: str) -> Ratio:
    """`85%` or `0.85`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)(\s*%)?", text.strip())
    value = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if value > 1:
        raise ValueError("write a share such as 85% or 0.85")
    return Ratio(value)


def thread_id(text: str) -> ThreadId:
    """`2854`, `0xb26` or `b26`: what is all digits is decimal."""
    text = text.strip().lower()
    if re.fullmatch(r"\d{1,10}", text):
        return ThreadId(text)
    if re.fullmatch(r"(0x)?[0-9a-f]{1,8}", text):
        return ThreadId(text.removeprefix("0x"), 16)
    raise ValueError("write a thread id in decimal (2854) or hex (0xb26)")


def _whole(text: str) -> int:
    if re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII) is None:
        raise ValueError("write a whole number")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value - value != 0:
        raise ValueError("write a number")
    return value


def _true(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


_CONVERTERS: dict[Any, Callable[[str], Any]] = {
    str: str, int: _whole, float: _finite, bool: _true, Path: Path,
    Duration: duration, Size: size, Ratio: ratio, ThreadId: thread_id, Url: Url,
}  # fmt: skip


def convert(text: str, kind: Any) -> Any:
    """Text as a value of an option's type. Raises ValueError with what to write instead."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if text not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}{did_you_mean(text, choices)}")
        return text
    return _CONVERTERS[kind](text)


def params_of(function: Callable[..., Any]) -> tuple[Param, ...]:
    """The keyword-only parameters of a probe, in the order of its signature."""
    hints = typing.get_type_hints(function, include_extras=True)
    params = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        kind, opt = get_args(hints[name])[:2]
        default = None if parameter.default is parameter.empty else parameter.default
        params.append(Param(name, _bare(kind), opt, default, parameter.default is parameter.empty))
    return tuple(params)


def _bare(kind: Any) -> Any:
    """`T` of `T | None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no word of the closed set is near."""
    import difflib

    near = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _one_of(words: Iterable[str]) -> str:
    return f": it is one of {', '.join(words)}" if words else ""


def limits_from(pairs: Iterable[str], known: Iterable[str]) -> dict[str, tuple[float, float]]:
    """`signal.field=WARN:CRIT` as numbers in the field's base units; the last of a name wins. Raises UsageError."""
    names = list(known)
    limits = {}
    for pair in pairs:
        name, equals, values = pair.partition("=")
        warn, colon, crit = values.partition(":")
        if not equals or not colon:
            raise UsageError(f"bad limit '{pair}': write signal.field=WARN:CRIT, such as hot.thread_cpu=0.5:0.9")
        if name not in names:
            raise UsageError(f"bad limit '{pair}': no limit '{name}' here{did_you_mean(name, names) or _one_of(names)}")
        try:
            limits[name] = (_limit(warn), _limit(crit))
        except ValueError as error:
            raise UsageError(f"bad limit '{pair}': {error}") from None
        if limits[name][0] > limits[name][1]:
            raise UsageError(f"bad limit '{pair}': WARN is above CRIT")
    return limits


def _limit(text: str) -> float:
    for read in (float, ratio, duration, size):
        try:
            value = float(read(text))
        except ValueError:
            continue
        if 0 <= value < float("inf"):
            return value
    raise ValueError(f"'{text}' is not a number, a share, a duration or a size")
