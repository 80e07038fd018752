"""What a JVM's replies to an attach mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opsdoc.clients import Live, hotspot
from opsdoc.clients.jvm import Jvm
from opsdoc.model import Denied, Malformed
from opsdoc.parsers.procfs import Stat, Status
from opsdoc.redact import Redactor

LIVE = Live(deadline=0, redactor=Redactor(), again="/opt/bin/opsdoc stack 7")


def jvm_of(euid: int) -> Jvm:
    stat = Stat(7, "java", "S", 1, 0, 0, 0, 1, 10)
    return Jvm(7, stat, Status("S", (7,), euid, euid, 0, 0), Path("/proc/7"))


def test_an_operation_that_was_done() -> None:
    assert hotspot.body(b"0\nFull thread dump", jvm_of(0), LIVE) == b"Full thread dump"
    assert hotspot.body(b"0\n", jvm_of(0), LIVE) == b""


@pytest.mark.parametrize("reply", [b"1\nunknown", b"101\n", b"0", b"\xff\n", b"-1\n", b"\n"])
def test_an_operation_that_was_not(reply: bytes) -> None:
    with pytest.raises(Malformed, match="the JVM answered"):
        hotspot.body(reply, jvm_of(0), LIVE)


@pytest.mark.parametrize(
    ("us", "euid", "hint"),
    [
        (0, 65534, "sudo -u nobody /opt/bin/opsdoc stack 7"),
        (0, 4_000_000, "sudo -u '#4000000' /opt/bin/opsdoc stack 7"),
        (0, 0, ""),  # it is ending
        (65534, 65534, ""),
    ],
)
def test_java_8_takes_requests_of_its_own_user_only(
    us: int, euid: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: us)
    with pytest.raises(Denied, match="its own user only") as caught:
        hotspot.body(b"", jvm_of(euid), LIVE)
    assert caught.value.hint == hint


def test_a_request_has_three_arguments() -> None:
    assert hotspot.request("threaddump") == b"1\0threaddump\0\0\0\0"
    assert hotspot.request("jcmd", "VM.version") == b"1\0jcmd\0VM.version\0\0\0"
