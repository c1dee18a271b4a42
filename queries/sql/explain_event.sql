-- One event from its key to its money: its row, the rows that void it, and the quarter hours they are summed in.
-- What Stripe was told of those hours is not in the ledger: see queries/explain.py.
--
-- Parameters:
--   tenant String  who pays
--   key String     the idempotency key
-- Columns:
--   part               event, correction (voids the event), or rollup (a line of usage_by_quarter that holds them)
--   tenant             who pays
--   principal          who caused it; empty for a rollup
--   idempotency_key    empty for a rollup
--   voids              the key that a correction voids
--   type               empty for a rollup
--   operation          as rated
--   occurred_at        UTC; for a rollup the start of the quarter hour
--   ingested_at        UTC; 1970 for a rollup
--   events             1, or how many rows the quarter hour has
--   cost_micro_usd     Int64, rounded down
--   residual_pico_usd  0 to 999999, what cost_micro_usd leaves out
--   cost_usd           text, both exactly
--   breakdown_sources  the components' cost sources; empty for a rollup
--   breakdown_pico_usd what each component costs
--   pricing            priced, free or unpriced; empty for a rollup
--   settlement         metered, credit, rate-limited or free
--   billing_period     YYYY-MM
--   catalog_version    that rated it; empty for a rollup
--   topic              where it came from; empty for a rollup
--   partition          for files: 0
--   offset             for files: the line number
WITH found AS (
    SELECT *
    FROM ledger
    WHERE tenant = {tenant:String}
      AND ((idempotency_key = {key:String} AND voids = '') OR voids = {key:String})
)
SELECT
    part, tenant, principal, idempotency_key, voids, type, operation, occurred_at, ingested_at, events,
    accurateCast(intDiv(pico - positiveModulo(pico, 1000000), 1000000), 'Int64') AS cost_micro_usd,
    positiveModulo(pico, 1000000) AS residual_pico_usd,
    toString(toDecimal128(pico, 0) * toDecimal128('0.000000000001', 12)) AS cost_usd,
    breakdown_sources, breakdown_pico_usd, pricing, settlement, billing_period, catalog_version,
    topic, partition, offset
FROM (
    SELECT
        if(voids = '', 'event', 'correction') AS part,
        toString(tenant) AS tenant, principal, idempotency_key, voids, toString(type) AS type,
        toString(operation) AS operation, occurred_at, ingested_at,
        toUInt64(1) AS events,
        toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS pico,
        arrayMap(name -> toString(name), breakdown_sources) AS breakdown_sources, breakdown_pico_usd,
        toString(pricing) AS pricing, toString(settlement) AS settlement,
        toString(billing_period) AS billing_period, toString(catalog_version) AS catalog_version,
        toString(topic) AS topic, partition, offset
    FROM found
    UNION ALL
    SELECT
        'rollup', toString(tenant), '', '', '', '', toString(operation), toDateTime64(quarter, 3, 'UTC'),
        toDateTime64(0, 3, 'UTC'), rollup.events,
        toInt128(cost_micro_usd) * 1000000 + residual_pico_usd,
        [], [], '', toString(settlement), toString(billing_period), '', '', 0, 0
    FROM usage_by_quarter AS rollup
    WHERE tenant = {tenant:String}
      AND (quarter, operation, settlement, billing_period) IN (
          SELECT toStartOfFifteenMinutes(occurred_at), operation, settlement, billing_period FROM found
      )
)
ORDER BY indexOf(['event', 'correction', 'rollup'], part), occurred_at, idempotency_key
