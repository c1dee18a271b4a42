-- The rejects of runs that were cut, below two positions: of (run, topic, partition, least, most) each.
SELECT
    k.run AS run, k.topic AS topic, k.partition AS partition,
    countIf(k.offset < z.least) AS below_least, countIf(k.offset < z.most) AS below_most
FROM rejected_events AS k
INNER JOIN (
    SELECT zone.1 AS run, zone.2 AS topic, zone.3 AS partition, zone.4 AS least, zone.5 AS most
    FROM (
        SELECT arrayJoin(arrayZip(
            {runs:Array(UInt32)}, {topics:Array(String)}, {partitions:Array(UInt32)}, {least:Array(UInt64)},
            {most:Array(UInt64)}
        )) AS zone
    )
) AS z ON k.run = z.run AND k.topic = z.topic AND k.partition = z.partition
GROUP BY run, topic, partition
