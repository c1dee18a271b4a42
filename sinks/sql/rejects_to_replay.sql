-- Rejects that are to be handed in, each as it came or as it was mended, in the order in which they were refused.
-- What was handed in once is not again: what was refused then is a new reject, taken where it is named, was mended,
-- or with {again}.
SELECT
    found.reject AS reject,
    found.reason AS reason,
    if(log.number > 0, log.from_topic, found.topic) AS from_topic,
    if(log.number > 0, log.from_partition, found.partition) AS from_partition,
    if(log.number > 0, log.from_offset, found.offset) AS from_offset,
    if(fix.name != '', fix.line, found.raw) AS line,
    fix.name != '' AS by_hand,
    toUnixTimestamp64Milli(if(log.number > 0, log.arrived_at, found.rejected_at)) AS arrived_at_ms
FROM rejects AS found
LEFT JOIN (SELECT reject AS name, argMax(raw, fixed_at) AS line FROM reject_fixes GROUP BY reject) AS fix
    ON found.reject = fix.name
LEFT JOIN (SELECT *, '@replay' AS log_name FROM reject_replays) AS log
    ON found.topic = log.log_name AND found.offset = log.number
WHERE found.reject NOT IN (SELECT reject FROM reject_replays)
    AND (empty({names:Array(String)}) OR has({names:Array(String)}, found.reject))
    AND (
        found.topic != '@replay' OR fix.name != '' OR notEmpty({names:Array(String)}) OR {again:Bool}
    )
    AND ({reason:String} = '' OR found.reason = {reason:String})
    AND ({topic:String} = '' OR from_topic = {topic:String})
    AND ({tenant:String} = '' OR JSONExtractString(found.raw, 'tenant') = {tenant:String})
    AND found.rejected_at >= parseDateTime64BestEffort(if({since:String} = '', '2000-01-01', {since:String}), 3, 'UTC')
    AND found.run < {run:UInt32}
ORDER BY found.run, found.topic, found.partition, found.offset, found.reject
LIMIT 1 BY found.reject
LIMIT {limit:UInt64}
