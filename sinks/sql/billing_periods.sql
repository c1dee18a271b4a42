-- In which billing periods these keys were counted; a correction itself is no such key.
SELECT key_hash, billing_period
FROM ledger
WHERE key_hash IN {hashes:Array(UInt128)} AND voids = ''
