-- Rejects over time by reason.
SELECT $__timeInterval(rejected_at) AS time, reason, count() AS rejected
FROM rejected_events
WHERE $__timeFilter_ms(rejected_at)
GROUP BY time, reason
ORDER BY time, reason
