"""Reading ahead keeps the order, bounds what is ahead, and stops when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fapm_cli.pictures.read_ahead import batched, in_order


def test_results_come_in_the_items_order_however_long_each_takes() -> None:
    def work(i: int) -> int:
        time.sleep(0.01 * (i % 3))
        return i * i

    assert list(in_order(range(30), work, ahead=5)) == [i * i for i in range(30)]


def test_no_more_is_read_ahead_than_allowed() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    results = in_order(source(), lambda i: i, ahead=4)
    next(results)
    assert len(taken) <= 5


def test_an_error_is_raised_in_its_place() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    results = in_order(range(6), work, ahead=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_none_gives_out_what_is_in_hand_before_more_is_asked_for() -> None:
    asked: list[int | None] = []

    def source() -> Iterator[int | None]:
        for i in (1, 2, None, None, 3):
            asked.append(i)
            yield i

    def work(i: int) -> int:
        time.sleep(0.02)
        return i

    results = in_order(source(), work, ahead=8)
    assert [next(results), next(results), asked] == [1, 2, [1, 2, None]]
    assert list(results) == [3]


def test_stopping_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = in_order(range(1000), lambda i: i, ahead=8)
    next(results)
    results.close()  # type: ignore[attr-defined]
    end = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_drops_it_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped generators are collected in any thread, also in one that others need to end."""
    monkeypatch.setattr("fapm_cli.pictures.read_ahead.usable_cores", lambda: 2)
    begun, over = threading.Event(), threading.Event()

    def work(i: int) -> int:
        if i == 0:
            begun.wait(20)
        else:
            begun.set()
            over.wait(20)
        return i

    results = in_order(range(9), work, ahead=4)
    assert next(results) == 0
    dropping = threading.Thread(target=results.close)  # type: ignore[attr-defined]
    dropping.start()
    dropping.join(10)
    dropped = not dropping.is_alive()
    over.set()
    dropping.join()
    assert dropped


def test_each_thread_begins_once() -> None:
    begun: list[int] = []
    list(in_order(range(20), lambda i: i, begin=lambda: begun.append(threading.get_ident())))
    assert begun
    assert len(begun) == len(set(begun))


def test_batches_hold_everything_and_the_last_may_be_shorter() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []
