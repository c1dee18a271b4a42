-- The bytes of the rejects of one place, exactly: the newest first.
--
-- Parameters:
--   topic String = 't'      the topic or source name
--   partition UInt32 = '0'  for files: 0
--   offset UInt64 = '0'     for files: the line number
-- Columns:
--   raw_base64  the bytes
SELECT base64Encode(rejected_events.raw) AS raw_base64
FROM rejected_events
WHERE topic = {topic:String} AND partition = {partition:UInt32} AND offset = {offset:UInt64}
ORDER BY rejected_at DESC
LIMIT 1
