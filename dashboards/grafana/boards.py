"""The dashboards: spend, caps, pipeline, ledger, Stripe."""

from dashboards.grafana.board import ACCOUNT, TENANT, USD, Board, PromQl, Shown, Sql

SPEND = Board(
    "millrace-spend",
    "Millrace: spend",
    "Who spends what, on what. Sums come from the quarter-hour rollup; one account's detail from its own rows.",
    (
        (
            "All that are chosen",
            (
                Shown(
                    "Spend", "stat", (Sql("spend_totals"),), "Settled as metered or credit.", USD, decimals=6
                ),
                Shown("Events", "stat", (Sql("spend_events"),), "All settlements."),
                Shown("Spend over time", "bars", (Sql("spend_over_time"),), "By settlement.", USD),
                Shown(
                    "The ten that spend most",
                    "series",
                    (Sql("spend_by_tenant_over_time"),),
                    "Of the range.",
                    USD,
                ),
                Shown(
                    "Tenants", "table", (Sql("spend_top_tenants"),), "The dearest first; micro-USD are exact."
                ),
                Shown("Operations", "table", (Sql("spend_top_operations"),), "The dearest first."),
            ),
        ),
        (
            "One account: $account",
            (
                Shown("Principals", "table", (Sql("account_principals"),), "The dearest first."),
                Shown("Cost sources", "table", (Sql("account_sources"),), "What the cost consists of."),
                Shown("Actions", "table", (Sql("account_actions"),), "What was done, and where.", width=24),
            ),
        ),
    ),
    (TENANT, ACCOUNT),
)

_ASKS = 'route=~"/api/billing/(authorize|reservations|settlements)"'
CAPS = Board(
    "millrace-caps",
    "Millrace: caps",
    "Which limits are near or crossed, and what is refused for it.",
    (
        (
            "Decisions of the pipeline",
            (
                Shown(
                    "At a limit now", "stat", (Sql("caps_over_limit"),), "In a window that runs.", red_from=1
                ),
                Shown("Crossings", "bars", (Sql("caps_over_time"),), "Of thresholds, up and back."),
                Shown(
                    "Where windows stand", "table", (Sql("caps_standing"),), "The highest first.", width=24
                ),
                Shown("Decisions", "table", (Sql("caps_decisions"),), "The newest first.", width=24),
            ),
        ),
        (
            "Asks of services",
            (
                Shown(
                    "Asks",
                    "series",
                    (
                        PromQl(
                            f"sum by (status) (rate(millrace_http_requests_total{{{_ASKS}}}[$__rate_interval]))",
                            "{{status}}",
                        ),
                    ),
                    "Authorize, reserve and settle, by status; 402 is a cap that refuses.",
                    "reqps",
                ),
                Shown(
                    "Crossed at the limit, in an hour",
                    "series",
                    (
                        PromQl(
                            "sum by (window) (increase(millrace_ledger_cap_decisions_total"
                            '{state="crossed", threshold="limit"}[1h]))',
                            "{{window}}",
                        ),
                    ),
                    "As the ledger has it.",
                ),
            ),
        ),
    ),
    (TENANT,),
)

_JUDGED = 'outcome=~"accepted|duplicate|rejected"'
PIPELINE = Board(
    "millrace-pipeline",
    "Millrace: pipeline",
    "Whether events become money, how fast, and what waits.",
    (
        (
            "Now",
            (
                Shown(
                    "Alerts", "stat", (PromQl('count(ALERTS{alertstate="firing"}) or vector(0)'),), "That fire.",
                    width=6, height=4, red_from=1,
                ),
                Shown(
                    "Waiting", "stat", (PromQl("max(millrace_waiting)"),),
                    "1 while the ledger or the broker is away.", width=6, height=4, red_from=1,
                ),
                Shown(
                    "Lag", "stat", (PromQl("sum(millrace_lag)"),), "Records that wait.", width=6, height=4,
                ),
                Shown(
                    "Since the last commit", "stat",
                    (PromQl("time() - max(millrace_last_commit_timestamp_seconds)"),),
                    "It grows while nothing comes, too.", "s", width=6, height=4,
                ),
            ),
        ),
        (
            "Events",
            (
                Shown(
                    "Outcomes", "series",
                    (PromQl("sum by (outcome) (rate(millrace_events_total[$__rate_interval]))", "{{outcome}}"),),
                    "A conflict is a reject, too.", "eps",
                ),
                Shown(
                    "Read from partitions", "series",
                    (
                        PromQl(
                            "sum by (partition) (rate(millrace_consumed_records_total[$__rate_interval]))",
                            "{{partition}}",
                        ),
                    ),
                    "Those that are read again after a crash among them.", "eps",
                ),
                Shown("Lag by partition", "series", (PromQl("millrace_lag", "{{partition}}"),), "Records that wait."),
                Shown(
                    "Position last moved", "series", (PromQl("millrace_last_commit_age_seconds", "{{partition}}"),),
                    "By partition; it matters where records wait.", "s",
                ),
                Shown(
                    "Rejected, of what is judged", "series",
                    (
                        PromQl(
                            'sum(increase(millrace_events_total{outcome="rejected"}[15m])) / '
                            f"sum(increase(millrace_events_total{{{_JUDGED}}}[15m]))",
                            "rejected",
                        ),
                        PromQl("max(millrace_reject_budget_ratio)", "budget"),
                    ),
                    "Over the budget the run stops.", "percentunit",
                ),
                Shown(
                    "From reading to the ledger", "series",
                    tuple(
                        PromQl(
                            f"histogram_quantile({q}, sum by (le) "
                            "(rate(millrace_event_to_ledger_seconds_bucket[$__rate_interval])))",
                            name,
                        )
                        for q, name in (("0.5", "half"), ("0.99", "99 of 100"))
                    ),
                    "The oldest record of each commit.", "s",
                ),
            ),
        ),
        (
            "Commits",
            (
                Shown(
                    "How long a commit takes", "series",
                    tuple(
                        PromQl(
                            f"histogram_quantile({q}, sum by (le) "
                            "(rate(millrace_commit_seconds_bucket[$__rate_interval])))",
                            name,
                        )
                        for q, name in (("0.5", "half"), ("0.99", "99 of 100"))
                    ),
                    "Rows, rejects, dead letters and progress.", "s",
                ),
                Shown(
                    "Rows of a commit", "series",
                    (
                        PromQl(
                            "sum(rate(millrace_commit_rows_sum[$__rate_interval])) / "
                            "sum(rate(millrace_commit_rows_count[$__rate_interval]))",
                            "rows",
                        ),
                    ),
                    "On average.",
                ),
                Shown(
                    "Attempts at the ledger that failed", "bars",
                    (PromQl("sum by (what) (increase(millrace_ledger_failures_total[5m]))", "{{what}}"),),
                    "They are repeated; nothing is lost.",
                ),
                Shown("Keys in memory", "series", (PromQl("sum(millrace_dedupe_keys)", "keys"),), "Of all lanes."),
            ),
        ),
        (
            "HTTP",
            (
                Shown(
                    "Requests", "series",
                    (
                        PromQl(
                            "sum by (route, status) (rate(millrace_http_requests_total[$__rate_interval]))",
                            "{{route}} {{status}}",
                        ),
                    ),
                    "By route and status.", "reqps",
                ),
                Shown(
                    "Answers, 99 of 100", "series",
                    (
                        PromQl(
                            "histogram_quantile(0.99, sum by (le, route) "
                            "(rate(millrace_http_request_seconds_bucket[$__rate_interval])))",
                            "{{route}}",
                        ),
                    ),
                    "By route.", "s",
                ),
            ),
        ),
    ),
    since="now-3h",
)  # fmt: skip

LEDGER = Board(
    "millrace-ledger",
    "Millrace: ledger",
    "What is in the ledger, what was refused, and whether it all adds up.",
    (
        (
            "Does it add up",
            (
                Shown(
                    "Rows less rollup, last day of the range", "stat", (Sql("ledger_conservation"),), "Must be 0.",
                    red_from=1,
                ),
                Shown("What became of it", "stat", (Sql("ledger_outcomes"),), "In the range."),
                Shown("Rows", "bars", (Sql("ledger_rows_over_time"),), "By settlement."),
                Shown("Outcomes", "bars", (Sql("ledger_outcomes_over_time"),), "As the runs wrote them down."),
            ),
        ),
        (
            "What was refused, what has no price",
            (
                Shown("Rejects by reason", "bars", (Sql("ledger_rejects_over_time"),)),
                Shown("Without a price", "table", (Sql("ledger_unpriced"),), "Recorded at 0."),
                Shown("Newest rejects", "table", (Sql("ledger_newest_rejects"),), width=24),
            ),
        ),
        (
            "Runs and disk",
            (
                Shown("Runs", "table", (Sql("ledger_runs"),), "The newest first."),
                Shown("Months on the disk", "table", (Sql("ledger_size"),)),
                Shown("Room on the disks", "stat", (Sql("ledger_disks"),), "In percent.", "percent"),
                Shown(
                    "Tenants far from their usual hour", "series",
                    (PromQl("millrace_tenants_unusual", "{{direction}}"),), "Against the last seven days.",
                ),
            ),
        ),
    ),
)  # fmt: skip

STRIPE = Board(
    "millrace-stripe",
    "Millrace: Stripe",
    "Whether Stripe has what the ledger holds.",
    (
        (
            "Does Stripe agree",
            (
                Shown(
                    "Difference", "stat", (PromQl("max(millrace_stripe_difference_units)"),),
                    "In units, in the last comparison; must be 0.", width=6, red_from=1,
                ),
                Shown(
                    "Since the last comparison", "stat",
                    (PromQl("time() - max(millrace_stripe_reconciled_timestamp_seconds)"),),
                    "One a day is due.", "s", width=6,
                ),
                Shown(
                    "Behind the ledger", "stat", (PromQl("max(millrace_stripe_ledger_lag_seconds)"),),
                    "-1: nothing was ever planned.", "s", width=6,
                ),
                Shown(
                    "Oldest unknown", "stat", (PromQl("max(millrace_stripe_oldest_unresolved_age_seconds)"),),
                    "23 hours are the end.", "s", width=6, red_from=43200,
                ),
            ),
        ),
        (
            "Reports",
            (
                Shown("Reports", "series", (PromQl("max by (state) (millrace_stripe_reports)", "{{state}}"),)),
                Shown("Units", "series", (PromQl("max by (state) (millrace_stripe_units)", "{{state}}"),)),
                Shown("Metered", "bars", (Sql("stripe_metered_over_time"),), "What the ledger owes to Stripe.", USD),
                Shown("Metered by period", "table", (Sql("stripe_metered"),), "Exactly."),
            ),
        ),
        (
            "The work",
            (
                Shown(
                    "Failures in a row", "series",
                    (PromQl("max by (loop) (millrace_stripe_loop_failures)", "{{loop}}"),),
                ),
                Shown(
                    "Since it last succeeded", "series",
                    (
                        PromQl(
                            "time() - max by (loop) (millrace_stripe_loop_succeeded_timestamp_seconds)", "{{loop}}"
                        ),
                    ),
                    unit="s",
                ),
                Shown(
                    "Webhooks that wait", "stat", (PromQl("max(millrace_stripe_events_waiting)"),), width=8,
                ),
                Shown(
                    "Read only", "stat", (PromQl("max(millrace_stripe_read_only)"),),
                    "1 while a restored store has not been compared.", width=8, red_from=1,
                ),
                Shown(
                    "API version", "stat", (PromQl("max(millrace_stripe_api_version_drift)"),),
                    "1 when the account renders its events with another one.", width=8, red_from=1,
                ),
            ),
        ),
    ),
    since="now-7d",
)  # fmt: skip

BOARDS = (SPEND, CAPS, PIPELINE, LEDGER, STRIPE)
