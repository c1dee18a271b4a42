-- The months of the ledger on the disk.
SELECT
    partition AS month, sum(rows) AS "rows of it", sum(bytes_on_disk) AS bytes,
    intDiv(sum(bytes_on_disk), greatest(sum(rows), 1)) AS "bytes a row", count() AS parts
FROM system.parts
WHERE database = currentDatabase() AND table = 'ledger' AND active
GROUP BY partition
ORDER BY partition DESC
