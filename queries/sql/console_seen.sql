-- Which operations were seen, how they were priced and when last, from the sums of all tenants by time.
--
-- An operation that was priced in several ways has a line for each.
--
-- Parameters:
--   from String            from this moment on, on a quarter hour (UTC where it names no offset)
--   to String              up to this moment, likewise
--   limit UInt32 = '5000'  at most so many
-- Columns:
--   operation     as rated; empty where the event named none
--   type          of the events; correction for what takes one back
--   pricing       priced, free or unpriced
--   events        rows
--   pico_usd      Int128, exactly
--   last_quarter  the start of the last quarter hour that has it, UTC
SELECT
    operation,
    type,
    pricing,
    sum(rows) AS events,
    sum(pico) AS pico_usd,
    max(quarter) AS last_quarter
FROM (
    SELECT
        toStartOfFifteenMinutes(occurred_at) AS quarter, operation, type, pricing,
        count() AS rows,
        toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico
    FROM ledger
    WHERE toStartOfFifteenMinutes(occurred_at) >= parseDateTimeBestEffort({from:String}, 'UTC')
      AND toStartOfFifteenMinutes(occurred_at) < parseDateTimeBestEffort({to:String}, 'UTC')
    GROUP BY quarter, operation, type, pricing
)
GROUP BY operation, type, pricing
ORDER BY events DESC, operation, type, pricing
LIMIT {limit:UInt32}
