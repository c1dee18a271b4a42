-- Rejected inputs in the order of their places, each with its reason, its sentence, its bytes, and what came of it.
--
-- Parameters (empty: all):
--   reason String = ''   only this reason
--   topic String = ''    only this topic or source
--   tenant String = ''   only events that name this tenant, as far as they can be read
--   since String = ''    only what was rejected at or after this moment (UTC where it names no offset)
--   open String = ''     anything: only what was not handed in again yet
--   skip UInt64 = '0'    leave so many out at the beginning
--   limit UInt64 = '0'   at most so many; 0: all
-- Columns:
--   reject       its name: 16 hexadecimal digits
--   reason       from the contract's closed list
--   detail       what is wrong, in one sentence
--   topic        for files: the source name; @replay: it was handed in again before
--   partition    for files: 0
--   offset       for files: the line number
--   rejected_at  UTC
--   tenant       as far as it can be read
--   outcome      of handing it in again: accepted, duplicate, rejected, pending; fixed: mended; empty: not yet
--   replay       its number in the replay log, which is the offset of its row under the topic @replay; 0: not yet
--   became       the reject that its replay became
--   was          the reject that this one was before
--   raw          the bytes as text; what is no UTF-8 is replaced
--   raw_base64   the bytes exactly, where they are no UTF-8, else empty
SELECT
    found.reject AS reject,
    found.reason AS reason,
    found.detail AS detail,
    found.topic AS topic,
    found.partition AS partition,
    found.offset AS offset,
    found.rejected_at AS rejected_at,
    toValidUTF8(JSONExtractString(found.raw, 'tenant')) AS tenant,
    multiIf(
        done.number > 0, done.outcome, found.reject IN (SELECT reject FROM reject_fixes), 'fixed', ''
    ) AS outcome,
    done.number AS replay,
    done.became AS became,
    before.reject AS was,
    toValidUTF8(found.raw) AS raw,
    if(isValidUTF8(found.raw), '', base64Encode(found.raw)) AS raw_base64
FROM rejects AS found
LEFT JOIN reject_outcomes AS done ON found.reject = done.reject
LEFT JOIN (SELECT number, reject, '@replay' AS log FROM reject_replays) AS before
    ON found.topic = before.log AND found.offset = before.number
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({topic:String} = '' OR topic = {topic:String})
  AND ({tenant:String} = '' OR JSONExtractString(found.raw, 'tenant') = {tenant:String})
  AND ({open:String} = '' OR done.number = 0)
  AND rejected_at >= parseDateTime64BestEffort(if({since:String} = '', '2000-01-01', {since:String}), 3, 'UTC')
ORDER BY topic, partition, offset, rejected_at, reject
LIMIT if({limit:UInt64} = 0, 9223372036854775807, {limit:UInt64})
OFFSET {skip:UInt64}
