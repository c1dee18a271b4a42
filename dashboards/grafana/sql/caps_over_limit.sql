-- Tenants that stand at or over a limit in a window that runs now, by the newest decision of each window.
SELECT uniqExact(tenant) AS "tenants at a limit"
FROM (
    SELECT tenant, window, window_start, threshold_percent, argMax(state, (decided_at, run, sequence)) AS state
    FROM cap_decisions
    WHERE window_start >= if(window = 'day', now('UTC') - toIntervalHour(26), now('UTC') - toIntervalDay(32))
      AND threshold_percent >= 100
    GROUP BY tenant, window, window_start, threshold_percent
)
WHERE state = 'crossed'
