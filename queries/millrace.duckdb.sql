-- Views over the exported months of this folder, for DuckDB 1.1 or newer. No access to the ledger is needed.
--
--   in this folder:   duckdb -init millrace.duckdb.sql
--   from elsewhere:   SET file_search_path = '/path/to/this/folder';   before the lines below
--   from Python:      duckdb.connect().execute(open("millrace.duckdb.sql").read())
--
-- Every amount is exact: cost_usd is a DECIMAL with 12 digits behind the point (1 pico-USD), cost_pico_usd the
-- same as a whole number, and a sum of either loses nothing. cost_micro_usd is rounded down, and
-- residual_pico_usd holds what it leaves out: add both, or neither. Moments are UTC.

-- One line for each tenant, principal and month.
CREATE OR REPLACE VIEW principals AS
SELECT *, cost_micro_usd::HUGEINT * 1000000 + residual_pico_usd AS cost_pico_usd
FROM read_parquet('principals-????-??.parquet');

-- One line for each tenant, principal, cost source and month; they add up to `principals`.
CREATE OR REPLACE VIEW principal_sources AS
SELECT *, cost_micro_usd::HUGEINT * 1000000 + residual_pico_usd AS cost_pico_usd
FROM read_parquet('principal_sources-????-??.parquet');

-- One line for each exported month: what it cost, and who recovers it.
CREATE OR REPLACE VIEW months AS
SELECT
    period,
    count(*) AS principals,
    sum(events) AS events,
    sum(cost_pico_usd) AS cost_pico_usd,
    sum(cost_usd) AS cost_usd,
    sum(metered_cost_micro_usd::HUGEINT * 1000000 + metered_residual_pico_usd) AS metered_pico_usd,
    sum(credit_cost_micro_usd::HUGEINT * 1000000 + credit_residual_pico_usd) AS credit_pico_usd,
    sum(rate_limited_cost_micro_usd::HUGEINT * 1000000 + rate_limited_residual_pico_usd) AS rate_limited_pico_usd,
    sum(free_cost_micro_usd::HUGEINT * 1000000 + free_residual_pico_usd) AS free_pico_usd
FROM principals
GROUP BY period
ORDER BY period;

-- The same for each tenant.
CREATE OR REPLACE VIEW tenant_months AS
SELECT
    tenant,
    period,
    count(*) AS principals,
    sum(events) AS events,
    sum(cost_pico_usd) AS cost_pico_usd,
    sum(cost_usd) AS cost_usd,
    sum(metered_cost_micro_usd::HUGEINT * 1000000 + metered_residual_pico_usd) AS metered_pico_usd,
    sum(credit_cost_micro_usd::HUGEINT * 1000000 + credit_residual_pico_usd) AS credit_pico_usd,
    sum(rate_limited_cost_micro_usd::HUGEINT * 1000000 + rate_limited_residual_pico_usd) AS rate_limited_pico_usd,
    sum(free_cost_micro_usd::HUGEINT * 1000000 + free_residual_pico_usd) AS free_pico_usd
FROM principals
GROUP BY tenant, period
ORDER BY tenant, period;

-- Each exported month with the exported month before it; the first has none.
CREATE OR REPLACE VIEW month_pairs AS
SELECT period, lag(period) OVER (ORDER BY period) AS previous_period
FROM months;

-- Month over month by principal. Who cost nothing in one of the two months stands there with 0, so that the
-- changes of a month add up to the change of its total. In the first month, previous and change are NULL.
CREATE OR REPLACE VIEW principals_month_over_month AS
WITH both_months AS (
    SELECT period, previous_period, tenant, principal, cost_usd,
        CASE WHEN previous_period IS NOT NULL THEN 0::DECIMAL(38, 12) END AS previous_cost_usd
    FROM month_pairs JOIN principals USING (period)
    UNION ALL
    SELECT pair.period, previous_period, tenant, principal, 0::DECIMAL(38, 12), cost_usd
    FROM month_pairs AS pair JOIN principals AS line ON line.period = pair.previous_period
)
SELECT
    tenant,
    principal,
    period,
    previous_period,
    sum(both_months.cost_usd) AS cost_usd,
    sum(both_months.previous_cost_usd) AS previous_cost_usd,
    sum(both_months.cost_usd) - sum(both_months.previous_cost_usd) AS change_usd
FROM both_months
GROUP BY tenant, principal, period, previous_period
ORDER BY tenant, principal, period;

-- Month over month by principal and cost source, in the same way.
CREATE OR REPLACE VIEW principal_sources_month_over_month AS
WITH both_months AS (
    SELECT period, previous_period, tenant, principal, cost_source, cost_usd,
        CASE WHEN previous_period IS NOT NULL THEN 0::DECIMAL(38, 12) END AS previous_cost_usd
    FROM month_pairs JOIN principal_sources USING (period)
    UNION ALL
    SELECT pair.period, previous_period, tenant, principal, cost_source, 0::DECIMAL(38, 12), cost_usd
    FROM month_pairs AS pair JOIN principal_sources AS line ON line.period = pair.previous_period
)
SELECT
    tenant,
    principal,
    cost_source,
    period,
    previous_period,
    sum(both_months.cost_usd) AS cost_usd,
    sum(both_months.previous_cost_usd) AS previous_cost_usd,
    sum(both_months.cost_usd) - sum(both_months.previous_cost_usd) AS change_usd
FROM both_months
GROUP BY tenant, principal, cost_source, period, previous_period
ORDER BY tenant, principal, cost_source, period;
