-- The newest rejects, with the sentence that says why.
SELECT rejected_at, reason, detail, topic, partition, offset
FROM rejected_events
WHERE $__timeFilter_ms(rejected_at)
ORDER BY rejected_at DESC, topic, partition, offset
LIMIT 100
