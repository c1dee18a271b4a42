-- Which tenant used each of some operations last within a quarter hour.
--
-- Parameters:
--   at String                 the start of the quarter hour (UTC where it names no offset)
--   operations String = '[]'  a JSON array of operations; empty: all
-- Columns:
--   operation  as rated
--   tenant     who used it last
SELECT operation, tenant
FROM ledger
WHERE occurred_at >= parseDateTime64BestEffort({at:String}, 3, 'UTC')
  AND occurred_at < parseDateTime64BestEffort({at:String}, 3, 'UTC') + INTERVAL 900 SECOND
  AND ({operations:String} = '[]' OR operation IN (SELECT arrayJoin(JSONExtract({operations:String}, 'Array(String)'))))
ORDER BY operation, occurred_at DESC, tenant
LIMIT 1 BY operation
