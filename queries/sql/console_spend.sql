-- Spend over time, from the rollup: what the console draws.
--
-- Asked in the very words of the projection, so that it is summed once and not by tenant and quarter hour before.
-- A bucket is right up to 9.2 trillion USD.
--
-- Parameters:
--   from String          from this moment on, on a quarter hour (UTC where it names no offset)
--   to String            up to this moment, likewise
--   tenant String = ''   only this tenant; empty: all
--   step UInt32 = '900'  seconds of a bucket, a multiple of 900; 86400 and more: calendar days of the zone
--   zone String = 'UTC'  where days begin: an IANA name
-- Columns:
--   bucket      where the bucket begins, UTC
--   settlement  metered, credit, rate-limited or free
--   events      rows, corrections among them
--   pico_usd    Int128, exactly
SELECT
    if({step:UInt32} >= 86400,
       toDateTime(toStartOfDay(toStartOfFifteenMinutes(occurred_at), {zone:String}), 'UTC'),
       toDateTime(intDiv(toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)), {step:UInt32}) * {step:UInt32}, 'UTC')) AS bucket,
    settlement,
    count() AS events,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM ledger
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND toStartOfFifteenMinutes(occurred_at) >= parseDateTimeBestEffort({from:String}, 'UTC')
  AND toStartOfFifteenMinutes(occurred_at) < parseDateTimeBestEffort({to:String}, 'UTC')
GROUP BY bucket, settlement
ORDER BY bucket, settlement
