"""Secrets that are known by their looks: tokens, URLs, private keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from opsdoc.secrets import Span, shortest
from opsdoc.secrets.flags import FLAG_IN_TEXT, TOOL_NEEDLES
from opsdoc.secrets.pairs import KEYWORDS


class Shape(NamedTuple):
    """A secret that needs no key: `pattern` finds it as group `secret`, in texts that hold `needle` (lower case)."""

    rule: str
    needle: str
    pattern: str

    def spans(self, text: str) -> Iterator[Span]:
        """Where the text holds such secrets; a branch of the pattern without the group only consumes."""
        return (found.span("secret") for found in _compiled(self.pattern).finditer(text))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: all of them together would be felt at every start."""
    return re.compile(pattern, re.ASCII)


def _token(prefix: str, rest: str) -> Shape:
    return Shape("token-prefix", prefix.lower(), rf"(?<![A-Za-z0-9])(?P<secret>{re.escape(prefix)}{rest})")


def _webhook(needle: str) -> Shape:
    return Shape("webhook-url", needle, rf"(?i){re.escape(needle)}(?P<secret>[^\s\"'<>\0]+)")


# These hold blanks or signs of pairs, so they come before the keys.
FRAMED_SHAPES = (
    Shape(
        "private-key",
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?P<secret>"
        r"[^-]{1,20000}(?:-(?!----)[^-]{0,256}){0,64}(?=-----END)"
        # Where the end was cut off, only what looks like base64 belongs to the key.
        r"|(?:(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]{20,})*(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]+)",
    ),
    # The password may hold @, : and /, but `host:8080/path@2` is a port.
    Shape(
        "url-user-info",
        "@",
        r"://[^\s:/?#\"'<>\0]{0,256}:(?!\d{2,5}(?:[/?#,\s\"'<>\0]|\Z))"
        # A query that has names ends it; everything else that stands before an @ may belong to it.
        r"(?P<secret>(?:(?!://|\?[\w.\-]{1,64}=)[^\s\"'\0]){1,2048}(?=@)|[^\s\0]{1,128}(?=@))",
    ),
    Shape("url-user-info", "@", r"https?://(?P<secret>(?=[^\s/@]{0,64}\d)[\w.~%-]{16,255})(?=@)"),
    Shape("url-user-info", "jdbc:oracle", r"jdbc:oracle:\w{1,16}:[^\s/@\"']{1,64}/(?P<secret>[^\s@\"']{1,256})(?=@)"),
    _webhook("hooks.slack.com/services/"),
    _webhook("hooks.slack.com/workflows/"),
    _webhook("hooks.slack.com/triggers/"),
    _webhook("discord.com/api/webhooks/"),
    _webhook("discordapp.com/api/webhooks/"),
    _webhook("webhook.office.com/"),
)
# These come after the keys, so that `token=…` counts once.
BARE_SHAPES = (
    Shape(
        "auth-scheme",
        "bearer",
        r"(?i)\bBearer[ \t]{1,8}(?!(?:tokens?|auth\w{0,16}|header|scheme|realm|error|is|was|not|and|or|of|for|the)\b)"
        r"(?P<secret>[^\s\"'<>,;\0]+)",
    ),
    # `Basic Authentication` is prose; the value of the scheme is base64 and hardly ever a plain word.
    Shape("auth-scheme", "basic", r"\bBasic[ \t]{1,8}(?![A-Z]?[a-z]*(?![\w+/=-]))(?P<secret>[\w+/=-]{5,})"),
    # The last branch consumes a run that is no JWT, so that it is read once.
    Shape("jwt", "eyj", r"(?P<secret>eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,3}|eyJ[\w-]{40,})|eyJ[\w-]*"),
    *(_token(f"A{kind}", r"[0-9A-Z]{12,}") for kind in ("KIA", "SIA")),  # AWS
    *(_token(f"gh{kind}_", r"[A-Za-z0-9]{16,}") for kind in "pousr"),  # GitHub
    _token("github_pat_", r"\w{16,}"),
    *(_token(f"gl{kind}-", r"[\w-]{16,}") for kind in ("pat", "dt", "rt", "ptt", "ft", "soat", "agent", "cbt", "oas")),
    _token("xox", r"[a-z]-[\w-]{8,}"),  # Slack
    _token("xapp-", r"[\w-]{8,}"),
    *(_token(f"{kind}k_{use}_", r"[A-Za-z0-9]{8,}") for kind in "sr" for use in ("live", "test")),  # Stripe
    _token("whsec_", r"[\w+/=]{16,}"),
    _token("AIza", r"[\w-]{30,}"),  # Google
    _token("ya29.", r"[\w-]{16,}"),
    _token("npm_", r"[A-Za-z0-9]{30,}"),
    _token("pypi-", r"\w{16}[\w-]*"),
    _token("dckr_pat_", r"[\w-]{16,}"),
    *(_token(f"hv{kind}.", r"[\w-]{16,}") for kind in "sbr"),  # Vault
    _token("SG.", r"[\w-]{16,64}\.[\w-]{16,}"),  # SendGrid
    _token("glsa_", r"\w{20,}"),  # Grafana
    _token("dop_v1_", r"[0-9a-f]{32,}"),  # DigitalOcean
    _token("shp", r"(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}"),  # Shopify
    _token("sk-", r"(?:ant-|proj-)?\w{20}[\w-]*"),  # Anthropic, OpenAI
    _token("hf_", r"[A-Za-z0-9]{30,}"),  # Hugging Face
    _token("AGE-SECRET-KEY-", r"1[0-9A-Z]{20,}"),
    # In a query string these are credentials, elsewhere words of every cache and log.
    Shape("query-string", "key=", r"(?i)[?&]key=(?P<secret>[^\s&#\"'<>\0]{16,})"),
    Shape("query-string", "code=", r"(?i)[?&]code=(?P<secret>[^\s&#\"'<>\0]{16,})"),
    Shape("query-string", "sig=", r"(?i)[?&]sig=(?P<secret>[^\s&#\"'<>\0]+)"),
    Shape("sql", "identified", r"(?i)\bIDENTIFIED\b[^'\"\r\n;]{1,64}['\"](?P<secret>[^'\"\r\n]+)"),
)
NEEDLES = tuple(dict.fromkeys(shape.needle for shape in (*FRAMED_SHAPES, *BARE_SHAPES)))
_HINTS = shortest(iter({*KEYWORDS, *NEEDLES}))


def may_hold_secrets(lower: str) -> bool:
    """A cheap look at a text in lower case: most hold nothing that could belong to a secret."""
    if any(map(lower.__contains__, _HINTS)):
        return True
    return FLAG_IN_TEXT.search(lower) is not None and any(map(lower.__contains__, TOOL_NEEDLES))
