"""What bodies are made of: members in camelCase, money as integer micro-USD in text, moments in RFC 3339."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

TENANT_MAX = 128

Micro = Annotated[
    str,
    Field(pattern=r"^-?(0|[1-9][0-9]*)$", description="Micro-USD, an integer as text.", examples=["250000"]),
]
Moment = Annotated[str, Field(description="RFC 3339, UTC.", examples=["2026-11-21T10:00:00.000Z"])]
TenantName = Annotated[
    str, Field(min_length=1, max_length=TENANT_MAX, description="Who pays.", examples=["acme"])
]


class Model(BaseModel):
    """A body, in or out: nothing but what is declared, nothing changed afterwards."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


def moment(epoch_ms: int) -> str:
    """Write a moment."""
    return f"{_whole(epoch_ms // 1000)}.{epoch_ms % 1000:03}Z"


@lru_cache(maxsize=1024)
def _whole(epoch_s: int) -> str:
    """Write whole seconds; those of windows and of now are written again and again."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%S}"
