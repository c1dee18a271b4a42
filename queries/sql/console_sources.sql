-- What one tenant's cost sources cost, the dearest first. What no component explains has the source ''.
--
-- Summed first by the list of sources that a row has, of which there are few, and source by source only then.
--
-- Parameters:
--   tenant String  who pays
--   from String    from this moment on (UTC where it names no offset)
--   to String      up to this moment
-- Columns:
--   cost_source  of the components; empty: in none
--   events       rows that have it, corrections among them
--   pico_usd     Int128, exactly
SELECT
    cost_source,
    sumIf(if(cost_source = '', odd, counted), nth = 1) AS events,
    sum(part) AS pico_usd
FROM (
    SELECT
        arrayMap(source -> toString(source), breakdown_sources) AS sources,
        count() AS counted,
        countIf(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd
                != arraySum(part -> toInt128(part), breakdown_pico_usd)) AS odd,
        sumForEach(CAST(breakdown_pico_usd, 'Array(Int128)')) AS named,
        sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) - arraySum(named) AS unnamed
    FROM ledger
    WHERE tenant = {tenant:String}
      AND occurred_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
      AND occurred_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
    GROUP BY breakdown_sources
)
ARRAY JOIN
    arrayPushBack(sources, '') AS cost_source,
    arrayPushBack(named, unnamed) AS part,
    arrayEnumerateUniq(arrayPushBack(sources, '')) AS nth
WHERE cost_source != '' OR odd > 0
GROUP BY cost_source
ORDER BY pico_usd DESC, cost_source
