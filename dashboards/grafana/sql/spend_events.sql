-- Events of the chosen range and the tenants that they are of; from the rollup.
SELECT sum(events) AS "events", uniqExact(tenant) AS "tenants"
FROM usage_by_quarter
WHERE $__timeFilter(quarter) AND $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant)
