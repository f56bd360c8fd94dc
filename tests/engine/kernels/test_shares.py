"""A batch shared out to threads."""

from __future__ import annotations

import threading

import pytest

from uadbench.engine.kernels.shares import in_shares


@pytest.mark.parametrize(
    ("count", "threads", "least", "shares"),
    [
        (16, 2, 1, [8, 8]),
        (7, 3, 1, [2, 2, 3]),
        (2, 8, 1, [1, 1]),
        (15, 2, 8, [15]),
        (16, 2, 8, [8, 8]),
        (0, 4, 1, [0]),
    ],
)
def test_every_item_is_in_one_share_and_no_share_is_smaller_than_it_is_worth(count, threads, least, shares):
    seen: list[slice] = []
    in_shares(seen.append, count, threads, least)
    seen.sort(key=lambda share: share.start)
    assert [share.stop - share.start for share in seen] == shares
    assert [n for share in seen for n in range(share.start, share.stop)] == list(range(count))


def test_shares_run_at_the_same_time_and_their_threads_end():
    before, meeting = threading.active_count(), threading.Barrier(3)
    in_shares(lambda share: meeting.wait(timeout=10) and None, 3, 3)
    assert threading.active_count() == before


def test_what_a_share_raises_reaches_the_caller():
    def work(share: slice) -> None:
        if share.start:
            raise ValueError("the second share")

    with pytest.raises(ValueError, match="second share"):
        in_shares(work, 4, 2)
