-- Lines of the replay log from a number on.
SELECT number, raw, format, header, from_topic, from_offset, toUnixTimestamp64Milli(arrived_at) AS arrived_at_ms
FROM reject_replays
WHERE number >= {number:UInt64}
ORDER BY number
LIMIT {size:UInt64}
