-- How many inputs were rejected for which reason, the most frequent first.
--
-- Parameters (empty: all):
--   topic String = ''  only this topic or source
--   since String = ''  only what was rejected at or after this moment (UTC where it names no offset)
-- Columns:
--   reason             from the contract's closed list
--   rejects            how many inputs
--   topics             from how many topics or sources
--   first_rejected_at  UTC
--   last_rejected_at   UTC
--   example            one sentence of them
SELECT
    reason,
    count() AS rejects,
    uniqExact(topic) AS topics,
    min(rejected_at) AS first_rejected_at,
    max(rejected_at) AS last_rejected_at,
    argMin(detail, (rejected_at, topic, partition, offset)) AS example
FROM rejected_events
WHERE ({topic:String} = '' OR topic = {topic:String})
  AND rejected_at >= parseDateTime64BestEffort(if({since:String} = '', '2000-01-01', {since:String}), 3, 'UTC')
GROUP BY reason
ORDER BY rejects DESC, reason
