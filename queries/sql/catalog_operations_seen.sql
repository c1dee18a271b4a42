-- Every operation that the ledger has seen, the most frequent first: what a catalog is compared with.
--
-- Corrections are left out: they repeat the operation of the row that they void.
--
-- Parameters: none
-- Columns:
--   type               the type of the events
--   operation          its name, empty for events without one
--   events             rows
--   unpriced_events    of them, rows recorded without a price
--   first_occurred_at  UTC
--   last_occurred_at   UTC
SELECT
    type,
    operation,
    count() AS events,
    countIf(pricing = 'unpriced') AS unpriced_events,
    min(occurred_at) AS first_occurred_at,
    max(occurred_at) AS last_occurred_at
FROM ledger
WHERE voids = ''
GROUP BY type, operation
ORDER BY events DESC, type, operation
