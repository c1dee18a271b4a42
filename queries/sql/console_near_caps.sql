-- The windows that stand over a threshold now: who is near a cap, or over it, the nearest first.
--
-- Parameters:
--   since String = ''     only windows that began at or after this moment (UTC where it names no offset)
--   limit UInt32 = '100'  at most so many
-- Columns:
--   tenant             who pays
--   window             day or month
--   window_start       UTC
--   threshold_percent  the highest threshold that is crossed and not cleared
SELECT tenant, window, toDateTime64(started, 3, 'UTC') AS window_start, max(threshold) AS threshold_percent
FROM (
    SELECT
        toString(tenant) AS tenant, toString(window) AS window, window_start AS started,
        threshold_percent AS threshold, argMax(state, (decided_at, sequence)) AS last_state
    FROM cap_decisions
    WHERE window_start >= parseDateTimeBestEffort(if({since:String} = '', '2000-01-01', {since:String}), 'UTC')
    GROUP BY tenant, window, started, threshold
)
WHERE last_state = 'crossed'
GROUP BY tenant, window, started
ORDER BY threshold_percent DESC, window_start DESC, tenant, window
LIMIT {limit:UInt32}
