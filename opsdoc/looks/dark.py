"""Hot threads whose code no dump tells: native code and the kernel, sampled by perf while the window passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opsdoc.host import Host
from opsdoc.looks.watched import Watched
from opsdoc.model import ProbeError

WORTH_PERF = 0.1  # cores of a thread
PERF_SECONDS = 1.0
MOST = 16  # threads


def start(host: Host, watched: Sequence[Watched], ends: float) -> Callable[[], None] | None:
    """Sample the hot threads whose code no dump tells; what is returned waits for the result."""
    asked = [(one, tid) for one in watched for tid in _dark(one)][:MOST]
    seconds = min(PERF_SECONDS, round(ends - host.now() - 0.1, 2))
    if not asked or seconds < PERF_SECONDS / 5:
        return None
    return sample(host, asked, seconds)


def sample(host: Host, asked: Sequence[tuple[Watched, int]], seconds: float) -> Callable[[], None]:
    """Sample threads of processes; calling what is returned waits for what perf saw, and puts it into `perf`.

    Where perf cannot sample, what the kernel tells of the threads goes into `views`.
    """
    from opsdoc.clients.perf import PerfSamples
    from opsdoc.looks import native

    wait = host.start(PerfSamples(tuple(tid for _, tid in asked), seconds))

    def finish() -> None:
        answer = wait()
        processes = list({one.pid: one for one, _ in asked}.values())
        try:
            if isinstance(answer, ProbeError):
                raise answer
            sampled = native.read(answer.value)
        except ProbeError as error:
            for one in processes:
                one.unseen.append(error.unseen(f"{one.subject}: native code"))
                one.views = kernel_views(host, one, [tid for whose, tid in asked if whose is one])
            return
        for one in processes:
            one.perf = {tid: sampled[tid] for whose, tid in asked if whose is one and tid in sampled}

    return finish


def _dark(one: Watched) -> Iterator[int]:
    """The hot threads that no dump knows, and those that spend most of their time in the kernel."""
    if any(blind.reason == "denied" for blind in one.unseen):
        return
    rates = one.rates_so_far()
    hot = [tid for tid, rate in rates.items() if rate.cpu >= WORTH_PERF]
    ids = one.there(hot)
    known: Mapping[int, object] = {}
    if one.stacks is not None and one.dumps:
        try:
            known = one.threads_in(one.dumps[-1])
        except ProbeError:
            known = dict.fromkeys(ids.values())  # the dump is at fault, not the code
    dark = set() if one.given_up else {tid for tid in hot if ids[tid] not in known}  # perf cannot name Java or Python
    yield from (tid for tid in hot if tid in dark or rates[tid].system > rates[tid].user)


def kernel_views(host: Host, one: Watched, tids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
    """What the kernel tells of threads by their ids: where they wait, in which call, its own stack; see KernelView."""
    from opsdoc.clients.kernel import KernelView

    try:
        return {view["tid"]: view for view in host.ask(KernelView(one.pid, tuple(tids))).value}
    except ProbeError as error:
        one.unseen.append(error.unseen(f"{one.subject}: threads"))
        return {}
