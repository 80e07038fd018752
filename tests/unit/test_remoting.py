"""Frames of RocketMQ: there and back with both kinds of header, and refused where they lie."""

from __future__ import annotations

import struct

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers.remoting import MAX_FRAME, Command, decode, encode, length

# As a 4.9.3 name server sent it, but for a shorter body.
HEADER = b'{"code":0,"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":399}'
FULL = Command(
    code=17, opaque=2**31 - 1, fields={"topic": "%DLQ%g", "é": ""}, body=b"\0\xff", flag=1, version=399, remark="no ★"
)


def framed(header, body=b"", kind=0, claims=None):
    """A frame without its length, with a header that claims to be so long."""
    return struct.pack(">I", kind << 24 | (len(header) if claims is None else claims)) + header + body


def binary(code=0, opaque=7, remark=b"", fields=b"", remark_size=None, fields_size=None):
    sizes = [len(remark) if remark_size is None else remark_size, len(fields) if fields_size is None else fields_size]
    return (
        struct.pack(">hbhii", code, 0, 399, opaque, 1)
        + struct.pack(">i", sizes[0])
        + remark
        + struct.pack(">i", sizes[1])
        + fields
    )


@pytest.mark.parametrize("is_binary", [False, True])
@pytest.mark.parametrize("command", [FULL, Command(code=106, opaque=1)])
def test_there_and_back(command, is_binary):
    frame = encode(command, binary=is_binary)
    assert length(frame[:4]) == len(frame) - 4
    assert decode(frame[4:]) == command._replace(fields=dict(command.fields))
    assert decode(frame[4:]).is_reply == (command is FULL)


def test_a_request_as_it_goes_out():
    frame = encode(Command(code=105, opaque=3, fields={"topic": "T1"}))
    assert frame[4:8] == struct.pack(">I", len(frame) - 8), "JSON, and its length"
    assert frame[8:] == (
        b'{"code": 105, "language": "PYTHON", "version": 401, "opaque": 3, "flag": 0, '
        b'"extFields": {"topic": "T1"}, "serializeTypeCurrentRPC": "JSON"}'
    )


def test_a_reply_as_it_comes():
    reply = decode(framed(HEADER, b"body"))
    assert reply == Command(code=0, opaque=7, fields={}, body=b"body", flag=1, version=399)


def test_fields_are_text_whatever_a_server_writes():
    header = b'{"code":0,"opaque":1,"flag":1,"extFields":{"a":1,"b":null,"c":true,"d":"x"},"remark":null}'
    assert decode(framed(header)).fields == {"a": "1", "c": "true", "d": "x"}


def test_a_binary_reply():
    fields = b"\0\x06offset" + b"\0\0\0\x0242"
    reply = decode(framed(binary(22, 9, b"not found", fields), b"x", kind=1))
    assert reply == Command(22, 9, {"offset": "42"}, b"x", 1, 399, "not found")
    assert decode(framed(binary(remark_size=-1, fields_size=-1), kind=1)).remark is None


@pytest.mark.parametrize(
    "prefix",
    [b"", b"\0\0\0", b"\0\0\0\0", b"\0\0\0\3", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"HTTP", b"\x15\x03\x03\0"],
)
def test_no_frame_begins_so(prefix):
    with pytest.raises(Malformed, match="not a frame of RocketMQ"):
        length(prefix)


def test_the_longest_frame():
    assert length(struct.pack(">I", MAX_FRAME)) == MAX_FRAME
    with pytest.raises(Malformed, match="claims 67108865 bytes"):
        length(struct.pack(">I", MAX_FRAME + 1))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "0 bytes has no header"),
        (b"\0\0\0", "3 bytes has no header"),
        (b"\0\0\0\0", "not JSON"),
        (framed(HEADER, claims=len(HEADER) + 1), "a header of 96 bytes in a frame of 99"),
        (framed(HEADER, claims=0xFFFFFF), "a header of 16777215 bytes"),
        (framed(HEADER, claims=len(HEADER) - 1), "not JSON"),
        (framed(b"[]"), "not an object"),
        (framed(b'{"code":0,"flag":1}'), "whose opaque is None"),
        (framed(b'{"opaque":0,"code":true,"flag":1}'), "whose code is True"),
        (framed(b'{"opaque":0,"code":"0","flag":1}'), "whose code is '0'"),
        (framed(b'{"opaque":99999999999,"code":0,"flag":1}'), "whose opaque is 99999999999"),
        (framed(b'{"opaque":1,"code":0,"flag":1,"extFields":[1]}'), "whose fields are none"),
        (framed(HEADER, kind=2), "kind 2"),
        (framed(HEADER, kind=1), "ends early"),
        (framed(b"", kind=1), "ends early"),
        (framed(binary(remark=b"abc", remark_size=2**31 - 1), kind=1), "ends early"),
        (framed(binary(fields=b"abc", fields_size=4), kind=1), "ends early"),
        (framed(binary(fields=b"\0\x04off"), kind=1), "ends early"),
        (framed(binary(fields=b"\0\x01k" + b"\x7f\xff\xff\xff"), kind=1), "ends early"),
        (framed(binary(fields=b"\0\x01k"), kind=1), "ends early"),
    ],
)
def test_headers_that_lie(frame, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(frame)
    assert len(caught.value.detail) < 250
