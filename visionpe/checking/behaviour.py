"""A call is a function: it changes no argument, gives no memory of its own away, repeats itself."""

import torch

from visionpe.checking.result import Verdict, failed, ok
from visionpe.checking.subject import Subject, copied, distance, flat, run, same


def inputs_untouched(subject: Subject) -> Verdict:
    """A call leaves its arguments as they were."""
    args = subject.args()
    before = copied(args)
    run(subject.fresh(), args)
    if not same(flat(args), flat(before)):
        return failed("changes its input in place")
    return ok("the input is as before")


def own_output(subject: Subject) -> Verdict:
    """Writing into a result, as `out += x` does, changes no later result."""
    module, args = subject.fresh(), subject.args()
    wanted = [out.clone() for out in run(module, copied(args))]
    for out in run(module, copied(args)):
        try:
            out.add_(1)
        except RuntimeError:
            continue  # torch itself refuses: the result is a broadcast
    if not same(run(module, copied(args)), wanted):
        return failed("a result written into changes the next one: it is the module's own memory")
    return ok("results are the caller's own")


def deterministic(subject: Subject) -> Verdict:
    """In eval mode, two calls give the same bits, whatever the state of the random numbers."""
    module, args = subject.fresh(), subject.args()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(run(module, args))
    if not same(*results):
        gap = distance(*results)
        return failed("two calls in eval mode differ", difference=gap)
    return ok("two calls are equal")
