-- The newest reading of each file and whether it came to the end.
SELECT p.topic, max(p.pass) AS last_pass, argMax(p.finished, (p.pass, p.finished)) AS is_finished,
    argMax(p.first_run, (p.pass, 1 - p.finished)) AS begun_by, argMax(p.head_bytes, (p.pass, 1 - p.finished)) AS bytes,
    argMax(p.head_digest, (p.pass, 1 - p.finished)) AS digest
FROM passes AS p
WHERE p.topic IN {topics:Array(String)}
GROUP BY p.topic
