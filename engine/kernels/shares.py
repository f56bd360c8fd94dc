"""A batch shared out to threads, for kernels that release the interpreter and treat every item by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["in_shares"]


def in_shares(work: Callable[[slice], None], count: int, threads: int, least: int = 1) -> None:
    """Call ``work`` for contiguous shares of ``count`` items, together all of them, each once.

    threads : at most so many at a time, this one among them; least : fewer items than these are no share of their own,
        as starting a thread costs some 50 microseconds
    What ``work`` raises is raised here, when all shares have ended. The threads end with the call: nothing stays behind
    that would spin beside the network's threads or that a fork would lose.
    """
    n = max(1, min(threads, count // least))
    shares = [slice(count * k // n, count * (k + 1) // n) for k in range(n)]
    if n == 1:
        work(shares[0])
        return
    with ThreadPoolExecutor(n - 1) as pool:
        others = [pool.submit(work, share) for share in shares[1:]]
        work(shares[0])
    for other in others:
        other.result()
