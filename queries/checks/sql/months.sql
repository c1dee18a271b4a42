-- The months that the ledger has rows of, and how many.
SELECT _partition_id AS month, count() AS rows FROM ledger GROUP BY month ORDER BY month
