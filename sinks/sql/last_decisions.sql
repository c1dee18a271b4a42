-- Thresholds whose newest decision says that they are crossed.
SELECT tenant, window, toUnixTimestamp(window_start) AS start_s, threshold_percent
FROM cap_decisions
GROUP BY tenant, window, window_start, threshold_percent
HAVING argMax(state, sequence) = 'crossed'
