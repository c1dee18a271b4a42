-- The newest runs and what each has counted.
SELECT
    runs.run AS run, any(runs.started_at) AS started_at, max(progress.written_at) AS last_commit_at,
    sum(accepted) AS accepted, sum(duplicates) AS duplicates, sum(rejected) AS rejected, sum(replayed) AS replayed
FROM runs
LEFT JOIN progress ON progress.run = runs.run
GROUP BY run
ORDER BY run DESC
LIMIT 20
