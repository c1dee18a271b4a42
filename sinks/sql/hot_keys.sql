-- The keys of one lane's slots, from earlier runs, ingested since a moment, but for those of records that will
-- be read again (topic, partition, from which offset and which run on): they enter when their record comes by.
SELECT key_hash, fingerprint
FROM ledger
WHERE run < {run:UInt32} AND ingested_at >= fromUnixTimestamp64Milli({since_ms:Int64})
    AND bitShiftRight(key_hash, 120) % {lanes:UInt32} = {lane:UInt32}
    AND NOT arrayExists(
        (t, p, o, r) -> topic = t AND partition = p AND offset >= o AND run >= r,
        {topics:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}, {runs:Array(UInt32)}
    )
