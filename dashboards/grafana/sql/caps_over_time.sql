-- Crossings of thresholds over time, by window and state.
SELECT $__timeInterval(decided_at) AS time, concat(window, ', ', state) AS what, count() AS decisions
FROM cap_decisions
WHERE $__timeFilter_ms(decided_at) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
GROUP BY time, what
ORDER BY time, what
