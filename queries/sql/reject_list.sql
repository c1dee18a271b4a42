-- Rejected inputs in the order of their places, each with its reason, its sentence and its bytes.
--
-- Parameters (empty: all):
--   reason String = ''   only this reason
--   topic String = ''    only this topic or source
--   since String = ''    only what was rejected at or after this moment (UTC where it names no offset)
--   limit UInt64 = '0'   at most so many; 0: all
-- Columns:
--   reason       from the contract's closed list
--   detail       what is wrong, in one sentence
--   topic        for files: the source name
--   partition    for files: 0
--   offset       for files: the line number
--   rejected_at  UTC
--   raw          the bytes as text; what is no UTF-8 is replaced
--   raw_base64   the bytes exactly, where they are no UTF-8, else empty
SELECT
    reason,
    detail,
    topic,
    partition,
    offset,
    rejected_at,
    toValidUTF8(rejected_events.raw) AS raw,
    if(isValidUTF8(rejected_events.raw), '', base64Encode(rejected_events.raw)) AS raw_base64
FROM rejected_events
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({topic:String} = '' OR topic = {topic:String})
  AND rejected_at >= parseDateTime64BestEffort(if({since:String} = '', '2000-01-01', {since:String}), 3, 'UTC')
ORDER BY topic, partition, offset, rejected_at
LIMIT if({limit:UInt64} = 0, 18446744073709551615, {limit:UInt64})
