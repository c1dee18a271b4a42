"""Secrets of the service: from a variable, or from the file that `<variable>_FILE` names; never from a flag.

A secret that is short or well known is refused outside `--development`.
"""

import os
from pathlib import Path

from api.tokens import Secret
from pipeline.errors import UsageError

BYTES_MIN = 32
"""As many as HS256 makes (RFC 7518, section 3.2)."""
DIFFERENT_MIN = 8
"""So many different characters at least: `aaaa...` is no secret."""
WELL_KNOWN = (
    "secret",
    "password",
    "changeme",
    "change-me",
    "change_me",
    "default",
    "example",
    "development",
    "test",
)


def read_secret(variable: str, *, is_development: bool) -> Secret | None:
    """Read a secret; None where it is not set. Raises `UsageError`, which never shows it."""
    text = _text(variable)
    if text is None:
        return None
    why = weakness(text)
    if why and not is_development:
        msg = f"{variable} is not good enough: {why}: make one with `openssl rand -hex 32`"
        raise UsageError(msg)
    return Secret(text)


def weakness(text: str) -> str:
    """Say why a text is no good secret; empty where it is."""
    if len(text.encode()) < BYTES_MIN:
        return f"it has fewer than {BYTES_MIN} bytes"
    if len(set(text)) < DIFFERENT_MIN:
        return f"it has fewer than {DIFFERENT_MIN} different characters"
    known = next((word for word in WELL_KNOWN if word in text.lower()), "")
    return f"it has the word {known!r} in it, as defaults have" if known else ""


def _text(variable: str) -> str | None:
    """Read the variable, else the file; an empty value is none."""
    value, named = os.environ.get(variable, "").strip(), os.environ.get(f"{variable}_FILE", "").strip()
    if value and named:
        raise UsageError(f"{variable} and {variable}_FILE are both set: set one of them")
    if not named:
        return value or None
    try:
        text = Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = (getattr(error, "strerror", None) or "it is no text").lower()
        raise UsageError(f"the file {named} of {variable}_FILE cannot be read: {why}") from None
    if not text:
        raise UsageError(f"the file {named} of {variable}_FILE is empty")
    return text
