-- Whether anything is new: how many rows each table has, from its parts' counts.
--
-- Parameters: none
-- Columns:
--   events     rows of the ledger
--   rejects    rejected inputs
--   decisions  decisions about caps
SELECT
    (SELECT count() FROM ledger) AS events,
    (SELECT count() FROM rejected_events) AS rejects,
    (SELECT count() FROM cap_decisions) AS decisions
