-- Crossings of the thresholds of daily limits: of each tenant in ten, one each day.
INSERT INTO cap_decisions
    (tenant, window, window_start, limit_micro_usd, current_micro_usd, threshold_percent, state, decided_at, topic, partition, offset, sequence, run)
WITH
    1 + 10 * (number % intDiv({tenants:UInt32} + 9, 10)) AS rank,
    toDateTime(intDiv({end_ms:Int64}, 1000), 'UTC') - toIntervalDay(intDiv(number, intDiv({tenants:UInt32} + 9, 10))) AS at
SELECT
    concat('acct_', lower(hex(toUInt32(sipHash64(toUInt32(rank)))))), 'day', toStartOfDay(at), 1000000, 810000, 80, 'crossed',
    at, 'usage', number % 8, number, number, 1
FROM numbers(intDiv({tenants:UInt32} + 9, 10) * intDiv({span_ms:Int64}, 86400000))
