"""The published form of a usage event: the contract's section 1 as models, and JSON Schema made from them.

The strict decoder judges; this tells people and their tools what it takes. A test holds the two together.
The models leave out what is no matter of form: duplicate members and the bytes of a line, how far a time may
lie ahead, the setting that lends events a tenant. JSON Schema has no word either for the days of a month and
the digits of a fraction. Numbers reach the models as `Decimal`.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
)

from pipeline.quantity import FRACTION_DIGITS_MAX, QUANTITY_MAX
from pipeline.strict import ID_MAX, KEY_MAX, SOURCE_MAX, TENANT_MAX, TEXT_MAX
from pipeline.timestamp import TIME_MIN_MS, parse_rfc3339_ms

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
INT64_MAX = 2**63 - 1

_NO_WHITE_SPACE = r"^[^\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$"
_TIME = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


def _checked_time(text: str) -> str:
    moment_ms = parse_rfc3339_ms(text)
    if moment_ms is None or moment_ms < TIME_MIN_MS:
        msg = "must be an RFC 3339 time with its offset, from 2000-01-01T00:00:00Z"
        raise ValueError(msg)
    return text


def _without_nulls(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    return {source: quantity for source, quantity in usage.items() if quantity is not None}


def _number(kind: str, description: str, lowest: int, highest: int) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": kind, "minimum": lowest, "maximum": highest, "description": description},
    )


Text = Annotated[str, Field(max_length=TEXT_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_MAX)]
Time = Annotated[
    str,
    AfterValidator(_checked_time),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _TIME}),
]
Quantity = Annotated[
    Decimal,
    Field(ge=0, le=QUANTITY_MAX, decimal_places=FRACTION_DIGITS_MAX),
    _number("number", "an exact decimal number with at most 6 fractional digits", 0, QUANTITY_MAX),
]
ByteCount = Annotated[
    Decimal,
    Field(ge=0, le=QUANTITY_MAX, decimal_places=0),
    _number("integer", "a whole number of bytes", 0, QUANTITY_MAX),
]
ByteDelta = Annotated[
    Decimal,
    Field(ge=-QUANTITY_MAX, le=QUANTITY_MAX, decimal_places=0),
    _number("integer", "bytes: + upload, - delete, 0 for a read", -QUANTITY_MAX, QUANTITY_MAX),
]
Status = Annotated[
    Decimal,
    Field(ge=-INT64_MAX - 1, le=INT64_MAX, decimal_places=0),
    _number("integer", "the status of the response", -INT64_MAX - 1, INT64_MAX),
]
Usage = Annotated[dict[Name, Quantity | None], BeforeValidator(_without_nulls)]


class _Model(BaseModel):
    """`null` is the same as absent; members that are not named here are kept as text, not refused."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Context(_Model):
    """Where in the front end the user was."""

    type: Literal["project", "workspace", "admin", "other"] | None = None
    name: Text | None = None
    display: Text | None = None


class Data(_Model):
    """What every type may say."""

    operation: Text | None = Field(None, description="what was done: the name that the catalog prices")
    action: Text | None = Field(None, description="what the user did in the front end")
    context: Context | None = None
    trigger: (
        Literal["synchronous", "webhook-received", "scheduled", "queue-consumed", "callback-completed"] | None
    ) = Field(None, description="what set it off; synchronous where nothing is said")
    usage: Usage | None = Field(None, description="measured use of third parties: quantity by source")


class TrafficData(Data):
    """A request and its response; without `operation` it is `METHOD endpoint`."""

    method: Text | None = None
    endpoint: Text | None = None
    status: Status | None = None
    request_bytes: ByteCount | None = None
    response_bytes: ByteCount | None = None


class ComputeData(Data):
    """Work done; `units` is 1 where nothing is said."""

    operation: Name
    units: Quantity | None = None


class StorageData(Data):
    """A change of what is stored."""

    delta_bytes: ByteDelta
    object: Text | None = None


class WebhookData(Data):
    """A call from a provider."""

    provider: Text | None = None
    verified: bool | None = Field(None, description="whether the provider's signature was right")
    event: Any = Field(None, description="the provider's payload, as it came")


class CorrectionData(Data):
    """The voiding of an accepted event of the same tenant."""

    voids: Key = Field(description="the idempotency key of the event that is voided")
    reason: Text | None = None


class _Event(_Model):
    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=ID_MAX)
    source: str = Field(
        min_length=1, max_length=SOURCE_MAX, pattern=_NO_WHITE_SPACE, description="who emits: a URI reference"
    )
    tenant: str = Field(min_length=1, max_length=TENANT_MAX, description="the account that pays")
    subject: Text | None = Field(None, description="the user, key or service that caused the cost")
    time: Time | None = Field(
        None,
        description="from 2000-01-01, at most 5 minutes after the arrival; without it: the arrival",
    )
    idempotencykey: Key | None = Field(
        None, description="what makes the event the same when it is sent again; else source, a space and id"
    )


class TrafficEvent(_Event):
    """Bytes that went through."""

    type: Literal["traffic"]
    data: TrafficData


class ComputeEvent(_Event):
    """Work that was done."""

    type: Literal["compute"]
    data: ComputeData


class StorageEvent(_Event):
    """Bytes that were put or taken away."""

    type: Literal["storage"]
    data: StorageData


class WebhookEvent(_Event):
    """A call that a provider made."""

    type: Literal["webhook"]
    data: WebhookData


class CorrectionEvent(_Event):
    """An event that takes another back."""

    type: Literal["correction"]
    data: CorrectionData


PublishedEvent = Annotated[
    TrafficEvent | ComputeEvent | StorageEvent | WebhookEvent | CorrectionEvent, Field(discriminator="type")
]
PUBLISHED_EVENT: TypeAdapter[Any] = TypeAdapter(PublishedEvent)
"""Validates an event read from JSON with its numbers as `Decimal`."""


def event_json_schema() -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of one usage event."""
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "Usage event",
        "description": "One CloudEvents 1.0 object that says who used what. null is the same as absent.",
        **PUBLISHED_EVENT.json_schema(),
    }
