"""Cgroups: the names that people know, and the quota read from v1, v2 and what stands between."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from opsdoc.clients import Live
from opsdoc.clients.cgroup import Cgroup
from opsdoc.model import Malformed, Unreachable, Unsupported
from opsdoc.parsers.cgroup import (
    Membership,
    Mount,
    container_of,
    folders_below,
    name_of,
    parse_counters,
    parse_limit,
    parse_membership,
    parse_mounts,
    parse_quota,
)
from opsdoc.redact import Redactor

ID = "0123456789ab" + "c" * 52
POD = "1f3b2c4d-1111-2222-3333-444455556666"
POD_ = POD.replace("-", "_")
BESTEFFORT = "/kubepods.slice/kubepods-besteffort.slice"

# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "name", "container"),
    [
        (f"/docker/{ID}", "docker 0123456789ab", True),
        (f"/system.slice/docker-{ID}.scope", "docker 0123456789ab", True),
        (f"/docker/{ID}/system.slice/nginx.service", "systemd unit nginx.service in docker 0123456789ab", True),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman 0123456789ab", True),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman 0123456789ab", True),
        (f"/libpod_parent/libpod-{ID}", "podman 0123456789ab", True),
        (f"/machine.slice/libpod-conmon-{ID}.scope", f"systemd unit libpod-conmon-{ID}.scope", False),
        (
            f"{BESTEFFORT}/kubepods-besteffort-pod{POD_}.slice/cri-containerd-{ID}.scope",
            "kubernetes pod 1f3b2c4d, container 0123456789ab",
            True,
        ),
        (
            f"{BESTEFFORT}/kubepods-besteffort-pod{POD_}.slice/crio-{ID}.scope",
            "kubernetes pod 1f3b2c4d, container 0123456789ab",
            True,
        ),
        (
            f"{BESTEFFORT}/kubepods-besteffort-pod{POD_}.slice/crio-conmon-{ID}.scope",
            "kubernetes pod 1f3b2c4d",
            False,
        ),
        (f"/kubepods/burstable/pod{POD}/{ID}", "kubernetes pod 1f3b2c4d, container 0123456789ab", True),
        (f"{BESTEFFORT}/kubepods-besteffort-pod{POD_}.slice", "kubernetes pod 1f3b2c4d", False),
        (
            f"/system.slice/containerd.service/kubepods-besteffort-pod{POD_}.slice:cri-containerd:{ID}",
            "kubernetes pod 1f3b2c4d, container 0123456789ab",
            True,
        ),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd 0123456789ab", True),
        (f"/ecs/9f0a1b2c3d4e5f60718293a4b5c6d7e8/{ID}", "ecs 0123456789ab", True),
        ("/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-2531612879", "ecs 0123456789ab", True),
        (f"/ecstasks-0123456789abcdef0123456789abcdef.slice/docker-{ID}.scope", "docker 0123456789ab", True),
        (f"/actions_job/{ID}", "container 0123456789ab", True),
        (f"/../../docker/{ID}", "docker 0123456789ab", True),
    ],
)
def test_a_container_is_found_whoever_made_it(path, name, container):
    assert name_of(path) == name
    assert container_of(f"1:cpu:{path}\n0::/\n") == ("0123456789ab" if container else None)


@pytest.mark.parametrize(
    ("path", "name", "container"),
    [
        ("/lxc/web", "lxc web", "web"),
        ("/lxc.payload.web", "lxc web", "web"),
        ("/lxc.payload/web/init.scope", "systemd unit init.scope in lxc web", "web"),
        ("/lxc.payload.web/system.slice/nginx.service", "systemd unit nginx.service in lxc web", "web"),
        ("/lxc.monitor.web", "lxc.monitor.web", None),
        ("/system.slice/nginx.service", "systemd unit nginx.service", None),
        ("/system.slice/nginx.service/workers", "systemd unit nginx.service", None),
        ("/user.slice/user-0.slice/session-3.scope", "systemd unit session-3.scope", None),
        ("/batch/nightly", "nightly", None),
        ("/batch/nightly (deleted)", "nightly", None),
        ("/", "the root cgroup", None),
    ],
)
def test_other_cgroups_have_names_too(path, name, container):
    assert name_of(path) == name
    assert container_of(f"0::{path}\n") == container


# ── parsers ──────────────────────────────────────────────────────────────────────────────────────


def test_membership_keeps_colons_in_a_path():
    assert parse_membership("4:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/\n") == [
        Membership(("cpu", "cpuacct"), "/a:b"),
        Membership(("name=systemd",), "/x"),
        Membership((), "/"),
    ]
    for broken in ("cpu:/a", "1:cpu:a", "x::/", "1:cpu"):
        with pytest.raises(Malformed):
            parse_membership(broken)


MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 /docker /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /mnt/a\\040b rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""


def test_mounts_are_those_of_cgroups_that_nothing_hides():
    v1, v2 = parse_mounts(MOUNTS)
    assert (v1.version, v1.root, v1.point) == (1, "/docker", "/sys/fs/cgroup/cpu,cpuacct")
    assert {"cpu", "cpuacct"} <= set(v1.controllers)
    assert v2 == Mount(2, (), "/", "/mnt/a b")
    assert parse_mounts(MOUNTS + "50 27 0:9 / /sys/fs rw - fuse.evil x rw\n") == [v2]
    assert parse_mounts(MOUNTS + "50 27 0:9 / /sys/fs/cgroup/cpu rw - tmpfs x rw\n") == [v1, v2]


def test_a_path_is_found_below_the_root_of_its_mount():
    assert folders_below("/", "/a/b") == ["a", "b"]
    assert folders_below("/", "/") == []
    assert folders_below("/docker/x", "/docker/x/y") == ["y"]
    assert folders_below("/docker/x", "/docker/xy") is None
    assert folders_below("/", "/../other") is None
    assert folders_below("/../../..", "/../../../kubepods/pod") == ["kubepods", "pod"]
    assert folders_below("/../../..", "/../../pod") is None  # whose names in between nobody tells
    assert folders_below("/..", "/../a/../b") is None


def test_quotas_are_cores():
    assert parse_quota("20000", "100000") == 0.2
    assert parse_quota("400000", "100000") == 4.0
    assert parse_quota("max", "100000") is None
    assert parse_quota("-1", "100000") is None
    for quota, period in (("20000", "0"), ("20000", ""), ("-2", "1"), ("9" * 5000, "1"), ("٣", "1")):
        with pytest.raises(Malformed):
            parse_quota(quota, period)
    assert parse_counters("nr_periods 5\nthrottled_time 7\n") == {"nr_periods": 5, "throttled_time": 7}
    assert [parse_limit(text) for text in ("max\n", "9223372036854771712", "67108864\n")] == [None, None, 64 << 20]


# ── the client, on folders as the kernel makes them ──────────────────────────────────────────────


class Tree:
    """A made-up /proc with the cgroup file system of pid 1: what `--proc DIR` sees."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.root = self.proc / "1" / "root"
        self.root.mkdir(parents=True)
        (self.proc / "77").mkdir()
        (self.proc / "77" / "stat").write_text("")

    def process(self, cgroup: str, *mounts: str) -> None:
        (self.proc / "77" / "cgroup").write_text(cgroup)
        (self.proc / "1" / "mountinfo").write_text("".join(f"{mount}\n" for mount in mounts))

    def put(self, path: str, **files: str) -> Path:
        folder = self.root / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text + "\n")
        return folder

    def ask(self, pid: int = 77) -> dict:
        live = Live(deadline=time.monotonic() + 9, redactor=Redactor(), proc=self.proc)
        return Cgroup(pid).answer(live)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
STAT = "usage_usec 5000000\nuser_usec 1\nnr_periods 10\nnr_throttled 9\nthrottled_usec 700000"


def test_v2_is_read_from_the_cgroup_up_to_the_root(tree):
    tree.process("0::/pod/web\n", V2)
    tree.put("/sys/fs/cgroup", cpu__stat="usage_usec 9")
    tree.put("/sys/fs/cgroup/pod", cpu__max="50000 100000", cpu__stat=STAT, memory__max="max")
    tree.put(
        "/sys/fs/cgroup/pod/web",
        cpu__max="max 100000",
        cpu__stat=STAT,
        cpu__stat__local="throttled_usec 800000",
        memory__max="67108864",
        memory__current="66000000",
    )
    answer = tree.ask()
    assert (answer["version"], answer["path"], answer["unknown"]) == (2, "/pod/web", {})
    assert [(level["path"], level["quota"]) for level in answer["levels"]] == [
        ("/pod/web", None),
        ("/pod", 0.5),
        ("/", None),
    ]
    pod = answer["levels"][1]
    assert pod["folder"] == "/sys/fs/cgroup/pod"
    assert (pod["periods"], pod["throttled_periods"], pod["throttled_seconds"]) == (10, 9, 0.7)
    assert pod["used_seconds"] == 5.0
    assert answer["levels"][0]["held_seconds"] == 0.8
    assert answer["memory"] == {"path": "/pod/web", "limit_bytes": 64 << 20, "used_bytes": 66_000_000}


def test_v1_is_read_where_its_controller_is_mounted_though_v2_is_there_too(tree):
    cpu = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
    memory = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    unified = "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    tree.process("4:memory:/web\n2:cpu,cpuacct:/web\n0::/elsewhere\n", unified, cpu, memory)
    tree.put(
        "/sys/fs/cgroup/cpu,cpuacct/web",
        cpu__cfs_quota_us="20000",
        cpu__cfs_period_us="100000",
        cpu__stat="nr_periods 10\nnr_throttled 9\nthrottled_time 700000000",
        cpuacct__usage="5000000000",
    )
    tree.put("/sys/fs/cgroup/cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    tree.put("/sys/fs/cgroup/memory/web", memory__limit_in_bytes="67108864", memory__usage_in_bytes="1000")
    answer = tree.ask()
    assert (answer["version"], answer["path"], answer["unknown"]) == (1, "/web", {})
    web, root = answer["levels"]
    assert (web["quota"], web["throttled_seconds"], web["used_seconds"], root["quota"]) == (0.2, 0.7, 5.0, None)
    assert answer["memory"]["limit_bytes"] == 64 << 20


def test_a_mount_below_the_root_shows_what_is_below_it(tree):
    tree.process("0::/docker/x/app\n", V2.replace(" / /sys", " /docker/x /sys"))
    tree.put("/sys/fs/cgroup/app", cpu__max="20000 100000", cpu__stat=STAT)
    assert [level["path"] for level in tree.ask()["levels"]] == ["/docker/x/app", "/docker/x"]


def test_from_another_namespace_the_targets_own_view_helps(tree):
    """A debug container sees `/../pod/web`; the target's own mount begins at just that cgroup."""
    tree.process("0::/../pod/web\n", V2)
    assert "/../pod/web" in tree.ask()["unknown"]["cpu"]
    (tree.proc / "77" / "mountinfo").write_text(V2.replace(" / /sys", " /../pod/web /sys") + "\n")
    own = tree.proc / "77" / "root" / "sys" / "fs" / "cgroup"
    own.mkdir(parents=True)
    (own / "cpu.max").write_text("20000 100000\n")
    (own / "cpu.stat").write_text(STAT)
    answer = tree.ask()
    assert [(level["path"], level["quota"]) for level in answer["levels"]] == [("/../pod/web", 0.2)]
    assert answer["unknown"] == {}


@pytest.mark.parametrize("cgroup", ["0::/web (deleted)\n", "0::/gone\n", "0::" + "/x" * 40 + "\n", "0::/../web\n"])
def test_what_cannot_be_found_is_unknown_with_its_reason(tree, cgroup):
    tree.process(cgroup, V2)
    tree.put("/sys/fs/cgroup" + "/x" * 40)
    answer = tree.ask()
    assert answer["levels"] == []
    assert answer["unknown"]["cpu"]


def test_no_mount_is_unknown_and_no_controller_unsupported(tree):
    tree.process("0::/web\n", "22 27 0:21 / /proc rw - proc proc rw")
    with pytest.raises(Unsupported, match="no cgroup file system is mounted"):
        tree.ask()
    tree.process("0::/web\n", "31 22 0:21 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids")
    assert tree.ask()["unknown"]["cpu"] == "no mount that can be seen from here shows /web"
    tree.process("7:pids:/\n", V2)
    with pytest.raises(Unsupported, match="no CPU controller"):
        tree.ask()
    (tree.proc / "77" / "cgroup").unlink()
    with pytest.raises(Unsupported, match="no cgroups"):
        tree.ask()
    with pytest.raises(Unreachable):
        tree.ask(78)


def test_the_usual_places_serve_where_the_mounts_cannot_be_read(tree):
    tree.process("3:cpu:/web\n")
    (tree.proc / "1" / "mountinfo").unlink()
    tree.put("/sys/fs/cgroup/cpu/web", cpu__cfs_quota_us="20000", cpu__cfs_period_us="100000", cpu__stat="nr_periods 1")
    assert tree.ask()["levels"][0]["quota"] == 0.2


def test_a_hostile_tree_leads_nowhere(tree):
    tree.process("0::/web\n", V2)
    folder = tree.put("/sys/fs/cgroup/web", cpu__max="lots of it")
    assert "'lots' 'of it'" in tree.ask()["unknown"]["/web"]
    (folder / "cpu.max").unlink()
    os.mkfifo(folder / "cpu.max")
    assert tree.ask()["unknown"] == {"/web": "cpu.max is not a file"}
    (folder / "cpu.max").unlink()
    (folder / "cpu.max").symlink_to("/etc/passwd")
    assert "symbolic" in tree.ask()["unknown"]["/web"]
    (folder / "cpu.max").unlink()
    folder.rmdir()
    (tree.root / "sys/fs/cgroup/web").symlink_to("/etc")
    assert tree.ask()["levels"] == []


def test_this_process_is_in_some_cgroup_or_in_none():
    try:
        answer = Cgroup(os.getpid()).answer(Live(deadline=time.monotonic() + 9, redactor=Redactor()))
    except Unsupported:
        pytest.skip("no cgroups here")
    assert answer["path"].startswith("/")
    assert answer["levels"] or answer["unknown"]
