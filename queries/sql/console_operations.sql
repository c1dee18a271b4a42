-- What operations cost, the dearest first, from the rollup.
--
-- Asked in the very words of the projections, so that it is summed once and not by tenant and quarter hour before.
-- An amount is right up to 9.2 trillion USD.
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
SELECT
    operation,
    count() AS events,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM ledger
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND toStartOfFifteenMinutes(occurred_at) >= parseDateTimeBestEffort({from:String}, 'UTC')
  AND toStartOfFifteenMinutes(occurred_at) < parseDateTimeBestEffort({to:String}, 'UTC')
GROUP BY operation
ORDER BY pico_usd DESC, events DESC, operation
LIMIT {limit:UInt32}
