-- How many keys were ingested since a moment.
SELECT count() FROM ledger WHERE ingested_at >= fromUnixTimestamp64Milli({since_ms:Int64})
