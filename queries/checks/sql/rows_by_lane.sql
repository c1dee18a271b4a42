-- The rows that each lane of each run has written of an input. Parameters: the number of lanes of each run.
SELECT
    run, topic, partition,
    toUInt32(bitShiftRight(key_hash, 120)) % transform(run, {runs:Array(UInt32)}, {lanes:Array(UInt32)}, toUInt32(256))
        AS lane,
    count() AS rows, max(offset) AS last
FROM ledger
WHERE topic != {without:String}
GROUP BY run, topic, partition, lane
