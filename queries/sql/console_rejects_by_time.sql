-- How many inputs were rejected for which reason, over time.
--
-- Parameters:
--   from String           from this moment on (UTC where it names no offset)
--   to String             up to this moment
--   step UInt32 = '3600'  seconds of a bucket
-- Columns:
--   bucket   where the bucket begins, UTC
--   reason   from the contract's closed list
--   rejects  how many inputs
SELECT
    toDateTime(intDiv(toUnixTimestamp(rejected_at), {step:UInt32}) * {step:UInt32}, 'UTC') AS bucket,
    reason,
    count() AS rejects
FROM rejected_events
WHERE rejected_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
  AND rejected_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
GROUP BY bucket, reason
ORDER BY bucket, reason
