-- Rejects of inputs, each from an offset and a run on: these records have their outcome already.
SELECT k.topic, k.partition, k.offset
FROM rejected_events AS k
INNER JOIN (
    SELECT zone.1 AS topic, zone.2 AS partition, zone.3 AS begin, zone.4 AS run
    FROM (
        SELECT arrayJoin(arrayZip(
            {topics:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}, {runs:Array(UInt32)}
        )) AS zone
    )
) AS z ON k.topic = z.topic AND k.partition = z.partition
WHERE k.run >= {least_run:UInt32} AND k.run >= z.run AND k.offset >= z.begin
ORDER BY k.topic, k.partition, k.offset
