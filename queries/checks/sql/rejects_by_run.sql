-- The rejects that each run has written of an input.
SELECT
    run, topic, partition, count() AS rows, max(offset) AS last
FROM rejected_events
GROUP BY run, topic, partition
