-- How many rows the ledger has, and what they cost.
SELECT
    count() AS rows,
    toInt128(sum(cost_micro_usd)) * 1000000 + sum(residual_pico_usd) AS pico_usd
FROM ledger
