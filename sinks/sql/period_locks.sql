-- Which billing periods are locked: of all that was said about a period of a tenant (or of all: '') the last counts.
SELECT tenant, period, argMax(changed_at, sequence) AS since,
    argMax(who, sequence) AS last_who, argMax(why, sequence) AS last_why
FROM period_locks
GROUP BY tenant, period
HAVING argMax(is_locked, sequence)
ORDER BY period, tenant
