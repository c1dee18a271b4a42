-- The rows of lanes that were cut, below the position that they have noted: of (run, topic, partition, lane, lanes,
-- position) each.
SELECT k.run AS run, k.topic AS topic, k.partition AS partition, z.lane AS lane, count() AS rows
FROM ledger AS k
INNER JOIN (
    SELECT zone.1 AS run, zone.2 AS topic, zone.3 AS partition, zone.4 AS lane, zone.5 AS lanes, zone.6 AS position
    FROM (
        SELECT arrayJoin(arrayZip(
            {runs:Array(UInt32)}, {topics:Array(String)}, {partitions:Array(UInt32)}, {lane:Array(UInt32)},
            {lanes:Array(UInt32)}, {positions:Array(UInt64)}
        )) AS zone
    )
) AS z ON k.run = z.run AND k.topic = z.topic AND k.partition = z.partition
WHERE k.run IN {runs:Array(UInt32)}
    AND toUInt32(bitShiftRight(k.key_hash, 120)) % z.lanes = z.lane
    AND k.offset < z.position
GROUP BY run, topic, partition, lane
