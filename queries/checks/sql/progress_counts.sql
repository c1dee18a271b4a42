-- What each lane of each run has noted of an input, and how far it had come. A partition begins with a row that
-- counts nothing, of the only lane: `begun` is its position.
SELECT
    run, topic, partition, pass, lane, lanes, max(p.position) AS position, sum(p.accepted) AS accepted,
    sum(p.duplicates) AS duplicates, sum(p.rejected) AS rejected,
    minOrNullIf(p.position, lanes = 1 AND p.accepted + p.duplicates + p.rejected + p.replayed = 0) AS begun
FROM progress AS p
GROUP BY run, topic, partition, pass, lane, lanes
ORDER BY topic, partition, pass, run, lanes, lane
