-- Tenants whose last hour of events is far from the same hour of the seven days before.
--
-- The hour ends at the last quarter that has been over for 15 minutes. A tenant is judged that had events in this
-- hour on three of the seven days.
--
-- Parameters:
--   at String = ''         the moment from which it looks back (UTC where it names no offset; empty: now)
--   least UInt64 = '100'   tenants that had fewer events than this in an average hour are not judged
--   low UInt64 = '20'      listed are those at or below so many percent of the average,
--   high UInt64 = '500'    and those at or above so many
-- Columns:
--   tenant    who pays
--   events    in the last hour
--   expected  on average, in this hour of the days that had any
--   percent   events in percent of expected
WITH (
    SELECT toStartOfFifteenMinutes(
        if({at:String} = '', now('UTC'), toDateTime(parseDateTimeBestEffortOrZero({at:String}, 'UTC'), 'UTC'))
        - toIntervalMinute(15)
    )
) AS end
SELECT
    tenant,
    sumIf(events_then, day = 0) AS events,
    intDiv(sumIf(events_then, day > 0), greatest(uniqExactIf(day, day > 0), 1)) AS expected,
    intDiv(events * 100, greatest(expected, 1)) AS percent
FROM (
    SELECT tenant, intDiv(dateDiff('second', quarter, end) - 1, 86400) AS day, sum(events) AS events_then
    FROM usage_by_quarter
    WHERE quarter >= end - toIntervalDay(7) - toIntervalHour(1) AND quarter < end
      AND (dateDiff('second', quarter, end) - 1) % 86400 < 3600
    GROUP BY tenant, day
)
GROUP BY tenant
HAVING uniqExactIf(day, day > 0) >= 3
   AND expected >= {least:UInt64}
   AND (percent <= {low:UInt64} OR percent >= {high:UInt64})
ORDER BY percent >= {high:UInt64} DESC, greatest(events, expected) DESC, tenant
LIMIT 100
