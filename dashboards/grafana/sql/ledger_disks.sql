-- What is left on the disks of the ledger, in percent.
SELECT name AS disk, intDiv(free_space * 100, greatest(total_space, 1)) AS "percent free"
FROM system.disks
WHERE total_space > 0
ORDER BY name
