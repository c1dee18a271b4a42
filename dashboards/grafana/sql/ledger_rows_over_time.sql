-- Rows of the ledger over time, by settlement; from the rollup.
SELECT $__timeInterval(quarter) AS time, settlement, sum(events) AS events
FROM usage_by_quarter
WHERE $__timeFilter(quarter)
GROUP BY time, settlement
ORDER BY time, settlement
