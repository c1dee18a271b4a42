-- A reject by the beginning of its name; a second row says that the name stands for several.
SELECT reject, reason, detail, topic, partition, offset, rejected_at, run, raw
FROM rejects
WHERE startsWith(reject, {name:String})
LIMIT 1 BY reject
LIMIT 2
