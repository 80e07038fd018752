"""Dumps of the processes under watch: when one is worth its pause, and how it is taken."""

from __future__ import annotations

from collections.abc import Sequence

from opsdoc.host import Answer, Host
from opsdoc.looks.watched import LIVELY, Dump, Watched
from opsdoc.model import ProbeError

NEVER = 1 << 30  # rounds
ENOUGH = 32 << 20  # bytes of dumps, which are kept until the end of the window
TOO_SLOW = 0.3  # seconds for a dump that stops nobody: a process so big makes our own cost grow
SETTLED = 0.7  # of a process's CPU: a dump that saw the code of so much of it tells enough


def prepare(host: Host, watched: Sequence[Watched]) -> None:
    """Bring the stacks within reach; a process whose stacks are not gets none."""
    asked = [(one, question) for one in watched if one.stacks and (question := one.stacks.prepare()) is not None]
    for (one, _), answer in zip(asked, host.gather([question for _, question in asked]), strict=True):
        if isinstance(answer, ProbeError):
            _give_up(one, answer)


def wanted(one: Watched, number: int, budget: float, most: int) -> bool:
    """Whether a dump is due in a round: the first always, more only where they tell more and fit into the budget."""
    if one.stacks is None or number % one.every:
        return False
    if not one.dumps:
        return True
    if most:
        tells_more = len(one.dumps) < most
    else:
        tells_more = not one.stacks.pauses or not (_must_not_repeat(one) or _tells_enough(one))
    if not tells_more:
        one.every = NEVER
    return tells_more and _affordable(one, budget)


def _affordable(one: Watched, budget: float) -> bool:
    took = [dump.took for dump in one.dumps]
    if sum(len(dump.raw) for dump in one.dumps) > ENOUGH:
        return False
    if one.stacks is not None and one.stacks.pauses:
        return sum(took) + max(took) <= budget
    return max(took) <= TOO_SLOW


def _must_not_repeat(one: Watched) -> bool:
    return one.stacks is not None and one.stacks.costly([stat.name for stat in one.samples[0].stats.values()])


def _tells_enough(one: Watched) -> bool:
    """Whether the last dump saw those threads at work that use the CPU: another would stop the process for little."""
    hot = {tid: rate.cpu for tid, rate in one.rates_so_far().items() if rate.cpu >= LIVELY}
    if one.stacks is None or not hot:
        return False
    ids = one.there(list(hot))
    try:
        seen = one.threads_in(one.dumps[-1])
    except ProbeError:
        return False
    told = sum(cpu for tid, cpu in hot.items() if ids[tid] not in seen or one.stacks.at_work(seen[ids[tid]]))
    return told >= SETTLED * sum(hot.values())


def take(host: Host, due: Sequence[Watched]) -> None:
    """One dump of each."""
    answers = host.gather([one.stacks.question() for one in due if one.stacks is not None])
    for one, answer in zip(due, answers, strict=True):
        if isinstance(answer, Answer):
            one.dumps.append(Dump(answer.value, answer.at, answer.took))
        else:
            _give_up(one, answer)


def complete(host: Host, watched: Sequence[Watched]) -> None:
    """Ask for what the dumps could not tell of the threads that used CPU."""
    asked = []
    for one in watched:
        if one.stacks is not None and one.dumps:
            tids = set(one.there(one.lively()).values())
            question = one.stacks.complement([dump.raw for dump in one.dumps], tids)
            if question is not None:
                asked.append((one, question))
    for (one, _), answer in zip(asked, host.gather([question for _, question in asked]), strict=True):
        if isinstance(answer, Answer):
            one.complement = answer.value
        else:
            one.unseen.append(answer.unseen(f"{one.subject}: stacks"))


def _give_up(one: Watched, error: ProbeError) -> None:
    """No more dumps of a process; those taken before the failure stay."""
    one.unseen.append(error.unseen(f"{one.subject}: stacks"))
    one.every = NEVER
    if not one.dumps:
        one.stacks = None
        one.given_up = True
