"""The rule of the caps, by itself: figures in, a verdict out. No store, no clock."""

from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from billing.asks import Exceeded, Mode, Spend, WindowFigures
from pipeline.accounts import Account
from pipeline.zones import window_starts

DAY, MONTH = "day", "month"
PICO_OF_MICRO = 1_000_000
_DAY_S = 86_400


@dataclass(slots=True)
class WindowState:
    """One window of a tenant as the store has it."""

    window: str
    start_s: int
    end_s: int
    ledger_micro: int = 0
    """Rounded down, with the rest beside it; negative where corrections outweigh."""
    ledger_residual_pico: int = 0
    pending_micro: int = 0
    level_percent: int = 0
    """The highest threshold that spend has come to."""
    is_stored: bool = False
    is_changed: bool = False

    @property
    def ledger_up_micro(self) -> int:
        """The ledger's sum, rounded up: a limit that is a whole number is exceeded exactly when this exceeds it."""
        return self.ledger_micro + (1 if self.ledger_residual_pico else 0)

    @property
    def spent_micro(self) -> int:
        """What is spent for good."""
        return self.ledger_up_micro + self.pending_micro


@dataclass(slots=True)
class TenantState:
    """One tenant at the moment of a decision."""

    account: Account
    mode: Mode
    held_micro: int
    as_of_ms: int | None
    day: WindowState
    month: WindowState
    is_changed: bool = False

    @property
    def windows(self) -> tuple[tuple[WindowState, int | None], ...]:
        """Both windows with their limits."""
        limits = self.account.daily_limit_micro_usd, self.account.monthly_limit_micro_usd
        return ((self.day, limits[0]), (self.month, limits[1]))


def window_states(account: Account, now_s: int) -> tuple[WindowState, WindowState]:
    """Make the current day and month of an account, with nothing in them."""
    day, tomorrow, month, next_month = _current(account.zone, now_s)
    return WindowState(DAY, day, tomorrow), WindowState(MONTH, month, next_month)


@lru_cache(maxsize=1024)
def _current(zone: ZoneInfo, now_s: int) -> tuple[int, int, int, int]:
    """Find where day and month of a zone begin and end; asked for many tenants in the same second."""
    starts = window_starts(zone, now_s)
    tomorrow = window_starts(zone, starts.day_s + 3 * _DAY_S // 2).day_s  # a day has 23 to 25 hours
    return starts.day_s, tomorrow, starts.month_s, window_starts(zone, starts.month_s + 32 * _DAY_S).month_s


def window_end(account: Account, window: str, start_s: int) -> int:
    """Find where a window of an account ends."""
    if window == DAY:
        return window_starts(account.zone, start_s + 3 * _DAY_S // 2).day_s
    return window_starts(account.zone, start_s + 32 * _DAY_S).month_s


def spend_of(state: TenantState) -> Spend:
    """Give the figures as they stand."""
    day, month = (
        WindowFigures(
            w.window, w.start_s, w.end_s, limit, w.ledger_up_micro, w.pending_micro, state.held_micro
        )
        for w, limit in state.windows
    )
    return Spend(day, month, state.as_of_ms)


def exceeded_by(spend: Spend, amount_micro: int) -> Exceeded | None:
    """Find the cap that an amount on top of the figures exceeds: exactly the limit does not."""
    for figures in (spend.day, spend.month):
        projected = figures.current_micro + amount_micro
        if figures.limit_micro is not None and projected > figures.limit_micro:
            return Exceeded(figures.window, figures.limit_micro, figures.current_micro, projected)
    return None


def level_of(account: Account, limit_micro: int | None, spent_micro: int) -> int:
    """Find the highest threshold that spend has come to; spending nothing comes to none, not even of 0."""
    if limit_micro is None or spent_micro <= 0:
        return 0
    reached = [p for p in account.thresholds_percent if spent_micro * 100 >= limit_micro * p]
    return max(reached, default=0)
