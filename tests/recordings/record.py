"""Record the scenarios again, from real programs: `python tests/recordings/record.py [cpu/jvm-hot …]`, as root.

It runs in a pid namespace of its own, so that no recording lists what else this machine runs, and waits for a quiet
moment before each look. `make accept` then writes what is expected of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import caches  # noqa: E402
import databases  # noqa: E402
import mysql  # noqa: E402
from caches import CachedSite, Caches  # noqa: E402
from databases import Databases  # noqa: E402
from neutral import neutralise  # noqa: E402
from servers import cgroups, containers, jdk, native, nginx_scenes, programs, rocketmq, users  # noqa: E402
from servers.programs import Program  # noqa: E402

PYTHON = "/usr/bin/python3"
KEEP = "proxy_cache_valid 200 10m;"  # of the caches of nginx
PATIENCE = 1200.0  # seconds for one scenario
QUIET, NOISE = 0.25, 0.2  # busy share of the box before a look; cores used by others in its window


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is run, and what is looked at; `{pid}` and `{hot_tid}` stand for the program's."""

    args: str
    make: Callable[[], Program] | None = None
    rests: bool = False
    stopped: bool = False
    at_once: bool = False  # is sick from its start, which waits for a quiet moment
    busy_box: bool = False  # no CPU is judged: it needs no quiet moment
    user: str | None = None
    noise: float = NOISE


def hot_jvm() -> Program:
    return jdk.hot_one(30, 6, options=jdk.ATTACHABLE)


def lukewarm_jvm() -> Program:
    return jdk.lukewarm(40, 6)


def forging_jvm() -> Program:
    return jdk.hostile_names("forge")


def hot_python() -> Program:
    return programs.python("hot_one", 12, 3, python=PYTHON)


def idle_python() -> Program:
    return programs.python("idle", python=PYTHON)


def mortal_python() -> Program:
    return programs.python("mortal", 1.5, python=PYTHON)


def full_heap() -> Program:
    return jdk.gc_bound()


def virtual_jvm() -> Program:
    return jdk.hot_virtual(release=21)


def contained_jvm() -> Program:
    return containers.jvm(args=(30, 6), options=jdk.ATTACHABLE)


def throttled_python() -> Program:
    """It takes its cgroup away with itself."""
    stack = contextlib.ExitStack()
    program = programs.python("hot_one", 12, 3, python=PYTHON)
    group = stack.enter_context(cgroups.group(cores=0.1, name="shop.slice"))
    stop = program.stop

    def stop_and_leave() -> None:
        stop()
        stack.close()

    program.stop = stop_and_leave  # type: ignore[method-assign]
    group.add(program.pid)
    return program


def in_trouble(first: str, *beside: str) -> Program:
    """Programs with sockets in a network namespace of their own; `{port}` is the first one's."""
    script = str(programs.PY / "connections.py")
    program = Program(["unshare", "-n", PYTHON, script, *first.split()])
    others = []
    for words in beside:
        into = ["nsenter", "-t", str(program.pid), "-n", PYTHON, script]
        others.append(Program([*into, *words.format(**program.facts).split()]))
        program.facts.update({name: value for name, value in others[-1].facts.items() if name != "pid"})
        program.facts[words.split()[0]] = others[-1].pid
        if words.startswith("knock"):
            others[-1].say("hot")
            time.sleep(2)  # until connections wait
    stop = program.stop

    def stop_all() -> None:
        for other in others:
            other.stop()
        stop()

    program.stop = stop_all  # type: ignore[method-assign]
    return program


class Served:
    """A scene of nginx that has answered a few hundred requests, as a program is handled here."""

    def __init__(self, scene: nginx_scenes.Scene, *, hidden: bool = False, **options: object) -> None:
        self._made = contextlib.ExitStack()
        site = self._made.enter_context(scene.up(**options))
        self.pid = site.nginx.pid
        self.facts: dict[str, object] = {}
        site.nginx.request("/", 200, 4)
        site.nginx.log_written(200)
        if hidden:
            site.nginx.folder.chmod(0o700)

    def stop(self) -> None:
        self._made.close()


class Queues:
    """A cluster of RocketMQ, as a program is handled here; `{namesrv}` is its name server."""

    def __init__(self, sick: Callable[[rocketmq.RocketMQ, contextlib.ExitStack], None], **how: object) -> None:
        self._made = contextlib.ExitStack()
        cluster = self._made.enter_context(rocketmq.cluster("5.3", **how))
        self.pid = cluster.namesrv.pid
        self.facts: dict[str, object] = {"namesrv": cluster.address}
        sick(cluster, self._made)

    def stop(self) -> None:
        self._made.close()


def shop(cluster: rocketmq.RocketMQ, stack: contextlib.ExitStack, *, sick: bool = False) -> None:
    """One group that has consumed all; and one that is stuck, one without members, one whose messages died."""
    broker = stack.enter_context(cluster.broker())
    for topic in ("orders", "mail"):
        cluster.topic(topic)
        for queue in range(4):
            broker.send_many(topic, 20, queue=queue)
    for group in ("order-service", "left-behind", "mailer"):
        broker.group(group)
    broker.commit("order-service", "orders", dict.fromkeys(range(4), 20))
    if not sick:
        return
    broker.commit("left-behind", "orders", dict.fromkeys(range(4), 5))
    for number in range(3):
        broker.send_back("mailer", "mail", broker.send("mail", keys=f"M{number}"), delay=-1)
    programs.wait_until(lambda: broker.end("%DLQ%mailer") == 3, "three dead letters")
    stuck = cluster.consumer("stock-keeper", "orders", "stuck")
    programs.wait_until(lambda: stuck.say("status")["begun"] >= 4, "its threads to be stuck", 60)
    time.sleep(65)  # from a minute on a client that consumes nothing counts as stuck


def one_silent(cluster: rocketmq.RocketMQ, stack: contextlib.ExitStack) -> None:
    shop(cluster, stack)
    stack.enter_context(cluster.brokers["broker-b"].stopped())


SCENES = {
    "cpu/jvm-hot": Scene(args="cpu", make=hot_jvm),
    "cpu/jvm-lukewarm": Scene(args="cpu", make=lukewarm_jvm),
    "cpu/jvm-forged-names": Scene(args="cpu", make=forging_jvm),
    "cpu/python-hot": Scene(args="cpu", make=hot_python),
    "cpu/idle": Scene(args="cpu", make=idle_python),
    "cpu/denied": Scene(args="cpu", make=hot_jvm, user=users.NOBODY),
    "cpu/process-ended": Scene(args="cpu", make=mortal_python, at_once=True, noise=1.2),
    "cpu/stopped": Scene(args="cpu --pid {pid}", make=hot_jvm, stopped=True),
    "cpu/native-hot": Scene(args="cpu", make=programs.spinner, at_once=True),
    "cpu/native-function": Scene(args="cpu", make=native.spin, at_once=True),
    "cpu/kernel-bound": Scene(args="cpu", make=native.copying, at_once=True),
    "cpu/jvm-full-heap": Scene(args="cpu", make=full_heap),
    "cpu/jvm-virtual-thread-21": Scene(args="cpu", make=virtual_jvm),
    "cpu/jvm-in-a-container": Scene(args="cpu", make=contained_jvm),
    "cpu/throttled": Scene(args="cpu", make=throttled_python),
    "top/hot": Scene(args="top", make=hot_python),
    "top/idle": Scene(args="top", make=idle_python),
    "top/denied": Scene(args="top", make=hot_jvm, user=users.NOBODY),
    "threads/jvm": Scene(args="threads {pid}", make=hot_jvm),
    "threads/python": Scene(args="threads {pid}", make=hot_python),
    "threads/idle": Scene(args="threads {pid}", make=hot_jvm, rests=True),
    "threads/process-ended": Scene(args="threads {pid}", make=mortal_python, at_once=True, noise=1.2),
    "stack/jvm": Scene(args="stack {pid}", make=hot_jvm),
    "stack/jvm-one-thread": Scene(args="stack {pid} --tid {hot_tid:#x} --context 3 --window 1s", make=hot_jvm),
    "stack/jvm-stopped": Scene(args="stack {pid}", make=hot_jvm, stopped=True),
    "stack/python": Scene(args="stack {pid}", make=hot_python),
    "stack/native": Scene(args="stack {pid} --window 1s", make=native.spin, at_once=True),
    "stack/native-waiting": Scene(args="stack {first}", make=lambda: programs.crowd(1), at_once=True),
    "stack/denied": Scene(args="stack {pid}", make=hot_jvm, user=users.NOBODY),
    "stack/gone": Scene(args="stack 4194304"),
    "nginx/healthy": Scene(args="nginx", make=lambda: Served(nginx_scenes.healthy()), busy_box=True),
    "nginx/one-dead": Scene(args="nginx", make=lambda: Served(nginx_scenes.one_dead()), busy_box=True),
    "nginx/erring": Scene(args="nginx", make=lambda: Served(nginx_scenes.erring()), busy_box=True),
    "nginx/limited": Scene(args="nginx", make=lambda: Served(nginx_scenes.limited()), busy_box=True),
    "nginx/unresolved": Scene(args="nginx", make=lambda: Served(nginx_scenes.unresolved()), busy_box=True),
    "nginx/status-page": Scene(args="nginx", make=lambda: Served(nginx_scenes.status_page()), busy_box=True),
    "nginx/combined": Scene(args="nginx", make=lambda: Served(nginx_scenes.one_dead(), log="combined"), busy_box=True),
    "nginx/denied": Scene(
        args="nginx", make=lambda: Served(nginx_scenes.erring(), hidden=True), busy_box=True, user=users.NOBODY
    ),
    "sockets/healthy": Scene(args="sockets {pid}", make=lambda: in_trouble("goodbye"), busy_box=True),
    "sockets/not-accepted": Scene(
        args="sockets {pid}", make=lambda: in_trouble("listen 5", "knock {port}"), busy_box=True
    ),
    "sockets/not-closed": Scene(
        args="sockets {leak}", make=lambda: in_trouble("rest", "goodbye", "leak {port} 60"), busy_box=True
    ),
    "sockets/denied": Scene(args="sockets {pid}", make=lambda: in_trouble("goodbye"), busy_box=True, user=users.NOBODY),
    "mq.rocketmq/healthy": Scene(
        args="mq rocketmq --namesrv {namesrv} --window 10s", make=lambda: Queues(shop), busy_box=True
    ),
    "mq.rocketmq/sick": Scene(
        args="mq rocketmq --namesrv {namesrv} --peek 3",
        make=lambda: Queues(lambda cluster, stack: shop(cluster, stack, sick=True)),
        busy_box=True,
    ),
    "mq.rocketmq/broker-silent": Scene(
        args="mq rocketmq --namesrv {namesrv} --window 0",
        make=lambda: Queues(one_silent, brokers=2),
        busy_box=True,
    ),
    "cache.redis/well": Scene(args="cache redis --url {url}", make=lambda: Caches(caches.well), busy_box=True),
    "cache.redis/evicting": Scene(args="cache redis --url {url}", make=lambda: Caches(caches.evicting), busy_box=True),
    "cache.redis/penetrated": Scene(
        args="cache redis --url {url}", make=lambda: Caches(caches.penetrated), busy_box=True
    ),
    "cache.redis/out-of-memory": Scene(
        args="cache redis --url {url}", make=lambda: Caches(caches.refusing), busy_box=True
    ),
    "cache.redis/frozen-master": Scene(
        args="cache redis --url {url}", make=lambda: Caches(caches.half_frozen), busy_box=True
    ),
    "cache.redis/no-quorum": Scene(
        args="cache redis --url {url}", make=lambda: Caches(caches.without_quorum), busy_box=True
    ),
    "cache.redis/denied": Scene(args="cache redis --url {url}", make=lambda: Caches(caches.forbidding), busy_box=True),
    "cache.memcached/well": Scene(
        args="cache memcached --server {server}", make=lambda: Caches(caches.memcached_well), busy_box=True
    ),
    "cache.memcached/evicting": Scene(
        args="cache memcached --server {server}", make=lambda: Caches(caches.memcached_evicting), busy_box=True
    ),
    "cache.memcached/refused": Scene(args="cache memcached --server 127.0.0.1:1", busy_box=True),
    "cache.nginx/well": Scene(args="cache nginx", make=lambda: CachedSite(KEEP, 20), busy_box=True),
    "cache.nginx/bypassed": Scene(
        args="cache nginx",
        make=lambda: CachedSite(f"{KEEP} proxy_cache_bypass $cookie_cart;", 20, cookie="cart=7"),
        busy_box=True,
    ),
    "cache.nginx/too-small": Scene(args="cache nginx", make=lambda: CachedSite(KEEP, 500, "pages:32k"), busy_box=True),
    "cache.nginx/no-status": Scene(
        args="cache nginx", make=lambda: CachedSite(KEEP, 20, log="combined"), busy_box=True
    ),
    "cache.nginx/denied": Scene(
        args="cache nginx", make=lambda: CachedSite(KEEP, 20, hidden=True), busy_box=True, user=users.NOBODY
    ),
    **{
        f"db.postgresql/{name}": Scene(
            args=f"db postgresql {{dsns}} {more}", make=lambda sick=sick: Databases(sick), busy_box=True
        )
        for name, sick, more in databases.POSTGRESQL
    },
    **{
        f"db.mysql/{name}": Scene(
            args=f"db mysql {{dsns}} {more}", make=lambda sick=sick: Databases(sick), busy_box=True
        )
        for name, sick, more in mysql.MYSQL
    },
    "db.mysql/refused": Scene(args="db mysql --dsn mysql://127.0.0.1:1/", busy_box=True),
    "db.postgresql/refused": Scene(args="db postgresql --dsn postgresql://127.0.0.1:1/", busy_box=True),
    "doctor/root": Scene(args="doctor"),
    "doctor/nobody": Scene(args="doctor", make=idle_python, user=users.NOBODY),
    "doctor/foreign-proc": Scene(args="doctor --proc /proc/self/root/proc"),
}


def wait_until_quiet() -> None:
    while True:
        shares = programs.box(0.7)
        if 1 - shares["idle"] - shares["iowait"] < QUIET:
            return


@contextlib.contextmanager
def set_up(scene: Scene) -> Iterator[dict[str, object]]:
    """The program of a scene, as sick as it is meant to be."""
    with contextlib.ExitStack() as stack:
        if (scene.make is None or scene.at_once) and not scene.busy_box:
            wait_until_quiet()
        if scene.make is None:
            yield {}
            return
        program = stack.enter_context(programs.ended(scene.make()))
        if not scene.at_once and not scene.busy_box:
            time.sleep(0.5)  # a JVM that has just started compiles its start away
            wait_until_quiet()
        if not (scene.rests or scene.at_once or scene.busy_box or scene.make is idle_python):
            stack.enter_context(program.hot())
        if scene.stopped:
            stack.enter_context(program.stopped())
        if scene.make is mortal_python:  # so that it leaves no zombie, as it leaves none where init reaps
            threading.Thread(target=program._process.wait, daemon=True).start()
        yield {"pid": program.pid, **program.facts}


def record(name: str, command: list[str]) -> bool:
    """One attempt; false if others used the machine meanwhile."""
    scene = SCENES[name]
    place = Path(tempfile.mkdtemp(prefix="opsdoc-record-"))
    place.chmod(0o777)
    try:
        with set_up(scene) as facts:
            argv = [*command, *scene.args.format(**facts).split(), "--json", "--record", "case"]
            user = {} if scene.user is None else {"user": scene.user, "group": programs.group_of(scene.user)}
            env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(place)}
            done = subprocess.run(
                argv, capture_output=True, check=False, cwd=place, env=env, timeout=60, extra_groups=[], **user
            )
        report = json.loads(done.stdout)
        seen = [o["unattributed"] or 0.0 for r in report["results"] for o in r["observations"] if o["kind"] == "box"]
        if any(noise > scene.noise for noise in seen):
            return False
        case = place / "case"
        neutralise(case)
        target = HERE / name
        for part in ("recording.json", "blobs"):
            with contextlib.suppress(FileNotFoundError):
                (shutil.rmtree if part == "blobs" else os.unlink)(target / part)
            if (case / part).exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copytree(case / part, target / part) if part == "blobs" else shutil.copy(case / part, target)
        for root, folders, files in os.walk(target):
            for folder in folders:
                (Path(root) / folder).chmod(0o755)
            for file in files:
                (Path(root) / file).chmod(0o644)
        print(name, done.returncode, report["summary"])
    finally:
        shutil.rmtree(place)
    return True


def main(names: list[str]) -> None:
    if os.environ.get("OPSDOC_ALONE") != "1":
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, *sys.argv]
        os.execvpe(alone[0], alone, {**os.environ, "OPSDOC_ALONE": "1"})
    installed = users.install_for()
    try:
        for name in names or SCENES:
            end = time.monotonic() + PATIENCE
            while not record(name, [str(installed)]):
                if time.monotonic() > end:
                    print(name, "given up: this machine is never quiet", file=sys.stderr)
                    break
    finally:
        shutil.rmtree(installed.parent.parent)


if __name__ == "__main__":
    main(sys.argv[1:])
