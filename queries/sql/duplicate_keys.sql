-- Keys that stand in the ledger more than once and were not taken back: `millrace reconcile` does that.
-- A correction's own key claims nothing and is left out; what it voids is deduped by itself, so a key voided twice is
-- listed too. Hashes find, the keys themselves decide.
--
-- Parameters (empty: all):
--   tenant String = ''  only this tenant
-- Columns:
--   tenant             who pays
--   kind               key (counted twice) or voids (voided twice)
--   idempotency_key    the key
--   rows               how many rows have it, less those that were taken back
--   first_ingested_at  UTC
--   last_ingested_at   UTC
WITH claims AS (
    SELECT
        tenant,
        multiIf(
            topic = '@reconcile', JSONExtractString(attributes, 'kind'), voids = '', 'key', 'voids'
        ) AS kind,
        if(voids = '', idempotency_key, voids) AS claimed,
        if(topic = '@reconcile', -1, 1) AS counts,
        sipHash64(tenant, kind, claimed) AS hash, ingested_at
    FROM ledger
    WHERE {tenant:String} = '' OR tenant = {tenant:String}
)
SELECT
    tenant,
    kind,
    claimed AS idempotency_key,
    sum(counts) AS rows,
    min(ingested_at) AS first_ingested_at,
    max(ingested_at) AS last_ingested_at
FROM claims
WHERE hash IN (SELECT hash FROM claims GROUP BY hash HAVING sum(counts) > 1)
GROUP BY tenant, kind, claimed
HAVING rows > 1
ORDER BY tenant, kind, idempotency_key
