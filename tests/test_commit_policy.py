"""When a lane makes its block durable."""

from pipeline.flow import CommitPolicy


def test_a_block_waits_longer_where_much_is_waiting_to_be_read():
    files, stream = CommitPolicy(age_ms=10_000), CommitPolicy(age_ms=200)
    assert (stream.due_ms(is_behind=False), stream.due_ms(is_behind=True)) == (200, 2_000)
    assert (files.due_ms(is_behind=False), files.due_ms(is_behind=True)) == (10_000, 10_000)
