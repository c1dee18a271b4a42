"""When a lane makes its block durable."""

from pipeline.flow import CommitPolicy


def test_a_block_waits_longer_where_commits_take_long_but_not_for_ever():
    policy = CommitPolicy(age_ms=200)
    assert [policy.due_ms(took) for took in (0, 66, 100, 600, 60_000)] == [200, 200, 300, 1_800, 2_000]
    assert CommitPolicy(age_ms=10_000).due_ms(60_000) == 10_000
