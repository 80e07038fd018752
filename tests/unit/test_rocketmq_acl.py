"""Credentials of RocketMQ: read from files of several kinds, signed with, and never shown."""

from __future__ import annotations

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers.rocketmq_acl import Credentials, credentials, signed

PLAIN_ACL = """\
globalWhiteRemoteAddresses:
- 10.10.103.*

accounts:
- accessKey: RocketMQ
  secretKey: '12345678#a'   # change me
  whiteRemoteAddress:
  admin: false
- accessKey: rocketmq2
  secretKey: 87654321
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN_ACL, ("RocketMQ", "12345678#a", "")),
        ("accessKey: rocketmq2\r\nsecretKey: 12345678\r\n", ("rocketmq2", "12345678", "")),
        ("rocketmq.client.accessKey=a\nrocketmq.client.secretKey = b=c:d # x\n", ("a", "b=c:d", "")),
        ('rocketmq:\n  consumer:\n    access-key: a\n    secret-key: "b c"\n', ("a", "b c", "")),
        ("secretKey: b\naccessKey: a\nsecurityToken: t\n", ("a", "b", "t")),
        ("# accessKey: no\naccessKey: half\naccessKey: a\nsecretKey: b\n", ("a", "b", "")),
    ],
)
def test_files_they_stand_in(text, expected):
    assert tuple(credentials(text)) == expected


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "no accessKey and no secretKey"),
        ("accessKey: a", "no secretKey"),
        ("secretKey: hush\naccessKey:\n", "no accessKey"),
        ("accessKey: a\nsecretKey: ''", "no secretKey"),
        ("\0" * 1000 + " " * 100_000 + "accessKey", "no accessKey and no secretKey"),
    ],
)
def test_files_in_which_one_is_missing(text, missing):
    with pytest.raises(Malformed, match=f"^{missing} in the file$") as caught:
        credentials(text)
    assert "hush" not in caught.value.hint


def test_no_text_of_it_shows_a_secret():
    one = Credentials("the-user", "the-secret", "the-token")
    for text in (repr(one), str(one), f"{one}", f"{(one,)}"):
        assert "the-" not in text


def test_the_signature():
    """The value was made with openssl: printf 'aT1body' | openssl dgst -sha1 -hmac s -binary | base64."""
    fields = signed({"topic": "T1"}, b"body", Credentials("a", "s"))
    assert fields == {"topic": "T1", "AccessKey": "a", "Signature": "zavfXrqCUh/vIBqDRKTVTYRc1Dw="}


def test_all_fields_are_signed_by_name_and_the_token_too():
    plain = signed({"b": "1", "a": "2"}, b"", Credentials("a", "s"))
    assert plain["Signature"] == signed({"a": "2", "b": "1"}, b"", Credentials("a", "s"))["Signature"]
    with_token = signed({"b": "1", "a": "2"}, b"", Credentials("a", "s", "t"))
    assert with_token["SecurityToken"] == "t"
    assert with_token["Signature"] != plain["Signature"]
    assert signed({"a": "\udcff"}, b"", Credentials("a", "s"))["Signature"]
