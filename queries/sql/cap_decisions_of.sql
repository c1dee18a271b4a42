-- What was decided about a tenant's caps, the newest first.
--
-- Parameters:
--   tenant String        who pays
--   window String = ''   day or month; empty: both
--   limit UInt32 = '20'  at most so many
-- Columns:
--   decided_at         UTC
--   window             day or month
--   window_start       UTC
--   threshold_percent  of the limit
--   state              crossed or cleared
--   limit_micro_usd    the limit at that time
--   current_micro_usd  what had been spent
SELECT
    decided_at,
    window,
    toDateTime64(window_start, 3, 'UTC') AS window_start,
    threshold_percent,
    state,
    limit_micro_usd,
    current_micro_usd
FROM cap_decisions
WHERE tenant = {tenant:String}
  AND ({window:String} = '' OR window = {window:String})
ORDER BY decided_at DESC, sequence DESC, window, threshold_percent DESC
LIMIT {limit:UInt32}
