-- What operations cost, the dearest first, from the rollup.
--
-- Parameters:
--   from String            from this moment on, on a quarter hour (UTC where it names no offset)
--   to String              up to this moment, likewise
--   tenant String = ''     only this tenant; empty: all
--   limit UInt32 = '1000'  at most so many
-- Columns:
--   operation     as rated; empty where the event named none
--   events        rows, corrections among them
--   pico_usd      Int128, exactly
--   last_quarter  the start of the last quarter hour that has it, UTC
--   last_tenant   a tenant that used it then
SELECT
    operation,
    sum(rollup.events) AS events,
    sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd,
    max(quarter) AS last_quarter,
    toString(argMax(tenant, quarter)) AS last_tenant
FROM usage_by_quarter AS rollup
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND quarter >= parseDateTimeBestEffort({from:String}, 'UTC')
  AND quarter < parseDateTimeBestEffort({to:String}, 'UTC')
GROUP BY operation
ORDER BY pico_usd DESC, events DESC, operation
LIMIT {limit:UInt32}
