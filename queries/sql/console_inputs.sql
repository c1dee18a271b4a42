-- How far each input is durable, and since when: those that moved last first.
--
-- Parameters:
--   limit UInt32 = '20'  at most so many
-- Columns:
--   topic       for files: the source name
--   partition   for files: 0
--   position    all records below have an outcome
--   run         the run that was last at it
--   written_at  when something of it was last made durable, UTC
SELECT
    toString(topic) AS topic,
    partition,
    max(progress.position) AS position,
    max(progress.run) AS run,
    max(progress.written_at) AS written_at
FROM progress
GROUP BY topic, partition
ORDER BY written_at DESC, topic, partition
LIMIT {limit:UInt32}
