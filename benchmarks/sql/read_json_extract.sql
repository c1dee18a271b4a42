-- Yardstick B: the fastest SQL that we know.
(
    SELECT
        tupleElement(event, 'id') AS id,
        tupleElement(event, 'source') AS source,
        tupleElement(event, 'type') AS type,
        tupleElement(event, 'tenant') AS tenant,
        tupleElement(event, 'subject') AS subject,
        parseDateTime64BestEffort(tupleElement(event, 'time'), 3, 'UTC') AS time,
        tupleElement(event, 'idempotencykey') AS idempotencykey,
        tupleElement(event, 'data') AS data
    FROM (
        SELECT JSONExtract(line, $$Tuple(
            id String, source LowCardinality(String), type LowCardinality(String),
            tenant LowCardinality(String), subject String, time String, idempotencykey String,
            data Tuple(
                operation LowCardinality(String), action LowCardinality(String),
                context Tuple(type LowCardinality(String), name String, display String),
                trigger LowCardinality(String), usage Map(LowCardinality(String), Decimal(38, 6)),
                method LowCardinality(String), endpoint LowCardinality(String), status Int64,
                request_bytes Int64, response_bytes Int64, units Nullable(Decimal(38, 6)),
                delta_bytes Int64, object String, provider LowCardinality(String), verified Bool, event String
            )
        )$$) AS event
        FROM file({path:String}, 'LineAsString', 'line String')
    )
)
