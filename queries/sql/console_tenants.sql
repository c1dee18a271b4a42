-- What tenants cost, the dearest first and page by page, from the rollup.
--
-- Asked in the very words of the projection, so that it is summed once and not by tenant and quarter hour before.
-- An amount is right up to 9.2 trillion USD.
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
SELECT
    tenant,
    count() AS events,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM ledger
WHERE toStartOfFifteenMinutes(occurred_at) >= parseDateTimeBestEffort({from:String}, 'UTC')
  AND toStartOfFifteenMinutes(occurred_at) < parseDateTimeBestEffort({to:String}, 'UTC')
  AND ({search:String} = ''
       OR positionCaseInsensitiveUTF8(tenant, {search:String}) > 0
       OR tenant IN (SELECT arrayJoin(JSONExtract({names:String}, 'Array(String)'))))
GROUP BY tenant
HAVING pico_usd < {after_pico:Int128} OR (pico_usd = {after_pico:Int128} AND tenant > {after_tenant:String})
ORDER BY pico_usd DESC, tenant
LIMIT {limit:UInt32}
