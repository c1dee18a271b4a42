"""The clock of this machine; everything below the command line is handed one."""

import time


class SystemClock:
    """Wall-clock time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000
