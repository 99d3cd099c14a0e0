"""How the benchmarks time: all sides in one process, in every round, in a new order."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]


def nothing() -> None:
    """Before a call that leaves nothing to clear."""


def interleave(
    calls: Mapping[str, Call],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    before: Call = nothing,
    shortest: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds a call, by side: one number a round.

    Args:
        calls: what is timed. Each is called once before, unless `shortest` asks for more.
        rounds: how often each side has its turn.
        clock: `time.process_time` where another program may run beside.
        before: called ahead of each call, outside its time.
        shortest: seconds; what takes less is called again until it takes as long.
    """
    counts = {}
    for name, call in calls.items():
        before()
        call()
        took = min(seconds(call, 1, clock) for _ in range(2)) if shortest else 1.0
        counts[name] = max(1, round(shortest / took))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            before()
            times[name].append(seconds(calls[name], counts[name], clock))
    return times


def seconds(call: Call, count: int, clock: Callable[[], float]) -> float:
    """The time of one call, from `count` of them."""
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count


def compare(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of the medians, and the quartiles over the rounds of the ratios within a round."""
    quarters = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    return statistics.median(ours) / statistics.median(theirs), quarters[0], quarters[2]


def peak(call: Call) -> float:
    """The largest number of bytes that a call holds at once, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    held = most = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return float(most)
