"""The columns of a scanned batch: which string field stands where, and which code an interned kind has."""

STRING_FIELDS = (
    "tenant", "source", "event_id", "principal", "idempotency_key", "operation", "action", "method", "endpoint",
    "object", "provider", "context_name", "context_display", "attributes", "voids",
)  # fmt: skip
"""Text columns: for each row the position and length of its bytes in the batch's buffer."""

TENANT, SOURCE, EVENT_ID, PRINCIPAL, KEY, OPERATION, ACTION, METHOD, ENDPOINT = range(9)
OBJECT, PROVIDER, CONTEXT_NAME, CONTEXT_DISPLAY, ATTRIBUTES, VOIDS = range(9, 15)
FIELDS = len(STRING_FIELDS)

INTERNED_FIELDS = (TENANT, SOURCE, OPERATION, ACTION, METHOD, ENDPOINT, PROVIDER)
"""Fields of few distinct values: each row also has the number of its value in the batch."""

KIND_TENANT, KIND_SOURCE, KIND_OPERATION, KIND_ACTION, KIND_METHOD, KIND_ENDPOINT, KIND_PROVIDER = range(7)
KIND_USAGE = 7
KINDS = 8

REQUEST_BYTES, RESPONSE_BYTES, DELTA_BYTES = range(3)

SLOW = -1
"""The verdict on a line that only the strict decoder can judge; 0 is a valid event, above it stand reasons."""

UNATTRIBUTED_AT = 0
UNATTRIBUTED_LENGTH = 13
PREFIX = 64
"""Bytes at the head of each buffer that hold constants: `@unattributed` at 0."""

PAD = 64
"""Bytes that every buffer holds behind its last used byte."""
LANES = 32
"""Bytes that are looked at or copied at once; less than PAD."""
