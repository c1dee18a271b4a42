"""One link of the audit's chain, and its hash. Stored values hang on this function: it may never change."""

import hashlib
import json
from typing import NamedTuple


class Link(NamedTuple):
    """All that the hash of an entry covers."""

    chain: str
    """The tenant that the entry is about; empty: the operation itself, and what Stripe's side decided."""
    number: int
    """1, 2, 3, ... in its chain."""
    made_at: int
    """Seconds."""
    who: str
    action: str
    subject: str
    detail: str
    before: str
    after: str
    request_id: str
    previous: str
    """The hash of the entry before it; empty for the first."""


def link_hash(link: Link) -> str:
    """Hash a link: SHA-256 over its members as a JSON array without spaces."""
    text = json.dumps(list(link), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
