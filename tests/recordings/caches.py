"""Caches in the states that are recorded: each as sick as it is meant to be when it is made."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from servers import memcached, nginx_scenes, programs, redis
from servers.redis_client import Client, Step, aside, fill, names, penetration


class Caches:
    """Servers of a cache and their loads, as a program is handled here; `{url}` names one of them."""

    def __init__(self, sick: Callable[[contextlib.ExitStack], redis.Redis | memcached.Memcached]) -> None:
        self._made = contextlib.ExitStack()
        try:
            one = sick(self._made)
        except BaseException:
            self._made.close()
            raise
        self.pid = one.pid
        self.facts: dict[str, object] = {"url": getattr(one, "url", ""), "server": one.address}

    def stop(self) -> None:
        self._made.close()


class CachedSite:
    """An nginx with a cache that has answered a thousand requests for so many URLs, as a program is handled here."""

    def __init__(self, words: str, urls: int, zone: str = "pages:1m max_size=100m", *, hidden: bool = False,
                 cookie: str = "", log: str = "opsdoc") -> None:  # fmt: skip
        self._made = contextlib.ExitStack()
        path = f"proxy_cache_path <here>/cache levels=1:2 keys_zone={zone};\n"
        scene = nginx_scenes.Scene(path + nginx_scenes.site("server <a>;", f"proxy_cache pages; {words}"), {"a": "ok"})
        nginx = self._made.enter_context(scene.up(log=log)).nginx
        self.pid = nginx.pid
        self.facts: dict[str, object] = {}
        nginx.request([f"/shop/{number}" for number in range(urls)], 1000, 4)
        if cookie:
            nginx.request("/cart", 600, 4, headers={"Cookie": cookie})
        nginx.log_written()
        if hidden:
            nginx.folder.chmod(0o700)

    def stop(self) -> None:
        self._made.close()


def well(stack: contextlib.ExitStack) -> redis.Redis:
    one = stack.enter_context(redis.standalone())
    with contextlib.closing(one.client()) as client:
        fill(client, names(1000))
    stack.enter_context(one.load(calmly(aside(names(1000)))))
    return one


def calmly(step: Step) -> Step:
    def slowed(client: Client) -> None:
        step(client)
        time.sleep(0.02)

    return slowed


def evicting(stack: contextlib.ExitStack) -> redis.Redis:
    one = stack.enter_context(redis.standalone(maxmemory="4mb", maxmemory_policy="allkeys-lru"))
    stack.enter_context(one.load(calmly(aside(names(20_000), size=500))))
    programs.wait_until(lambda: int(one.info()["evicted_keys"]) > 1000, "evictions")
    return one


def penetrated(stack: contextlib.ExitStack) -> redis.Redis:
    one = stack.enter_context(redis.standalone())
    stack.enter_context(one.load(calmly(penetration())))
    return one


def refusing(stack: contextlib.ExitStack) -> redis.Redis:
    one = stack.enter_context(redis.standalone(maxmemory="2mb", maxmemory_policy="noeviction"))
    stack.enter_context(one.load(calmly(aside(names(20_000), size=500))))
    programs.wait_until(lambda: "errorstat_OOM" in one.info(), "no more memory")
    return one


def half_frozen(stack: contextlib.ExitStack) -> redis.Redis:
    """A cluster of which one master stands still, and nobody knows it yet: 15 s are the default."""
    shop = stack.enter_context(redis.cluster(cluster_node_timeout=15_000))
    stack.enter_context(shop.masters[0].frozen())
    return shop.masters[1]


def without_quorum(stack: contextlib.ExitStack) -> redis.Redis:
    watch = stack.enter_context(redis.sentinels())
    for other in watch.sentinels[1:]:
        other.kill()
    time.sleep(2 * redis.DOWN_AFTER / 1000)
    return watch.sentinels[0]


def forbidding(stack: contextlib.ExitStack) -> redis.Redis:
    one = stack.enter_context(redis.standalone())
    one.do("ACL", "SETUSER", "default", "-info", "-slowlog")
    return one


def memcached_evicting(stack: contextlib.ExitStack) -> memcached.Memcached:
    one = stack.enter_context(memcached.server(memory=4))
    stop, keys = threading.Event(), names(9000)

    def run() -> None:
        with contextlib.closing(one.client()) as client:
            while not stop.is_set():
                for start in range(0, len(keys), 50):
                    if not client.get_many(keys[start : start + 1]):
                        client.set_many(keys[start : start + 50], size=1000)
                    if stop.wait(0.005):
                        return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(thread.join, 10)
    stack.callback(stop.set)
    programs.wait_until(lambda: evictions(one) > 1000, "evictions")
    return one


def evictions(one: memcached.Memcached) -> int:
    with contextlib.closing(one.client()) as client:
        return client.number("evictions")


def memcached_well(stack: contextlib.ExitStack) -> memcached.Memcached:
    one = stack.enter_context(memcached.server())
    stop, keys = threading.Event(), names(500)

    def run() -> None:
        with contextlib.closing(one.client()) as client:
            client.set_many(keys, size=100)
            while not stop.wait(0.02):
                client.get_many(keys[:50])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(thread.join, 10)
    stack.callback(stop.set)
    time.sleep(1)
    return one
