-- Which of these keys the ledger of runs before this one holds, and the fingerprint of what was counted under them;
-- but for those of records that will be read again, as in hot_keys.
SELECT key_hash, fingerprint
FROM ledger
WHERE key_hash IN {hashes:Array(UInt128)} AND run < {run:UInt32}
    AND NOT arrayExists(
        (t, p, o, r) -> topic = t AND partition = p AND offset >= o AND run >= r,
        {topics:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}, {runs:Array(UInt32)}
    )
