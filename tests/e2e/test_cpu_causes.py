"""Causes of slowness that are no code: a quota, soft interrupts on one CPU, a memory limit."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from servers import cgroups, programs
from servers.cli import CALM

from opsdoc.parsers.vmstat import parse_stalled

LIMITED = 64 << 20  # bytes
FILE = 160 << 20


QUOTA = 0.05  # cores: so little that even a crowded machine would give more


@pytest.fixture
def throttled():
    """A program with one hot thread that may use a twentieth of a core; facts: group."""
    with (
        cgroups.group(cores=QUOTA) as group,
        cgroups.program_in(group, programs.python, "hot_one", 3, 5) as program,
        program.hot(),
    ):
        before = group.stat["nr_throttled"]
        programs.wait_until(lambda: group.stat["nr_throttled"] > before + 2, "the program to be throttled")
        program.facts["group"] = group
        yield program


def test_a_throttled_program_is_told_to_be_at_its_quota(opsdoc, throttled):
    """The machine may be half idle, the program looks lukewarm, and no stack would tell: the quota is the cause."""
    run = opsdoc.json("cpu", "--pid", throttled.pid, *CALM, "--limit", "hot.thread_cpu=9:9")
    group = throttled.facts["group"]
    assert run.of("quota"), run.unseen
    (quota,) = run.of("quota")
    assert quota["path"] == quota["level"] == group.path
    assert quota["folder"] == str(group.folder)
    assert quota["pids"] == [throttled.pid]
    assert quota["quota"] == QUOTA
    assert quota["throttled"] > 0.5
    assert 0.02 < quota["used"] < 0.15
    assert quota["throttled_seconds"] > 0.2
    finding = run.finding("cpu.throttled")
    assert finding["severity"] == "critical"
    assert finding["threshold"]["name"] == "quota.throttled"
    assert f"hot_one.py (pid {throttled.pid})" in finding["summary"]
    assert "% of the periods: it may use 0.05 cores" in finding["summary"]
    assert quota["id"] in finding["evidence"]
    assert finding["by_hand"] == [f"cat {group.folder}/cpu.stat; sleep 5; cat {group.folder}/cpu.stat"]
    assert run.report["summary"] == finding["summary"]


def test_the_quota_of_an_ancestor_is_named(opsdoc):
    with (
        cgroups.group(cores=QUOTA) as pod,
        cgroups.group(parent=pod, name="web") as group,
        cgroups.program_in(group, programs.python, "hot_one", 3, 5) as program,
        program.hot(),
    ):
        run = opsdoc.json("cpu", "--pid", program.pid, *CALM, "--limit", "hot.thread_cpu=9:9")
        (quota,) = run.of("quota")
        assert (quota["path"], quota["level"]) == (group.path, pod.path)
        assert f"the quota of {pod.path}" in run.finding("cpu.throttled")["summary"]


def test_a_quota_that_is_not_reached_is_ruled_out(opsdoc):
    with (
        cgroups.group(cores=1.5) as group,
        cgroups.program_in(group, programs.python, "hot_one", 3, 5) as program,
        program.hot(),
    ):
        run = opsdoc.json("cpu", "--pid", program.pid, *CALM, "--limit", "hot.thread_cpu=0.02:0.03")
        ok = [finding for finding in run.findings if finding["rule"] == "cpu.throttled"]
        assert [finding["severity"] for finding in ok] == ["ok"]
        assert "of the 1.50 cores that it may" in ok[0]["summary"]
        assert "cpu.throttled" in run.findings[0]["ruled_out"]


@pytest.mark.box
def test_soft_interrupts_on_one_cpu_are_named_by_their_kind(opsdoc, start):
    """Packets over the loopback are received by the CPU that sends them."""
    with start(programs.python, "udp_flood").hot() as flood:
        run = opsdoc.json("top", "--limit", "box.softirq=0.03:9")
        (box,) = run.of("box")
        assert (box["busiest_softirq_id"], box["softirq_kind"]) == (flood.facts["cpu"], "NET_RX")
        assert box["softirq_rate"] > 1000
        finding = run.finding("box.softirq")
        assert f"CPU {flood.facts['cpu']} spends" in finding["summary"]
        assert "most often NET_RX" in finding["summary"]
        assert "queues of the network card" in finding["next_step"]


@pytest.mark.box
def test_a_cgroup_at_its_memory_limit_is_no_shortage_of_the_machine(opsdoc):
    """Its pages are thrown out and read again for ever: the kernel tells only by its pressure and its refaults."""
    with (
        tempfile.TemporaryDirectory(prefix="opsdoc-reread-", dir="/var/tmp") as folder,
        cgroups.group(memory=LIMITED) as group,
        cgroups.program_in(group, programs.python, "reread", folder, FILE) as program,
        program.hot(),
    ):
        if all(stalled(0.5) < 0.03 for _ in range(10)):
            pytest.skip("reading a file again makes no task wait for memory here")
        run = opsdoc.json("top", "--limit", "box.memory_pressure=0.02:9")
        (box,) = run.of("box")
        assert box["refaults"] > 100
        assert box["swapped_in"] is not None
        finding = run.finding("box.reclaim")
        assert finding["threshold"]["name"] == "box.memory_pressure"
        assert "pages/s were thrown out and are needed again" in finding["summary"]


def stalled(seconds: float) -> float:
    """The share of a time in which some task waited for memory."""
    path = Path("/proc/pressure/memory")
    if not path.exists():
        pytest.skip("this kernel keeps no pressure information")
    before = parse_stalled(path.read_text())
    time.sleep(seconds)
    return (parse_stalled(path.read_text()) - before) / 1e6 / seconds
