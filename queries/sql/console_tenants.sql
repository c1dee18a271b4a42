-- What tenants cost, the dearest first and page by page: whole days (of UTC) from the sums by day, whole hours at both
-- ends from the sums by hour, and what is left from the rollup.
--
-- Asked in the very words of the projections, so that nothing is summed twice. An amount is right up to 9.2 trillion
-- USD.
--
-- Parameters:
--   from String              from this moment on, on a quarter hour (UTC where it names no offset)
--   to String                up to this moment, likewise
--   search String = ''       only tenants whose name holds this, in any case
--   names String = '[]'      and those of this JSON array (whose display names hold it, say)
--   after_pico Int128 = '170141183460469231731687303715884105727'  the last amount of the page before
--   after_tenant String = '' the last tenant of the page before
--   limit UInt32 = '10'      at most so many
-- Columns:
--   tenant    who pays
--   events    rows, corrections among them
--   pico_usd  Int128, exactly
WITH
    parseDateTimeBestEffort({from:String}, 'UTC') AS begin,
    greatest(parseDateTimeBestEffort({to:String}, 'UTC'), begin) AS end,
    least(toStartOfHour(begin + INTERVAL 3599 SECOND), end) AS first_hour,
    greatest(toStartOfHour(end), first_hour) AS after_hours,
    least(toStartOfDay(first_hour + INTERVAL 86399 SECOND), after_hours) AS first_day,
    greatest(toStartOfDay(after_hours), first_day) AS after_days
SELECT
    tenant,
    sum(counted) AS events,
    toInt128(sum(micro)) * 1000000 + sum(rest) AS pico_usd
FROM (
    SELECT
        tenant, count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger
    WHERE toStartOfDay(toStartOfFifteenMinutes(occurred_at)) >= first_day
      AND toStartOfDay(toStartOfFifteenMinutes(occurred_at)) < after_days
    GROUP BY tenant
    UNION ALL
    SELECT
        tenant, count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger
    WHERE toStartOfHour(toStartOfFifteenMinutes(occurred_at)) >= first_hour
      AND toStartOfHour(toStartOfFifteenMinutes(occurred_at)) < first_day
    GROUP BY tenant
    UNION ALL
    SELECT
        tenant, count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger
    WHERE toStartOfHour(toStartOfFifteenMinutes(occurred_at)) >= after_days
      AND toStartOfHour(toStartOfFifteenMinutes(occurred_at)) < after_hours
    GROUP BY tenant
    UNION ALL
    SELECT
        tenant, count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger
    WHERE toStartOfFifteenMinutes(occurred_at) >= begin
      AND toStartOfFifteenMinutes(occurred_at) < first_hour
    GROUP BY tenant
    UNION ALL
    SELECT
        tenant, count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger
    WHERE toStartOfFifteenMinutes(occurred_at) >= after_hours
      AND toStartOfFifteenMinutes(occurred_at) < end
    GROUP BY tenant
)
WHERE {search:String} = ''
   OR positionCaseInsensitiveUTF8(tenant, {search:String}) > 0
   OR tenant IN (SELECT arrayJoin(JSONExtract({names:String}, 'Array(String)')))
GROUP BY tenant
HAVING pico_usd < {after_pico:Int128} OR (pico_usd = {after_pico:Int128} AND tenant > {after_tenant:String})
ORDER BY pico_usd DESC, tenant
LIMIT {limit:UInt32}
