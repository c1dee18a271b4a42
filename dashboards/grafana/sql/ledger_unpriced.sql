-- Operations of the range that no catalog entry prices: recorded at 0, and unknown is not zero.
SELECT operation, count() AS events, uniqExact(tenant) AS tenants, max(occurred_at) AS last_seen
FROM ledger
PREWHERE pricing = 'unpriced'
WHERE $__timeFilter_ms(occurred_at) AND voids = ''
GROUP BY operation
ORDER BY events DESC, operation
LIMIT 100
