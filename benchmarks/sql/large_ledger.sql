-- Rows of a large ledger, made inside ClickHouse from their numbers: the same numbers give the same rows.
--
-- Tenants are as in life: the n-th has a share of about 1/n, and so have a tenant's principals and operations.
-- Rows come in the order of time, in blocks as a run writes them; one in fifty is late, by up to two days; one in a
-- thousand takes another one back. {end_ms} is the moment of the last.
INSERT INTO ledger (
    tenant, principal, idempotency_key, event_id, source, type, operation, action, context_type, context_name,
    context_display, occurred_at, ingested_at, method, endpoint, status, attributes, request_bytes, response_bytes,
    base_units, weighted_units, usage, cost_micro_usd, residual_pico_usd, breakdown_sources, breakdown_pico_usd,
    pricing, settlement, catalog_version, billing_period, voids, topic, partition, offset, key_hash, fingerprint, run
)
WITH
    number % 1000 = 999 AND number >= 100000 AS takes_back,
    if(takes_back, number - 50001, number) AS made_as,
    toFloat64(cityHash64(made_as, 1) % 1000000007) / 1000000007 AS tenant_draw,
    toFloat64(cityHash64(made_as, 2) % 1000000007) / 1000000007 AS principal_draw,
    toFloat64(cityHash64(made_as, 3) % 1000000007) / 1000000007 AS operation_draw,
    cityHash64(made_as, 4) AS draw,
    least(toUInt32(exp(tenant_draw * log({tenants:UInt32} + 1))), {tenants:UInt32}) AS rank,
    toUInt32(exp(principal_draw * log(2 + intDiv({tenants:UInt32} * 2, rank)))) AS person,
    (rank * 7 + toUInt32(exp(operation_draw * log(17))) * 5) % 60 AS work,
    multiIf(work < 30, 'traffic', work < 50, 'compute', work < 57, 'storage', 'webhook') AS kind,
    if(work = 59, 0, 50 + draw % 5000) AS micro,
    if(work = 59, 0, intDiv(draw, 8192) % 1000000) AS residual,
    micro * 1000000 + residual AS pico,
    {end_ms:Int64} - toInt64(intDiv(({rows:UInt64} - number - 1) * toUInt128({span_ms:Int64}), {rows:UInt64})) AS now_ms,
    if(intDiv(draw, 64) % 50 = 0 AND NOT takes_back, intDiv(draw, 4096) % 172800000, intDiv(draw, 4096) % 3000) AS late_ms,
    fromUnixTimestamp64Milli(now_ms - toInt64(late_ms), 'UTC') AS at,
    concat('evt_', lower(hex(cityHash64(made_as, 5)))) AS key,
    concat('acct_', lower(hex(toUInt32(sipHash64(rank))))) AS payer
SELECT
    payer,
    if(draw % 31 = 0, '@unattributed', concat('user-', toString(person))),
    if(takes_back, concat('back_', key), key),
    if(takes_back, concat('back_', key), key),
    concat('//service-', toString(work % 7)),
    if(takes_back, 'correction', kind),
    if(kind = 'traffic', concat('GET /v1/resources-', toString(work)), concat('operation-', toString(work))),
    if(draw % 3 = 0, '', concat('action-', toString(work % 11))),
    ['', 'project', 'workspace', 'admin'][1 + person % 4],
    if(person % 4 IN (1, 2), concat('c-', toString(person % 50)), ''),
    if(person % 8 = 1, concat('Project ', toString(person % 50)), ''),
    at,
    fromUnixTimestamp64Milli(now_ms, 'UTC'),
    if(kind = 'traffic', 'GET', ''),
    if(kind = 'traffic', concat('/v1/resources-', toString(work)), ''),
    if(kind = 'traffic', 200, 0),
    if(draw % 5 = 0, concat('{"request":"', lower(hex(draw)), '"}'), '{}'),
    if(kind = 'traffic', 400 + draw % 900, 0) * if(takes_back, -1, 1),
    if(kind = 'traffic', draw % 90000, 0) * if(takes_back, -1, 1),
    if(takes_back, -1, 1),
    if(takes_back, -1, 1),
    if(kind = 'compute', map('openai', toDecimal128((100 + draw % 3000) * if(takes_back, -1, 1), 6)), map()),
    if(takes_back, -toInt64(micro) - (residual > 0), toInt64(micro)),
    if(takes_back, (1000000 - residual) % 1000000, residual),
    if(kind = 'compute', ['compute', 'openai'], [kind]),
    arrayMap(
        part -> if(takes_back, -part, part),
        if(kind = 'compute', [toInt64(50000000), toInt64(pico) - 50000000], [toInt64(pico)])
    ),
    if(work = 59, 'unpriced', 'priced'),
    multiIf(work % 10 < 7, 'metered', work % 10 = 7, 'credit', work % 10 = 8, 'rate-limited', 'free'),
    '2026-01',
    formatDateTime(at, '%Y-%m'),
    if(takes_back, key, ''),
    'usage',
    number % 8,
    intDiv(number, 8),
    reinterpretAsUInt128(sipHash128(payer, key, takes_back)),
    cityHash64(key, 6),
    1
FROM numbers({first:UInt64}, {count:UInt64})
