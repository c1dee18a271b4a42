-- How far the inputs were read, as runs note it with each commit: one note for fifty rows of the ledger.
INSERT INTO progress
SELECT
    1 AS run, 0 AS lane, 1 AS lanes, 'usage' AS topic, number % 8 AS partition, 1 AS pass,
    intDiv((number + 1) * 50, 8) AS position, 50 AS accepted, number % 3 AS duplicates, number % 97 = 0 AS conflicts,
    (number % 20 = 0) + conflicts AS rejected, 0 AS replayed,
    fromUnixTimestamp64Milli(
        {end_ms:Int64} - toInt64(intDiv((intDiv({rows:UInt64}, 50) - number - 1) * toUInt128({span_ms:Int64}), greatest(intDiv({rows:UInt64}, 50), 1))), 'UTC'
    ) AS written_at
FROM numbers(intDiv({rows:UInt64}, 50))
