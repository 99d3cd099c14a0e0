"""How much to compute at once, so that it is still in the cache when it is used."""

from collections.abc import Iterator

import torch


def cached_numbers() -> int:
    """How many numbers to compute at once: 2 MiB of float32 a thread, 8 MiB at most."""
    return 2**19 * min(torch.get_num_threads(), 4)


def keep_pages() -> None:
    """Lets glibc keep the memory of a block for the next one.

    A piece of up to 32 MiB that is freed once is the size below which glibc does not give memory
    back at once. A block that comes with no pages waits for each of them, longer than it computes.
    """
    torch.empty(2 * cached_numbers())


def parts(length: int, most: int) -> Iterator[slice]:
    """Parts of nearly the same length: for a small rest torch may take another kernel.

    >>> list(parts(10, 4))
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    count = max(-(-length // max(most, 1)), 1)
    ends = [length * i // count for i in range(count + 1)]
    return map(slice, ends, ends[1:])
