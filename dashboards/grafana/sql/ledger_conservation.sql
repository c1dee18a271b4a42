-- Rows and sums of the last day of the range, read row by row, less those of the rollup: each difference is 0.
SELECT
    toInt64(rows.events) - toInt64(rollup.events) AS "events",
    rows.pico - rollup.pico AS "pico-USD"
FROM (
    SELECT count() AS events, sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE toStartOfFifteenMinutes(occurred_at) >= toStartOfFifteenMinutes($__toTime) - toIntervalHour(24)
      AND toStartOfFifteenMinutes(occurred_at) <= $__toTime
      AND ignore(idempotency_key) = 0
) AS rows, (
    SELECT sum(events) AS events, sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM usage_by_quarter
    WHERE quarter >= toStartOfFifteenMinutes($__toTime) - toIntervalHour(24) AND quarter <= $__toTime
) AS rollup
