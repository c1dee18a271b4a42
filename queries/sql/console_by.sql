-- What one tenant's principals or actions cost, the dearest first.
--
-- An amount is right up to 9.2 trillion USD.
--
-- Parameters:
--   tenant String           who pays
--   from String             from this moment on (UTC where it names no offset)
--   to String               up to this moment
--   by String = 'principal' principal or action
-- Columns:
--   name      the principal or the action
--   events    rows, corrections among them
--   pico_usd  Int128, exactly
SELECT
    if({by:String} = 'action', toString(action), principal) AS name,
    count() AS events,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM ledger
WHERE tenant = {tenant:String}
  AND occurred_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
  AND occurred_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
GROUP BY name
ORDER BY pico_usd DESC, name
