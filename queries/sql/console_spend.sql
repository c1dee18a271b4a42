-- Spend over time, from the rollup: what the console draws.
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
       toDateTime(toStartOfDay(quarter, {zone:String}), 'UTC'),
       toDateTime(intDiv(toUnixTimestamp(quarter), {step:UInt32}) * {step:UInt32}, 'UTC')) AS bucket,
    settlement,
    sum(rollup.events) AS events,
    sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM usage_by_quarter AS rollup
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND quarter >= parseDateTimeBestEffort({from:String}, 'UTC')
  AND quarter < parseDateTimeBestEffort({to:String}, 'UTC')
GROUP BY bucket, settlement
ORDER BY bucket, settlement
