-- What was refused: one of a thousand, of several reasons, with bytes as long as an event's.
INSERT INTO rejected_events (reason, detail, raw, topic, partition, offset, rejected_at, run)
WITH
    fromUnixTimestamp64Milli(
        {end_ms:Int64} - toInt64(intDiv((intDiv({rows:UInt64}, 1000) - number - 1) * toUInt128({span_ms:Int64}), greatest(intDiv({rows:UInt64}, 1000), 1))), 'UTC'
    ) AS at,
    ['idempotency_conflict', 'missing_attribute', 'invalid_data', 'unknown_type', 'time_in_future'][1 + cityHash64(number) % 5] AS why
SELECT
    why, concat('as a test of size, for the reason ', why),
    concat('{"specversion":"1.0","id":"bad-', toString(number), '","source":"/svc","type":"compute","tenant":"acct_',
           lower(hex(toUInt32(sipHash64(toUInt32(1 + number % {tenants:UInt32}))))), '","data":{"operation":"', repeat('x', 150), '"}}'),
    'usage', number % 8, 10000000000 + number, at, 1
FROM numbers(intDiv({rows:UInt64}, 1000))
