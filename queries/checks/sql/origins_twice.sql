-- Records with more than one outcome: two rows, two rejects, or one of each. A file's line has one in each reading.
-- One share of all places is looked at, so that what is held at a time is bounded.
SELECT topic, partition, pass, offset, sum(rows) AS rows, sum(rejects) AS rejects, count() OVER () AS differences
FROM (
    SELECT o.topic AS topic, o.partition AS partition, p.pass AS pass, o.offset AS offset, o.rows AS rows,
        o.rejects AS rejects
    FROM (
        SELECT toString(topic) AS topic, partition, offset, run, 1 AS rows, 0 AS rejects
        FROM ledger
        WHERE cityHash64(topic, partition, offset) % {shares:UInt32} = {share:UInt32}
        UNION ALL
        SELECT toString(topic), partition, offset, run, 0, 1
        FROM rejected_events
        WHERE cityHash64(topic, partition, offset) % {shares:UInt32} = {share:UInt32}
    ) AS o
    ASOF LEFT JOIN (SELECT topic, first_run, pass FROM passes WHERE finished = 0) AS p
        ON o.topic = p.topic AND o.run >= p.first_run
)
GROUP BY topic, partition, pass, offset
HAVING rows + rejects > 1
ORDER BY topic, partition, pass, offset
LIMIT 100
