-- Rows of the ledger: of a key, the first that was accepted first, or of a line of the replay log.
SELECT
    tenant, idempotency_key, type, operation, principal, occurred_at, voids, cost_micro_usd, residual_pico_usd,
    lower(hex(fingerprint)) AS fingerprint, topic, partition, offset, run
FROM ledger
WHERE (topic = '@replay' AND offset = {number:UInt64})
    OR (tenant = {tenant:String} AND idempotency_key = {key:String} AND voids = '' AND {key:String} != '')
    OR (tenant = {tenant:String} AND voids = {voids:String} AND {voids:String} != '')
ORDER BY topic = '@replay' AND offset = {number:UInt64} DESC, run, topic, partition, offset
LIMIT 1
