-- The rows of an idempotency key, found by its hashes: the event, and the correction that voids it.
--
-- Parameters:
--   tenant String            who pays
--   key String               the idempotency key
--   key_hash UInt128 = '0'   the hash of tenant and key
--   void_hash UInt128 = '0'  the hash of tenant and key as what a correction voids
-- Columns:
--   occurred_at         UTC
--   ingested_at         UTC
--   principal           who caused it
--   type                traffic, compute, storage, webhook or correction
--   operation           as rated
--   action              what the user did
--   context_type        project, workspace, admin or other
--   context_name        as the front end calls it
--   context_display     its name for people
--   trigger             what set it off
--   source              who emitted it
--   event_id            the id that it was given there
--   idempotency_key     what it is counted under
--   voids               the key that a correction takes back
--   pico_usd            Int128, exactly
--   breakdown_sources   the components' cost sources
--   breakdown_pico_usd  what each component costs
--   base_units          exact decimal
--   weighted_units      exact decimal
--   request_bytes       bytes
--   response_bytes      bytes
--   delta_bytes         bytes
--   usage               measured third-party use by source
--   attributes          JSON text of what has no column
--   pricing             priced, free or unpriced
--   settlement          metered, credit, rate-limited or free
--   billing_period      YYYY-MM
--   catalog_version     that rated it
--   topic               where it came from
--   partition           for files: 0
--   offset              for files: the line number
SELECT
    occurred_at, ingested_at, principal, type, operation, action, context_type, context_name, context_display,
    trigger, source, event_id, idempotency_key, voids,
    toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS pico_usd,
    breakdown_sources, breakdown_pico_usd, base_units, weighted_units, request_bytes, response_bytes, delta_bytes,
    usage, attributes, pricing, settlement, billing_period, catalog_version, topic, partition, offset
FROM ledger
WHERE tenant = {tenant:String}
  AND ((key_hash = {key_hash:UInt128} AND idempotency_key = {key:String} AND voids = '')
       OR (key_hash = {void_hash:UInt128} AND voids = {key:String}))
ORDER BY voids != '', occurred_at
LIMIT 10
