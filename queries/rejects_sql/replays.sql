-- The lines of the replay log: of a reject by its name, or by their numbers.
SELECT
    done.number AS number, done.reject AS reject, log.reason AS reason, done.outcome AS outcome, done.became AS became,
    done.by_hand AS by_hand, done.format AS format, done.replayed_at AS replayed_at, done.from_topic AS from_topic,
    done.from_partition AS from_partition, done.from_offset AS from_offset, log.raw AS raw
FROM reject_outcomes AS done
INNER JOIN reject_replays AS log ON done.number = log.number
WHERE done.reject = {name:String} OR has({numbers:Array(UInt64)}, done.number)
ORDER BY number
