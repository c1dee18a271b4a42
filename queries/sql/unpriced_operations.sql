-- Operations that no catalog entry prices: recorded at 0, and unknown is not zero. The most frequent first.
--
-- Parameters (empty: all):
--   tenant String = ''  only this tenant
--   from String = ''    only what occurred at or after this moment (UTC where it names no offset)
--   to String = ''      only what occurred before this moment
-- Columns:
--   operation          what the catalog lacks
--   types              the types of event that named it
--   events             rows, corrections not among them
--   voided             rows that void one of them
--   tenants            how many tenants used it
--   first_occurred_at  UTC
--   last_occurred_at   UTC
--   catalog_versions   the versions that lack it
SELECT
    operation,
    arraySort(groupUniqArrayIf(toString(type), voids = '')) AS types,
    countIf(voids = '') AS events,
    countIf(voids != '') AS voided,
    uniqExact(tenant) AS tenants,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at,
    arraySort(groupUniqArray(toString(catalog_version))) AS catalog_versions
FROM ledger
WHERE pricing = 'unpriced'
  AND ({tenant:String} = '' OR tenant = {tenant:String})
  AND occurred_at >= parseDateTime64BestEffort(if({from:String} = '', '2000-01-01', {from:String}), 3, 'UTC')
  AND occurred_at < parseDateTime64BestEffort(if({to:String} = '', '2106-01-01', {to:String}), 3, 'UTC')
GROUP BY operation
ORDER BY events DESC, operation
