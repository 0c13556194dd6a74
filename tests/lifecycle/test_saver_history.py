from __future__ import annotations

from ckptmgr.lifecycle.saver_history import SaverHistory


def test_equals_tensorflows_trace() -> None:
    # tf.compat.v1.train.Saver, max_to_keep=2, every hour, built at 1000, a save each 1500 s.
    history = SaverHistory(2, 3600.0, 1000.0 + 3600.0)
    on_disk = []
    for step in range(12):
        on_disk.append(f"m-{step}")
        history.record(f"m-{step}", 2500.0 + 1500.0 * step)
        for victim in history.take_victims():
            on_disk.remove(victim)
    assert on_disk == ["m-2", "m-4", "m-7", "m-9", "m-10", "m-11"]
    assert history.next_kept_after_secs == 19000.0


def test_without_a_limit_nothing_is_remembered() -> None:
    for limit in (None, 0):
        history = SaverHistory(limit, 3600.0, 0.0)
        history.record("m-1", 1.0)
        assert (history.last, history.take_victims()) == ([], [])


def test_saving_again_moves_a_checkpoint_to_the_end() -> None:
    history = SaverHistory(2, 3600.0, 1e9)
    for prefix in ("a", "b", "a", "c"):
        history.record(prefix, 0.0)
    assert [prefix for prefix, _ in history.last] == ["a", "c"]
    assert history.take_victims() == ["b"]


def test_a_victim_that_is_held_comes_next_and_leaves_the_clock_alone() -> None:
    history = SaverHistory(1, 3600.0, 100.0)
    history.record("a", 50.0)
    history.record("b", 60.0)
    assert history.take_victims() == ["a"]
    history.put_back("a")
    history.record("c", 70.0)
    assert history.take_victims() == ["a", "b"]
    assert history.take_victims() == []
    assert history.next_kept_after_secs == 100.0


def test_a_victim_that_is_saved_again_is_one_no_longer() -> None:
    history = SaverHistory(1, 3600.0, 100.0)
    history.record("a", 50.0)
    history.record("b", 60.0)
    assert history.take_victims() == ["a"]
    history.put_back("a")
    history.record("a", 70.0)
    assert history.take_victims() == ["b"]
