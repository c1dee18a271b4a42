-- The ledger: one row for each accepted event, additive, append-only; a plain sum is right.
--
-- ORDER BY (tenant, occurred_at): every question an analyst asks names a tenant or a time first ("what did X
-- spend in March"), and a tenant's rows of a day then lie together, where they compress best.
-- PARTITION BY month: a month is what is closed, exported and one day dropped.
-- The projections are the rollups: by quarter hour, and by month and principal. They are written in the same part
-- as the rows that they sum, so they equal them at every moment, also right after a crash; a materialised view
-- does not.
-- A part of less than 256 MB is one file, not three for each column: one of 250 000 rows is written and synced
-- in a sixth less time; merged parts become wide.
-- key_hash finds a key without reading strings; the bloom index keeps that from reading the whole table.
CREATE TABLE IF NOT EXISTS ledger (
    tenant LowCardinality(String),
    principal String,
    idempotency_key String,
    event_id String,
    source LowCardinality(String),
    type LowCardinality(String),
    operation LowCardinality(String),
    action LowCardinality(String),
    context_type LowCardinality(String),
    context_name String,
    context_display String,
    trigger LowCardinality(String),
    occurred_at DateTime64(3, 'UTC'),
    ingested_at DateTime64(3, 'UTC'),
    method LowCardinality(String),
    endpoint LowCardinality(String),
    status Int64,
    object String,
    provider LowCardinality(String),
    verified Bool,
    attributes String,
    request_bytes Int64,
    response_bytes Int64,
    delta_bytes Int64,
    base_units Decimal(38, 6),
    weighted_units Decimal(38, 6),
    usage Map(LowCardinality(String), Decimal(38, 6)),
    cost_micro_usd Int64,
    residual_pico_usd Int32,
    breakdown_sources Array(LowCardinality(String)),
    breakdown_pico_usd Array(Int64),
    pricing LowCardinality(String),
    settlement LowCardinality(String),
    reconciled Bool,
    catalog_version LowCardinality(String),
    billing_period LowCardinality(String),
    voids String,
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    key_hash UInt128,
    fingerprint UInt64,
    run UInt32,
    INDEX key_hash_bloom key_hash TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION by_quarter (
        SELECT
            tenant, toStartOfFifteenMinutes(occurred_at) AS quarter, operation, settlement, billing_period,
            count(), sum(cost_micro_usd), sum(residual_pico_usd), sum(request_bytes), sum(response_bytes),
            sum(delta_bytes), sum(base_units), sum(weighted_units)
        GROUP BY tenant, quarter, operation, settlement, billing_period
    ),
    PROJECTION by_principal (
        SELECT
            billing_period, tenant, principal, settlement,
            count(), sum(type = 'correction'), sum(pricing = 'unpriced'),
            sum(toInt128(cost_micro_usd)), sum(residual_pico_usd), sum(toInt128(request_bytes)),
            sum(toInt128(response_bytes)), sum(toInt128(delta_bytes)), sum(base_units), sum(weighted_units),
            min(occurred_at), max(occurred_at)
        GROUP BY billing_period, tenant, principal, settlement
    )
) ENGINE = MergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant, occurred_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    old_parts_lifetime = 480, non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 268435456;

-- Sums by month and principal; answered from the projection. Corrections and unpriced rows are among the events.
CREATE VIEW IF NOT EXISTS usage_by_principal AS
SELECT
    billing_period, tenant, principal, settlement,
    count() AS events, sum(type = 'correction') AS corrections, sum(pricing = 'unpriced') AS unpriced,
    sum(toInt128(cost_micro_usd)) AS cost_micro_usd, sum(residual_pico_usd) AS residual_pico_usd,
    sum(toInt128(request_bytes)) AS request_bytes, sum(toInt128(response_bytes)) AS response_bytes,
    sum(toInt128(delta_bytes)) AS delta_bytes, sum(base_units) AS base_units,
    sum(weighted_units) AS weighted_units, min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at
FROM ledger
GROUP BY billing_period, tenant, principal, settlement;

-- Quarter-hour sums by tenant, operation and settlement; answered from the projection.
CREATE VIEW IF NOT EXISTS usage_by_quarter AS
SELECT
    tenant, toStartOfFifteenMinutes(occurred_at) AS quarter, operation, settlement, billing_period,
    count() AS events, sum(cost_micro_usd) AS cost_micro_usd, sum(residual_pico_usd) AS residual_pico_usd,
    sum(request_bytes) AS request_bytes, sum(response_bytes) AS response_bytes,
    sum(delta_bytes) AS delta_bytes, sum(base_units) AS base_units, sum(weighted_units) AS weighted_units
FROM ledger
GROUP BY tenant, quarter, operation, settlement, billing_period;

CREATE TABLE IF NOT EXISTS rejected_events (
    reason LowCardinality(String),
    detail String,
    raw String,
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    rejected_at DateTime64(3, 'UTC'),
    run UInt32
) ENGINE = MergeTree
PARTITION BY toYYYYMM(rejected_at)
ORDER BY (topic, partition, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    old_parts_lifetime = 480, non_replicated_deduplication_window = 10000;

-- One row for each crossing of a threshold of a spend window, up (crossed) or back (cleared).
-- topic, partition, offset: the event that caused it; empty when it was found at a start.
CREATE TABLE IF NOT EXISTS cap_decisions (
    tenant LowCardinality(String),
    window LowCardinality(String),
    window_start DateTime('UTC'),
    limit_micro_usd Int64,
    current_micro_usd Int64,
    threshold_percent UInt32,
    state LowCardinality(String),
    decided_at DateTime64(3, 'UTC'),
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    sequence UInt64,
    run UInt32
) ENGINE = MergeTree
ORDER BY (tenant, window, window_start, threshold_percent, sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    old_parts_lifetime = 480, non_replicated_deduplication_window = 10000;

-- How far each lane has made each input durable, and what it counted on the way (contract, section 2).
-- All records of the lane's slots (slot % lanes = lane) with an offset below `position` have an outcome.
CREATE TABLE IF NOT EXISTS progress (
    run UInt32,
    lane UInt32,
    lanes UInt32,
    topic String,
    partition UInt32,
    pass UInt32,
    position UInt64,
    accepted UInt64,
    duplicates UInt64,
    conflicts UInt64,
    rejected UInt64,
    replayed UInt64,
    written_at DateTime64(3, 'UTC')
) ENGINE = MergeTree
ORDER BY (topic, partition, pass, run, lane)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
    old_parts_lifetime = 480, non_replicated_deduplication_window = 10000;

-- Each run takes the next number here before it reads; what an older run still sends is refused. Of two runs that
-- want the same number at once one gets it: the number is the insert's deduplication token.
CREATE TABLE IF NOT EXISTS runs (
    run UInt32,
    started_at DateTime64(3, 'UTC'),
    token String
) ENGINE = MergeTree ORDER BY run
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 10000;

-- A reading of a file from its first to its last line is a pass; one that was cut is taken up again.
CREATE TABLE IF NOT EXISTS passes (
    topic String,
    pass UInt32,
    first_run UInt32,
    head_bytes UInt64,
    head_digest String,
    finished UInt8,
    written_at DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY (topic, pass)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS meta (
    name String,
    value String
) ENGINE = MergeTree ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The doors: rows come in through tables that keep nothing, whose views refuse an older run.
CREATE TABLE IF NOT EXISTS ledger_in AS ledger ENGINE = Null;
CREATE MATERIALIZED VIEW IF NOT EXISTS ledger_fence TO ledger AS
SELECT * FROM ledger_in WHERE throwIf(run < (SELECT max(run) FROM runs), 'fenced by a newer run') = 0;

CREATE TABLE IF NOT EXISTS rejected_events_in AS rejected_events ENGINE = Null;
CREATE MATERIALIZED VIEW IF NOT EXISTS rejected_events_fence TO rejected_events AS
SELECT * FROM rejected_events_in WHERE throwIf(run < (SELECT max(run) FROM runs), 'fenced by a newer run') = 0;

CREATE TABLE IF NOT EXISTS cap_decisions_in AS cap_decisions ENGINE = Null;
CREATE MATERIALIZED VIEW IF NOT EXISTS cap_decisions_fence TO cap_decisions AS
SELECT * FROM cap_decisions_in WHERE throwIf(run < (SELECT max(run) FROM runs), 'fenced by a newer run') = 0;

CREATE TABLE IF NOT EXISTS progress_in AS progress ENGINE = Null;
CREATE MATERIALIZED VIEW IF NOT EXISTS progress_fence TO progress AS
SELECT * FROM progress_in WHERE throwIf(run < (SELECT max(run) FROM runs), 'fenced by a newer run') = 0;
