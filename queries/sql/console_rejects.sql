-- Rejected inputs, the newest first and page by page, with the beginning of their bytes.
--
-- Parameters:
--   from String                from this moment on (UTC where it names no offset)
--   to String                  up to this moment
--   reason String = ''         only this reason
--   topic String = ''          only this topic or source name
--   search String = ''         only those whose bytes hold this text
--   after_ms Int64 = '9223372036854775807'  when the last one of the page before was rejected, epoch milliseconds
--   after_topic String = ''    and its place
--   after_partition UInt32 = '0'  and its place
--   after_offset UInt64 = '0'  and its place
--   limit UInt32 = '50'        at most so many
--   bytes UInt32 = '16384'     how many of the bytes to show
-- Columns:
--   rejected_at  UTC
--   rejected_ms  the same in epoch milliseconds
--   reason       from the contract's closed list
--   detail       what is wrong, in one sentence
--   topic        for files: the source name
--   partition    for files: 0
--   offset       for files: the line number
--   size         how many bytes there are
--   shown        the first of them as text; what is no UTF-8 is replaced
--   hex          the first of them exactly, where they are no UTF-8, else empty
SELECT
    rejected_at, toUnixTimestamp64Milli(rejected_at) AS rejected_ms, reason, detail, topic, partition, offset,
    length(raw) AS size,
    toValidUTF8(substring(raw, 1, {bytes:UInt32})) AS shown,
    if(isValidUTF8(raw), '', hex(substring(raw, 1, {bytes:UInt32}))) AS hex
FROM rejected_events
WHERE rejected_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
  AND rejected_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
  AND ({reason:String} = '' OR reason = {reason:String})
  AND ({topic:String} = '' OR topic = {topic:String})
  AND ({search:String} = '' OR position(raw, {search:String}) > 0)
  AND (rejected_ms < {after_ms:Int64} OR (
      rejected_ms = {after_ms:Int64}
      AND (topic, partition, offset) > ({after_topic:String}, {after_partition:UInt32}, {after_offset:UInt64})))
ORDER BY rejected_at DESC, topic, partition, offset
LIMIT {limit:UInt32}
