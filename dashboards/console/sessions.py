"""Who is signed in: an opaque cookie names a session that only this process knows.

A credential is checked again on every page and now and then while a page is open, so a key that is revoked ends
its sessions. Nothing is written to disk.
"""

import hashlib
import threading
from dataclasses import dataclass, field

from dashboards.console.services import ConsoleServices, Viewer

COOKIE = "millrace_console"
LASTS_MS = 12 * 3600 * 1000
RECHECK_MS = 10_000
SESSIONS_MAX = 10_000


@dataclass(slots=True)
class Session:
    """One sign-in, with what its viewer prefers."""

    credential: str = field(repr=False)
    viewer: Viewer
    ends_at_ms: int
    checked_at_ms: int
    browser_zone: str = ""
    """The zone of the viewer's machine; empty until the browser has said it."""
    zone: str = "viewer"
    """viewer, tenant, or the name of a zone."""
    theme: str = "auto"


class Sessions:
    """All sessions of this process. Safe for several threads."""

    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._by_digest: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self, credential: str) -> str | None:
        """Sign in; gives the cookie's value, or None where the credential is not good. Blocks."""
        viewer = self._services.sign_in(credential)
        if viewer is None:
            return None
        now, token = self._services.clock.now_ms(), self._services.draw_token()
        with self._lock:
            self._drop_ended(now)
            self._by_digest[_digest(token)] = Session(credential, viewer, now + LASTS_MS, now)
        return token

    def find(self, token: str) -> Session | None:
        """Give the session of a cookie while it lasts and its credential is good. May block."""
        now = self._services.clock.now_ms()
        with self._lock:
            session = self._by_digest.get(_digest(token))
        if session is None:
            return None
        if now < session.ends_at_ms and now - session.checked_at_ms < RECHECK_MS:
            return session
        if now < session.ends_at_ms and self._services.sign_in(session.credential) == session.viewer:
            session.checked_at_ms = now
            return session
        self.close(token)
        return None

    def close(self, token: str) -> None:
        """Sign out."""
        with self._lock:
            self._by_digest.pop(_digest(token), None)

    def _drop_ended(self, now: int) -> None:
        ended = [key for key, one in self._by_digest.items() if one.ends_at_ms <= now]
        for key in [*ended, *list(self._by_digest)[: max(0, len(self._by_digest) - SESSIONS_MAX)]]:
            self._by_digest.pop(key, None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
