-- What one tenant's contexts cost, the dearest first: the projects, workspaces and panels in which things were done.
--
-- An amount is right up to 9.2 trillion USD.
--
-- Parameters:
--   tenant String  who pays
--   from String    from this moment on (UTC where it names no offset)
--   to String      up to this moment
-- Columns:
--   context_type     project, workspace, admin or other
--   context_name     as the front end calls it
--   context_display  its newest name for people
--   events           rows, corrections among them
--   pico_usd         Int128, exactly
SELECT
    toString(kind) AS context_type,
    name AS context_name,
    argMax(display, (display != '', last)) AS context_display,
    sum(counted) AS events,
    toInt128(sum(micro)) * 1000000 + sum(rest) AS pico_usd
FROM (
    SELECT
        context_type AS kind, rows.context_name AS name, rows.context_display AS display, max(occurred_at) AS last,
        count() AS counted, sum(cost_micro_usd) AS micro, sum(residual_pico_usd) AS rest
    FROM ledger AS rows
    WHERE tenant = {tenant:String}
      AND occurred_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')
      AND occurred_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')
    GROUP BY kind, name, display
)
GROUP BY context_type, context_name
ORDER BY pico_usd DESC, context_type, context_name
