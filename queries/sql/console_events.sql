-- Events, the newest first and page by page.
--
-- Parameters:
--   from String               from this moment on (UTC where it names no offset)
--   to String                 up to this moment
--   tenant String = ''        only this tenant; empty: all
--   principal String = ''     only this principal
--   operation String = ''     only this operation
--   type String = ''          only this type
--   context String = ''       only contexts whose type, name or display name is this
--   after_ms Int64 = '9223372036854775807'  the time of the last event of the page before, epoch milliseconds
--   after_tenant String = ''  and its tenant
--   after_key String = ''     and its key
--   limit UInt32 = '50'       at most so many
-- Columns:
--   occurred_at      UTC
--   occurred_ms      the same in epoch milliseconds
--   ingested_at      UTC
--   tenant           who pays
--   principal        who caused it
--   type             traffic, compute, storage, webhook or correction
--   operation        as rated
--   action           what the user did
--   context_type     project, workspace, admin or other
--   context_name     as the front end calls it
--   context_display  its name for people
--   pricing          priced, free or unpriced
--   settlement       metered, credit, rate-limited or free
--   pico_usd         Int128, exactly
--   idempotency_key  what it is counted under
--   voids            the key that a correction takes back
--   source           who emitted it
SELECT
    occurred_at, toUnixTimestamp64Milli(occurred_at) AS occurred_ms, ingested_at, tenant, principal, type, operation,
    action, context_type, context_name, context_display, pricing, settlement,
    toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS pico_usd,
    idempotency_key, voids, source
FROM ledger
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND occurred_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
  AND occurred_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
  AND ({principal:String} = '' OR principal = {principal:String})
  AND ({operation:String} = '' OR operation = {operation:String})
  AND ({type:String} = '' OR type = {type:String})
  AND ({context:String} = '' OR {context:String} IN (context_type, context_name, context_display))
  AND (occurred_ms < {after_ms:Int64}
       OR (occurred_ms = {after_ms:Int64} AND (tenant, idempotency_key) > ({after_tenant:String}, {after_key:String})))
ORDER BY occurred_at DESC, tenant, idempotency_key
LIMIT {limit:UInt32}
