-- What was rejected of files before: a file that is read again adds no second reject of the same line.
SELECT topic, offset, reason, SHA256(raw) AS digest
FROM rejected_events
WHERE topic IN {topics:Array(String)} AND partition = 0
