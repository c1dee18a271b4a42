-- Locked billing periods: each locking and each opening is a row, and of the rows of a period of a tenant ('': all
-- tenants) the one with the highest sequence counts. Usage for a locked period is billed in the first open one, or
-- refused.
CREATE TABLE IF NOT EXISTS period_locks (
    tenant String,
    period String,
    is_locked Bool,
    sequence UInt64,
    changed_at DateTime64(3, 'UTC'),
    who String,
    why String
) ENGINE = MergeTree
ORDER BY (tenant, period, sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000;

-- The locks that a run found when it began and went by; none stands here where nothing was locked.
CREATE TABLE IF NOT EXISTS run_locks (
    run UInt32,
    late LowCardinality(String),
    tenant String,
    period String
) ENGINE = MergeTree
ORDER BY (run, tenant, period)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000;
