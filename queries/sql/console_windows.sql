-- What some tenants have spent since their day and their month began, as caps count it: whole days (of UTC) before
-- today from the sums by day, the rest from the rollup.
--
-- Parameters:
--   windows String  a JSON array of [tenant, start of its day, start of its month], in epoch seconds
-- Columns:
--   tenant          who pays
--   day_events      rows since the day began
--   day_pico_usd    Int128, exactly
--   month_events    rows since the month began
--   month_pico_usd  Int128, exactly
WITH
    JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))') AS starts,
    4294967295 AS never,
    arrayMap(s -> toUInt32(intDiv(s.month_s + 86399, 86400) * 86400), starts) AS firsts,
    arrayMap((s, first) -> greatest(toUInt32(intDiv(s.day_s, 86400) * 86400), first), starts, firsts) AS lasts
SELECT
    tenant,
    sumIf(counted, is_day) AS day_events,
    sumIf(pico, is_day) AS day_pico_usd,
    sum(counted) AS month_events,
    sum(pico) AS month_pico_usd
FROM (
    SELECT
        tenant, 0 AS is_day, count() AS counted,
        toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE tenant IN (SELECT arrayJoin(JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))').tenant))
      AND toStartOfDay(toStartOfFifteenMinutes(occurred_at)) >= toDateTime(arrayMin(arrayPushBack(firsts, never)), 'UTC')
      AND toStartOfDay(toStartOfFifteenMinutes(occurred_at)) < toDateTime(arrayMax(arrayPushBack(lasts, 0)), 'UTC')
      AND toUnixTimestamp(toStartOfDay(toStartOfFifteenMinutes(occurred_at))) >= transform(tenant, starts.tenant, firsts, never)
      AND toUnixTimestamp(toStartOfDay(toStartOfFifteenMinutes(occurred_at))) < transform(tenant, starts.tenant, lasts, 0)
      AND settlement IN ('metered', 'credit')
    GROUP BY tenant
    UNION ALL
    SELECT
        tenant,
        toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) >= transform(tenant, starts.tenant, starts.day_s, never) AS is_day,
        count() AS counted,
        toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE tenant IN (SELECT arrayJoin(JSONExtract({windows:String}, 'Array(Tuple(tenant String, day_s UInt32, month_s UInt32))').tenant))
      AND toStartOfFifteenMinutes(occurred_at) >= toDateTime(arrayMin(arrayPushBack(starts.month_s, never)), 'UTC')
      AND (toStartOfFifteenMinutes(occurred_at) < toDateTime(arrayMax(arrayPushBack(firsts, 0)), 'UTC')
           OR toStartOfFifteenMinutes(occurred_at) >= toDateTime(arrayMin(arrayPushBack(lasts, never)), 'UTC'))
      AND toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) >= transform(tenant, starts.tenant, starts.month_s, never)
      AND (toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) < transform(tenant, starts.tenant, firsts, 0)
           OR toUnixTimestamp(toStartOfFifteenMinutes(occurred_at)) >= transform(tenant, starts.tenant, lasts, never))
      AND settlement IN ('metered', 'credit')
    GROUP BY tenant, is_day
)
GROUP BY tenant
ORDER BY tenant
