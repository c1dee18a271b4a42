-- Decisions that say again what the one before has said of the same threshold, or begin with `cleared`.
SELECT
    tenant, window, window_start, threshold_percent, state, sequence, count() OVER () AS differences
FROM (
    SELECT
        tenant, window, window_start, threshold_percent, state, sequence,
        lagInFrame(toString(state), 1, 'cleared') OVER (
            PARTITION BY tenant, window, window_start, threshold_percent
            ORDER BY sequence
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS before
    FROM cap_decisions
)
WHERE toString(state) = before
ORDER BY tenant, window, window_start, threshold_percent, sequence
LIMIT 100
