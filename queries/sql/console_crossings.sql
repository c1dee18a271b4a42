-- What was decided about caps, the newest first.
--
-- Parameters:
--   tenant String = ''   only this tenant; empty: all
--   since String = ''    only windows that began at or after this moment (UTC where it names no offset)
--   limit UInt32 = '20'  at most so many
-- Columns:
--   decided_at         UTC
--   tenant             who pays
--   window             day or month
--   window_start       UTC
--   threshold_percent  of the limit
--   state              crossed or cleared
--   limit_micro_usd    the limit at that time
--   current_micro_usd  what had been spent
--   topic              the input of the event that caused it; empty when it was found at a start
--   partition          for files: 0
--   offset             for files: the line number
SELECT
    decided_at, tenant, window, toDateTime64(decided.window_start, 3, 'UTC') AS window_start, threshold_percent,
    state, limit_micro_usd, current_micro_usd, topic, partition, offset
FROM cap_decisions AS decided
WHERE ({tenant:String} = '' OR tenant = {tenant:String})
  AND decided.window_start >= parseDateTimeBestEffort(if({since:String} = '', '2000-01-01', {since:String}), 'UTC')
ORDER BY decided_at DESC, sequence DESC, tenant, window, threshold_percent DESC
LIMIT {limit:UInt32}
