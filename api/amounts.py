"""Amounts that come in: whole micro-USD, as text or as a JSON integer, never as a number with a point."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from billing.asks import AMOUNT_MICRO_MAX

_TEXT = r"^(0|[1-9][0-9]{0,14}|1000000000000000)$"
_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": _TEXT},
        {"type": "integer", "minimum": 0, "maximum": AMOUNT_MICRO_MAX},
    ],
    "description": "Micro-USD, a whole number from 0 to 10^15, as text or as a JSON integer.",
    "examples": ["250000"],
}


def _micro(value: Any) -> int:
    if type(value) is int and 0 <= value <= AMOUNT_MICRO_MAX:
        return value
    if isinstance(value, str) and re.fullmatch(_TEXT, value, re.ASCII):
        return int(value)
    msg = "micro-USD: a whole number from 0 to 1000000000000000, as text or as a JSON integer"
    raise ValueError(msg)


MicroIn = Annotated[int, BeforeValidator(_micro), WithJsonSchema(_SCHEMA), Field()]
"""An amount of a request's body."""
