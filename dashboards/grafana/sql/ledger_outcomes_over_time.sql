-- What became of what was read, over time.
SELECT
    $__timeInterval(written_at) AS time, sum(accepted) AS accepted, sum(duplicates) AS duplicates,
    sum(rejected) AS rejected
FROM progress
WHERE $__timeFilter_ms(written_at)
GROUP BY time
ORDER BY time
