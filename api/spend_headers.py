"""Where a tenant stands, as headers: integers in micro-USD, the same names on every answer about money.

| header | says |
|---|---|
| `X-Spend-Window` | `day` or `month`: the window that is exceeded, else the one with the least left |
| `X-Spend-Limit`, `-Current`, `-Remaining` | of that window; where there is no limit, only `-Current` is there |
| `X-Spend-Day-*`, `X-Spend-Month-*` | the same of each window |
| `X-Spend-As-Of` | events durable at this moment (RFC 3339) are counted; absent where the ledger was never read |
| `X-Spend-Age-Ms` | how long ago that was |
| `X-Spend-Mode` | shadow, soft or live |
| `X-Spend-Exceeded` | in mode soft: the window whose limit this went beyond |
"""

from collections.abc import Iterator

from api.models import moment
from billing.asks import Mode, Outcome, WindowFigures

NAMES = (
    "X-Spend-Window", "X-Spend-Limit", "X-Spend-Current", "X-Spend-Remaining",
    "X-Spend-Day-Limit", "X-Spend-Day-Current", "X-Spend-Day-Remaining",
    "X-Spend-Month-Limit", "X-Spend-Month-Current", "X-Spend-Month-Remaining",
    "X-Spend-As-Of", "X-Spend-Age-Ms", "X-Spend-Mode", "X-Spend-Exceeded",
)  # fmt: skip


def spend_headers(outcome: Outcome) -> dict[str, str]:
    """The headers of an outcome: the figures of its decision, before what was asked for; none where it has none.

    A replay gives those of the first answer.
    """
    return dict(_headers(outcome))


def _headers(outcome: Outcome) -> Iterator[tuple[str, str]]:
    spend, exceeded = outcome.spend, outcome.exceeded
    if spend is None:
        return
    shown = spend.tightest
    if exceeded is not None:
        shown = spend.day if exceeded.window == spend.day.window else spend.month
    yield "X-Spend-Window", shown.window
    yield from _window("X-Spend", shown)
    yield from _window("X-Spend-Day", spend.day)
    yield from _window("X-Spend-Month", spend.month)
    yield "X-Spend-Mode", outcome.mode
    if exceeded is not None and outcome.mode is Mode.SOFT:
        yield "X-Spend-Exceeded", exceeded.window
    if spend.as_of_ms is not None:
        yield "X-Spend-As-Of", moment(spend.as_of_ms)
        yield "X-Spend-Age-Ms", str(max(outcome.decided_at_ms - spend.as_of_ms, 0))


def _window(name: str, figures: WindowFigures) -> Iterator[tuple[str, str]]:
    if figures.limit_micro is not None:
        yield f"{name}-Limit", str(figures.limit_micro)
        yield f"{name}-Remaining", str(figures.remaining_micro)
    yield f"{name}-Current", str(figures.current_micro)
