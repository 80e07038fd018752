"""Who asks RocketMQ: an access key with its secret, the signature made of them, and the files they stand in.

The signature is that of AclClientRPCHook (4.x), which 5.x takes too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import NamedTuple

from opsdoc.model import Malformed

# `accessKey: a` in plain_acl.yml and tools.yml, `rocketmq.client.accessKey=a` in properties, `access-key` in Spring's.
_LINE = re.compile(r"[ \t]*(?:-[ \t]+)?([\w.\-]{1,200})[ \t]*[:=][ \t]*(.*)", re.ASCII)


class Credentials(NamedTuple):
    """What requests are signed with. No text of it shows a secret."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


def signed(fields: Mapping[str, str], body: bytes, credentials: Credentials) -> dict[str, str]:
    """The fields of a request, with the access key and the signature over all of them and the body."""
    whole = {**fields, "AccessKey": credentials.access_key}
    if credentials.token:
        whole["SecurityToken"] = credentials.token
    content = "".join(whole[name] for name in sorted(whole)).encode("utf-8", "replace") + body
    digest = hmac.new(credentials.secret_key.encode("utf-8", "replace"), content, hashlib.sha1).digest()
    return {**whole, "Signature": base64.b64encode(digest).decode()}


def credentials(text: str) -> Credentials:
    """The first access key in a file with its secret: plain_acl.yml, tools.yml, or properties of a client.

    Raises Malformed, which shows nothing of the file, where one of the two is missing.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name = re.sub(r"[-_]", "", match[1].rpartition(".")[2]).lower()
        if name not in ("accesskey", "secretkey", "securitytoken"):
            continue
        if name in found:  # the next account
            if "accesskey" in found and "secretkey" in found:
                break
            found.clear()
        found[name] = _value(match[2])
    missing = [word for word in ("accessKey", "secretKey") if not found.get(word.lower())]
    if missing:
        raise Malformed(
            f"no {' and no '.join(missing)} in the file", "write the lines `accessKey: …` and `secretKey: …`"
        )
    return Credentials(found["accesskey"], found["secretkey"], found.get("securitytoken", ""))


def _value(text: str) -> str:
    """A value without its quotes, or without the comment behind it."""
    text = text.strip()
    if text[:1] in ('"', "'"):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text
    return re.split(r"[ \t]#", text, maxsplit=1)[0].strip()
