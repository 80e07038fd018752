"""Words of an nginx configuration: times, sizes, addresses, and the targets of `proxy_pass` and its kin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_TIME = re.compile(r"(\d{1,12})(ms|[yMwdhms]?)\s*", re.ASCII)
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}
_SIZE = re.compile(r"(\d{1,18})([kKmMgG]?)", re.ASCII)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)
_LITERAL_IP = re.compile(r"\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?|\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?", re.ASCII)
_SCHEME = re.compile(r"(?:http|grpc|uwsgi|suwsgi|scgi|fastcgi|memcached)s?://", re.IGNORECASE)
_PATH = re.compile(r"[/?]|\$\{?(?:request_|document_)?uri\b")  # these variables begin with a slash
_TLS = {"https://", "grpcs://", "suwsgi://"}
PORTS = {"proxy": (80, 443), "grpc": (80, 443)}  # without and with TLS; the others have none by default


def number(text: str) -> int | None:
    """A number that is not negative; None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def seconds(text: str) -> float | None:
    """A time such as `10`, `500ms` or `1h 30m` (ngx_parse_time); None for what is none."""
    if not text or _TIME.sub("", text[:80]):
        return None
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _TIME.findall(text[:80]))


def size(text: str) -> int | None:
    """A size such as `10k`, `5m` or `1g` in bytes (ngx_parse_offset); None for what is none."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) * _BYTES[match[2].lower()] if match else None


def parameters(words: Iterable[str]) -> dict[str, str]:
    """The words of the form `key=value`."""
    return dict(word.split("=", 1) for word in words if "=" in word)


def address(text: str, port: int | None) -> str:
    """An address with the port that nginx takes where none is written."""
    if text.startswith("unix:") or port is None or re.search(r":\d*\Z", text) is not None:
        return text
    return f"{text}:{port}"


class Target(NamedTuple):
    """What a pass is to. `address` has its port; `host` is as written, and so can be the name of a group."""

    tls: bool
    host: str
    address: str
    path: str

    @property
    def varies(self) -> bool:
        """Whether only a request tells the address."""
        return "$" in self.host

    @property
    def is_literal(self) -> bool:
        """Whether nothing has to be resolved: a unix socket or an IP address."""
        return not self.varies and (self.host.startswith("unix:") or _LITERAL_IP.fullmatch(self.host) is not None)


def target(kind: str, text: str) -> Target:
    """`http://host:port/path`, `unix:/socket:/path`, `host:port`: the parts of what `KIND_pass` names."""
    scheme = _SCHEME.match(text)
    tls = scheme is not None and scheme[0].lower() in _TLS
    rest = text[scheme.end() :] if scheme else text
    if rest.startswith("unix:"):
        socket, _, path = rest.removeprefix("unix:").partition(":")
        return Target(tls, f"unix:{socket}", f"unix:{socket}", path)
    begins = _PATH.search(rest)
    end = begins.start() if begins else len(rest)
    ports = PORTS.get(kind)
    return Target(tls, rest[:end], address(rest[:end], ports[tls] if ports else None), rest[end:])


def listen(text: str) -> str:
    """Where `listen` listens: `*:80`, `127.0.0.1:8080`, `[::]:80`, `unix:/x`."""
    return f"*:{text}" if _NUMBER.fullmatch(text) else address(text, 80)
