"""When a lane makes its block durable."""

from pipeline.flow import CommitPolicy

FILES, LIVE = CommitPolicy(age_ms=10_000), CommitPolicy(age_ms=200, is_live=True)


def test_a_block_waits_longer_where_much_is_waiting_to_be_read():
    assert (LIVE.due_ms(is_behind=False), LIVE.due_ms(is_behind=True)) == (200, 2_000)
    assert (FILES.due_ms(is_behind=False), FILES.due_ms(is_behind=True)) == (10_000, 10_000)


def test_a_lane_of_live_events_commits_a_quarter_of_its_time_at_most():
    assert LIVE.rest_ms(40, 1, is_behind=False) == 120
    assert LIVE.rest_ms(400, 1, is_behind=False) == 1_200  # the age comes first


def test_many_lanes_with_quick_commits_make_forty_parts_a_second_at_most():
    assert 1000 / LIVE.rest_ms(1, 1, is_behind=False) * 1 == 40
    assert 1000 / LIVE.rest_ms(1, 20, is_behind=False) * 20 == 40


def test_files_and_what_catches_up_wait_for_the_age_alone():
    assert FILES.rest_ms(1, 1, is_behind=False) is None
    assert LIVE.rest_ms(1, 1, is_behind=True) is None


def test_a_partition_rests_after_a_small_chunk_where_events_are_live():
    assert [LIVE.pause_ms, CommitPolicy(age_ms=40, is_live=True).pause_ms, FILES.pause_ms] == [50, 10, 0]
