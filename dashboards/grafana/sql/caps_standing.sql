-- Where each tenant's newest windows stand: the highest threshold that is crossed and not cleared again.
SELECT
    tenant, window, window_start, max(threshold_percent) AS "percent crossed",
    toDecimal128(argMax(current, decided), 0) * toDecimal128('0.000001', 6) AS "spend then, USD",
    toDecimal128(argMax(limit_then, decided), 0) * toDecimal128('0.000001', 6) AS "limit, USD",
    max(decided) AS decided_at
FROM (
    SELECT
        tenant, window, window_start, threshold_percent, argMax(state, (decided_at, run, sequence)) AS state,
        argMax(current_micro_usd, (decided_at, run, sequence)) AS current,
        argMax(limit_micro_usd, (decided_at, run, sequence)) AS limit_then, max(decided_at) AS decided
    FROM cap_decisions
    WHERE $__timeFilter_ms(decided_at) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
    GROUP BY tenant, window, window_start, threshold_percent
)
WHERE state = 'crossed'
GROUP BY tenant, window, window_start
ORDER BY "percent crossed" DESC, decided_at DESC, tenant
LIMIT 200
