"""The table of counted keys: finds what was put, whatever it has grown through."""

import numpy as np
import pytest

from pipeline.keys import KeyTable


def drawn(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(1, 1 << 64, (count, 2), np.uint64), draw.integers(0, 1 << 64, count, np.uint64)


@pytest.mark.parametrize("cells", [1, 2, 7, 1_000, 70_000, 100_000])
def test_a_table_of_any_size_keeps_every_key_with_its_fingerprint_through_every_growth(cells: int) -> None:
    hashes, prints = drawn(cells, 300_000)
    table = KeyTable(cells)
    for start in range(0, len(hashes), 37_501):
        table.put(hashes[start : start + 37_501], prints[start : start + 37_501])
    assert len(table) == len(hashes)
    assert [table.fingerprint(key) for key in hashes[::101]] == prints[::101].tolist()
    table.put(hashes, prints)
    assert len(table) == len(hashes), "a key that is there was entered once more"


def test_keys_that_crowd_at_the_end_of_the_table_go_on_at_its_beginning() -> None:
    low = np.full(500, (1 << 64) - 1, np.uint64)
    hashes = np.column_stack((np.arange(1, 501, dtype=np.uint64), low))
    table = KeyTable(600)
    table.put(hashes, np.arange(500, dtype=np.uint64))
    table.put(*drawn(1, 200_000))
    assert [table.fingerprint(key) for key in hashes] == list(range(500))


def test_a_key_takes_at_most_forty_bytes_once_the_table_has_grown() -> None:
    table = KeyTable(1_000)
    for seed in range(60):
        table.put(*drawn(seed, 5_000))
        assert table.bytes_held() <= 40 * max(len(table), 1_000)
