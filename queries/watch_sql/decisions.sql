-- How many cap decisions the ledger holds, by window and state; it only grows.
--
-- Columns:
--   window     day, month
--   state      crossed, cleared
--   at_limit   1: a threshold of 100 % or more; 0: one below
--   decisions  how many
SELECT window, state, toUInt8(threshold_percent >= 100) AS at_limit, count() AS decisions
FROM cap_decisions
GROUP BY window, state, at_limit
ORDER BY window, state, at_limit
