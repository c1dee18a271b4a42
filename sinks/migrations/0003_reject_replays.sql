-- The replay log: rejects that were handed in again, one line each, numbered through from 1 without gaps. It is an
-- input like a partition: what comes of line n has the place ('@replay', 0, n) in `ledger` or `rejected_events`, and
-- `progress` says how far the log was read. A reject stands in it once, what is refused again is a new reject.
-- from_topic, from_partition, from_offset: the place of the first reject of a chain, by which a log line has its key.
-- raw: the line that was handed in, arrived_at: when an event without a time is taken to have happened.
CREATE TABLE IF NOT EXISTS reject_replays (
    number UInt64,
    reject String,
    reason LowCardinality(String),
    from_topic LowCardinality(String),
    from_partition UInt32,
    from_offset UInt64,
    raw String,
    by_hand Bool,
    format LowCardinality(String),
    header String,
    arrived_at DateTime64(3, 'UTC'),
    replayed_at DateTime64(3, 'UTC'),
    run UInt32
) ENGINE = MergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    old_parts_lifetime = 480, non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS reject_replays_in AS reject_replays ENGINE = Null;
CREATE MATERIALIZED VIEW IF NOT EXISTS reject_replays_fence TO reject_replays AS
SELECT * FROM reject_replays_in WHERE throwIf(run < (SELECT max(run) FROM runs), 'fenced by a newer run') = 0;

-- Lines that a person has mended: the newest one of a reject is handed in instead of its bytes, which stay.
CREATE TABLE IF NOT EXISTS reject_fixes (
    reject String,
    raw String,
    who String,
    fixed_at DateTime64(3, 'UTC')
) ENGINE = MergeTree
ORDER BY (reject, fixed_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Rejects by their name: the first 16 digits of a hash over place, reason and bytes, by which a file that is read
-- again knows them, too.
CREATE VIEW IF NOT EXISTS rejects AS
SELECT
    lower(hex(substring(SHA256(concat(
        topic, char(0), toString(partition), char(0), toString(offset), char(0), reason, char(0), raw
    )), 1, 8))) AS reject,
    reason, detail, raw, topic, partition, offset, rejected_at, run
FROM rejected_events;

-- What came of each line of the replay log: accepted (a row of the ledger has its place), rejected (and as which new
-- reject), duplicate (its key was there), or pending (it was not read yet).
CREATE VIEW IF NOT EXISTS reject_outcomes AS
WITH (
    SELECT if(count() = 256, min(position), 0)
    FROM (
        SELECT slot, max(position) AS position
        FROM (SELECT lane, lanes, position, arrayJoin(range(256)) AS slot FROM progress WHERE topic = '@replay')
        WHERE slot % lanes = lane
        GROUP BY slot
    )
) AS done
SELECT
    number, reject, by_hand, format, replayed_at, from_topic, from_partition, from_offset,
    multiIf(
        number IN (SELECT offset FROM ledger WHERE topic = '@replay'), 'accepted',
        became != '', 'rejected',
        number < done, 'duplicate',
        'pending'
    ) AS outcome,
    became
FROM reject_replays AS log
LEFT JOIN (SELECT reject AS became, offset FROM rejects WHERE topic = '@replay') AS again ON log.number = again.offset;
