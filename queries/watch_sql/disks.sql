-- The disks of the ledger.
--
-- Columns:
--   disk         its name
--   free_bytes   what is left
--   total_bytes  what there is
SELECT name AS disk, free_space AS free_bytes, total_space AS total_bytes
FROM system.disks
WHERE total_space > 0
ORDER BY name
