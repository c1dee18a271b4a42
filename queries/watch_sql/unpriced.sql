-- Operations without a price among what occurred lately, the most frequent first.
--
-- Parameters:
--   hours UInt32 = '24'  how far back
-- Columns:
--   operation  what the catalog lacks
--   events     rows, corrections not among them
SELECT operation, count() AS events
FROM ledger
PREWHERE pricing = 'unpriced'
WHERE occurred_at >= now64(3, 'UTC') - toIntervalHour({hours:UInt32}) AND voids = ''
GROUP BY operation
ORDER BY events DESC, operation
LIMIT 20
