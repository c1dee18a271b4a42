-- What became of the records that were read, over time, by when it was made durable.
--
-- Parameters:
--   from String          from this moment on (UTC where it names no offset)
--   to String            up to this moment
--   step UInt32 = '900'  seconds of a bucket
-- Columns:
--   bucket      where the bucket begins, UTC
--   accepted    new rows
--   duplicates  seen before with the same content: counted, not stored
--   conflicts   seen before with other content: refused
--   rejected    all that was refused, conflicts among it
SELECT
    toDateTime(intDiv(toUnixTimestamp(written_at), {step:UInt32}) * {step:UInt32}, 'UTC') AS bucket,
    sum(told.accepted) AS accepted,
    sum(told.duplicates) AS duplicates,
    sum(told.conflicts) AS conflicts,
    sum(told.rejected) AS rejected
FROM progress AS told
WHERE written_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
  AND written_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
GROUP BY bucket
ORDER BY bucket
