"""Keys whose values are secrets, and values that are none whatever the key."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from opsdoc.secrets import words

SEGMENTS = words(
    """pass password passwords passwd passphrase passcode pwd pw psw secret secrets token tokens apikey auth
    authorization credential credentials cred creds jwt bearer cookie session sessionid privatekey signature
    requirepass masterauth userpass dsn keytab"""
)
# Two neighbours are secret where neither is alone; people also write them as one word.
NEIGHBOURS = {
    *(f"{kind} key" for kind in words("api access private secret account encryption license signing master shared")),
    "client secret",
    "access token",
}
GLUED = {pair.replace(" ", "") for pair in NEIGHBOURS}
SUFFIXES = ("password", "passwords", "passwd", "passphrase", "secret", "apikey", "token", "pass", "pwd")
ORDINARY_WORDS = words("bypass compass encompass surpass trespass overpass underpass")

# What stands beside a secret and is none: where it is kept, how long it lives, what checks it. After the common ones
# come those of real command lines (kube-apiserver, SSH_AUTH_SOCK, token-agent.jar=…), units (auth.service: …) and
# places in source (Token.java:12).
HARMLESS_ENDINGS = words(
    """file path dir policy enabled timeout ttl length type url uri name header endpoint expiry cache size count min max
    filename username hostname pathname dirname user host port address sock socket config conf location store class
    provider method mode plugin manager issuer audience algorithm version interval limit period ms seconds minutes
    hours days desktop service scope slice exception error jar java py go js ts rb rs kt scala"""
)
HARMLESS_VALUE = re.compile(
    r"(?:true|false|yes|no|on|off|none|null|enabled|disabled|[+-]?\d{1,6})\Z", re.ASCII | re.IGNORECASE
)
# `--auth-token simple` names a mode of etcd, not a token.
AUTH_MODES = words("simple basic digest plain ldap oauth oauth2 oidc kerberos gssapi pam mtls ntlm saml")
WORKING_DIRECTORIES = words("pwd oldpwd")

_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@lru_cache(maxsize=4096)
def is_sensitive(key: str) -> bool:
    """A value under this key is a secret. `-Ddb.keyStorePassword2` is db, key, store, password."""
    bare = key.removeprefix("-D")
    words = [word.lower() for word in _SEGMENT.findall(bare)]
    if not words or words[-1] in HARMLESS_ENDINGS:
        return False
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    return any(map(_is_secret, words)) or not NEIGHBOURS.isdisjoint(pairs)


def _is_secret(word: str) -> bool:
    return word in SEGMENTS or word in GLUED or (word.endswith(SUFFIXES) and word not in ORDINARY_WORDS)


def is_harmless(key: str, value: str) -> bool:
    """The value of a sensitive key is a switch, a small number, a mode or the working directory."""
    bare = key.lstrip("-").lower()
    if bare in WORKING_DIRECTORIES:
        return value.startswith(("/", "~"))
    return bool(HARMLESS_VALUE.match(value)) or ("auth" in bare and value.lower() in AUTH_MODES)
