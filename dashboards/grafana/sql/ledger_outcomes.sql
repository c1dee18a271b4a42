-- What became of what was read in the range, as the runs have written it down.
SELECT
    sum(accepted) AS accepted, sum(duplicates) AS duplicates, sum(rejected) AS rejected,
    sum(conflicts) AS "conflicts among them", sum(replayed) AS replayed
FROM progress
WHERE $__timeFilter_ms(written_at)
