-- Yardstick A: what a user would write.
(
    SELECT *
    FROM file(
        {path:String},
        'JSONEachRow',
        $$
            id String, source LowCardinality(String), type LowCardinality(String),
            tenant LowCardinality(String), subject String, time DateTime64(3, 'UTC'), idempotencykey String,
            data Tuple(
                operation String, action String, context Tuple(type String, name String, display String),
                trigger String, usage Map(String, Decimal(38, 6)),
                method String, endpoint String, status Int64, request_bytes Int64, response_bytes Int64,
                units Nullable(Decimal(38, 6)), delta_bytes Int64, object String, provider String,
                verified Bool, event String
            )
        $$
    )
)
