-- How many rejects of each reason the ledger holds; it only grows, so a monitor sees what came in between.
--
-- Columns:
--   reason    of the contract's closed list
--   rejected  how many
SELECT reason, count() AS rejected
FROM rejected_events
GROUP BY reason
ORDER BY reason
