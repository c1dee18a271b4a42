-- The catalog of the sample as SQL: what `millrace run` works out for each event, for every line of a clean file.
-- Amounts are integers of pico-USD; the two prices that do not divide evenly are rounded half to even.
-- Behind it stands one of the two ways to read the file, read_*.sql.
INSERT INTO ledger (
    tenant, principal, idempotency_key, event_id, source, type, operation, action, context_type, context_name,
    context_display, trigger, occurred_at, ingested_at, method, endpoint, status, object, provider, verified,
    attributes, request_bytes, response_bytes, delta_bytes, base_units, weighted_units, usage, cost_micro_usd,
    residual_pico_usd, breakdown_sources, breakdown_pico_usd, pricing, settlement, catalog_version,
    billing_period, topic
)
WITH
    if(type = 'traffic' AND data.operation = '', concat(data.method, ' ', data.endpoint), data.operation)
        ::LowCardinality(String) AS operation,
    transform(operation, ['ask', 'agent.run', 'index.rebuild'], [10, 3, 4], 1) AS weight,
    if(type = 'compute', ifNull(data.units, 1), 0)::Decimal(38, 6) AS base_units,
    toInt64(base_units * 1000000) * weight AS weighted_micro,
    multiIf(
        type = 'traffic', if(operation = 'GET /health', 0, 1),
        type = 'storage', 2,
        type = 'webhook', if(operation IN ('webhook.in', 'webhook.delivery'), 3, 0),
        transform(
            operation,
            ['ask', 'agent.run', 'embed', 'render', 'report.run', 'task.create', 'preview', 'sync'],
            [4, 5, 6, 7, 8, 9, 10, 0],
            11
        )
    ) AS price,
    data.delta_bytes * 23 AS disk_milli,
    toInt64(data.usage['gpu'] * 1000000) * 166667 AS gpu_milli,
    multiIf(
        price = 1, (data.request_bytes + data.response_bytes) * 90,
        price = 2, intDiv(disk_milli, 1000) + sign(disk_milli) * (
            abs(disk_milli % 1000) > 500 OR (abs(disk_milli % 1000) = 500 AND intDiv(disk_milli, 1000) % 2 != 0)
        ),
        price = 3, 400000,
        price = 4, 50000000,
        price = 5, weighted_micro * 35,
        price = 6, toInt64(data.usage['openai']) * 20000,
        price = 7, intDiv(gpu_milli, 1000) + (
            gpu_milli % 1000 > 500 OR (gpu_milli % 1000 = 500 AND intDiv(gpu_milli, 1000) % 2 != 0)
        ),
        price = 8, 400000000,
        price = 9, 5000000,
        price = 10, 12500000,
        price = 11, weighted_micro * 20,
        0
    )::Int64 AS first_pico,
    multiIf(
        price = 4, toInt64(data.usage['openai']) * 2000000,
        price = 5, toInt64(data.usage['anthropic']) * 3000000,
        price = 7, 5000000,
        0
    )::Int64 AS second_pico,
    first_pico + second_pico AS pico,
    positiveModulo(pico, 1000000) AS residual
SELECT
    tenant,
    if(subject = '', '@unattributed', subject),
    multiIf(
        idempotencykey != '', idempotencykey,
        operation = 'webhook.delivery', concat('hook:', JSONExtractString(data.event, 'delivery')),
        concat(source, ' ', id)
    ),
    id, source, type, operation, data.action,
    data.context.type, data.context.name, data.context.display,
    if(data.trigger = '', 'synchronous', data.trigger),
    time, now64(3), data.method, data.endpoint, data.status, data.object, data.provider, data.verified,
    if(data.event = '', '', concat('{"event":', data.event, '}')),
    data.request_bytes, data.response_bytes, data.delta_bytes,
    base_units, base_units * weight, data.usage,
    intDiv(pico - residual, 1000000), residual,
    [
        [], ['egress'], ['disk'], ['hooks'], ['compute', 'openai'], ['compute', 'anthropic'], ['openai'],
        ['gpu', 'compute'], ['compute'], ['compute'], ['compute'], ['compute']
    ][price + 1],
    arrayResize([first_pico, second_pico], [0, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1, 1][price + 1]),
    multiIf(operation IN ('GET /health', 'sync'), 'free', operation = 'webhook.beta', 'unpriced', 'priced'),
    transform(operation, ['ask', 'task.create', 'preview'], ['credit', 'rate-limited', 'free'], 'metered'),
    'sample-1',
    formatDateTime(time, '%Y-%m'),
    {topic:String}
FROM
