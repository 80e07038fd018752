"""Parsers of cgroups and of the kernel's counters are total: a value or Malformed for any text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.model import Malformed
from opsdoc.parsers import cgroup, vmstat

frugal = settings(max_examples=200, deadline=None)

CGROUP = "4:memory:/a:b\n2:cpu,cpuacct:/docker/" + "a" * 64 + "\n0::/kubepods/pod12345678/x.scope (deleted)\n"
MOUNTS = "32 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n41 31 0:38 / /a\\040b rw - cgroup2 c rw\n"
STAT = "nr_periods 10\nnr_throttled 9\nthrottled_usec 700\n"
VMSTAT = "pswpin 5\nallocstall_normal 7\nallocstall_movable 9\npgscan_direct 3\npgscan_direct_throttle 9\n"
SOFTIRQS = "                    CPU0       CPU1\n          HI:          0          0\n      NET_RX:      1      2\n"
PRESSURE = "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\n"
PARSERS = (
    cgroup.parse_membership,
    cgroup.parse_mounts,
    cgroup.parse_counters,
    cgroup.parse_limit,
    cgroup.container_of,
    cgroup.name_of,
    vmstat.wanted,
    vmstat.compact,
    vmstat.parse_vmstat,
    vmstat.parse_softirqs,
    vmstat.parse_stalled,
)
WORDS = st.sampled_from(
    [
        "",
        " ",
        "\n",
        ":",
        "/",
        "..",
        "\\777",
        "\0",
        "9" * 5000,
        "-1",
        "٣",
        "²",
        "CPU",
        "\x0b",
        "\u2028",
        "\ud800",
        "lxc/",
    ]
)
names = st.text(st.characters(exclude_characters="\n", exclude_categories=[]), min_size=1, max_size=20)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted([draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))])
        text = text[:at] + draw(WORDS) + text[draw(st.sampled_from([at, to])) :]
    return text


def total(parse: Callable[..., Any], *data: str) -> None:
    with contextlib.suppress(Malformed):
        parse(*data)


@frugal
@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.text(max_size=30))
def test_any_text(text: str, other: str) -> None:
    for parse in PARSERS:
        total(parse, text)
    total(cgroup.parse_quota, text, other)
    total(cgroup.folders_below, other, text)


@frugal
@given(st.sampled_from([CGROUP, MOUNTS, STAT, VMSTAT, SOFTIRQS, PRESSURE]).flatmap(damaged))
def test_damaged_text(text: str) -> None:
    for parse in PARSERS:
        total(parse, text)


@frugal
@given(st.lists(names.filter(lambda name: name not in (".", "..")).map(lambda name: name.replace("/", "_"))))
def test_a_name_moves_no_field_and_never_leads_up(parts: list[str]) -> None:
    """Whatever a cgroup is called, its path comes back whole, and only its own folders are opened."""
    path = "/" + "/".join(parts)
    assert cgroup.parse_membership(f"2:cpu:{path}\n0::/\n") == [(("cpu",), path), ((), "/")]
    below = cgroup.folders_below("/", path)
    assert below == [part for part in parts if part not in (".", "..")] or below is None
    assert cgroup.name_of(path)


@frugal
@given(st.dictionaries(st.integers(0, 999), st.lists(st.integers(0, 10**18), min_size=3, max_size=3), min_size=1))
def test_softirqs_are_told_by_cpu(counts: dict[int, list[int]]) -> None:
    head = " ".join(f"CPU{cpu}" for cpu in counts)
    kinds = ("TIMER", "NET_RX", "BLOCK")
    rows = [f"{kind}: " + " ".join(str(row[n]) for row in counts.values()) for n, kind in enumerate(kinds)]
    parsed = vmstat.parse_softirqs("\n".join([head, *rows]))
    assert parsed == {cpu: dict(zip(kinds, row, strict=True)) for cpu, row in counts.items()}
