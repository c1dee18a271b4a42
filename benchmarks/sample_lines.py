"""The sample's events as lines of CloudEvents JSON."""

from itertools import product

import numpy as np

from benchmarks.sample_columns import (
    ACTIONS,
    CONTEXTS,
    ENDPOINTS,
    METHODS,
    NO_PRINCIPAL,
    PRINCIPALS,
    REGIONS,
    SERVICES,
    TRIGGERS,
    Chunk,
    Role,
)
from benchmarks.sample_faults import FAULTS, fault_number
from benchmarks.sample_prices import COMPUTE, CORRECTION, OPERATIONS, STORAGE, TRAFFIC, TYPES, WEBHOOK, Rows

_KEY_KINDS = ("req", "job", "obj", "wh", "fix")
_CONTEXT_TYPES = ("project", "project", "project", "workspace", "admin", "other")
_PROVIDERS = ("stripe", "github", "slack")
_REASONS = ("charged twice", "test run", "agreed with support")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def tenant_names(count: int) -> list[str]:
    """Name the tenants, the busiest first."""
    return [f"acct_{(rank + 1) * 7919 % 1_000_003:06d}" for rank in range(count)]


def lines(chunk: Chunk, tenants: list[str]) -> list[bytes]:
    """Write the chunk's lines, without their LF, in order; most have 300 to 360 bytes."""
    texts = _render(chunk.rows, _data(chunk.rows), tenants)
    for position, row in chunk.voided.items():
        texts[position] = _correction(chunk, position, row.reshape(1), tenants)
    done = [text.encode() for text in texts]
    for position in np.flatnonzero(chunk.roles == Role.FAULTY).tolist():
        fault = FAULTS[fault_number(int(chunk.rows["number"][position]))]
        done[position] = fault.spoil(done[position])
    return done


def _correction(chunk: Chunk, position: int, voided: Rows, tenants: list[str]) -> str:
    row = chunk.rows[position : position + 1].copy()
    row["type"], row["tenant"], row["names_key"] = CORRECTION, voided["tenant"], True
    number = int(row["number"][0])
    is_stray = chunk.roles[position] == Role.STRAY_CORRECTION
    voids = f"never-sent-{number}" if is_stray else _keys(voided)[0]
    data = f'{{"voids":"{voids}","reason":"{_REASONS[number % len(_REASONS)]}"}}'
    return _render(row, [data], tenants)[0]


def _render(rows: Rows, data: list[str], tenants: list[str]) -> list[str]:
    times = np.datetime_as_string(rows["time_ms"].astype("datetime64[ms]"), unit="ms").tolist()
    names = [tenants[rank] for rank in rows["tenant"].tolist()]
    subjects = [_subject(name, n) for name, n in zip(names, rows["principal"].tolist(), strict=True)]
    keys = [
        f'"idempotencykey":"{key}",' if is_named else ""
        for key, is_named in zip(_own_keys(rows), rows["names_key"].tolist(), strict=True)
    ]
    types = [TYPES[kind] for kind in rows["type"].tolist()]
    return [
        f'{{"specversion":"1.0","id":"{event_id}","source":"{source}","type":"{kind}","tenant":"{tenant}",'
        f'{subject}"time":"{time}Z",{key}"data":{body}}}'
        for event_id, source, kind, tenant, subject, time, key, body in zip(
            _ids(rows), _sources(rows), types, names, subjects, times, keys, data, strict=True
        )
    ]


def _subject(tenant: str, principal: int) -> str:
    if principal == NO_PRINCIPAL:
        return ""
    kind = "user" if principal < PRINCIPALS - SERVICES else "svc"
    return f'"subject":"{kind}_{tenant[5:]}_{principal}",'


def _ids(rows: Rows) -> list[str]:
    tags = (rows["key"] & np.uint64(0xFFFF)).tolist()
    return [f"evt_{n:010d}{tag:04x}" for n, tag in zip(rows["number"].tolist(), tags, strict=True)]


def _sources(rows: Rows) -> list[str]:
    places = (rows["type"].tolist(), rows["region"].tolist(), rows["host"].tolist())
    return [f"/svc/{TYPES[k]}/{REGIONS[region]}/{host}" for k, region, host in zip(*places, strict=True)]


def _own_keys(rows: Rows) -> list[str]:
    kinds = [_KEY_KINDS[kind] for kind in rows["type"].tolist()]
    tails = ((rows["key"] * _MIX) >> np.uint64(32)).tolist()
    return [f"{k}-{n:016x}-{tail:08x}" for k, n, tail in zip(kinds, rows["key"].tolist(), tails, strict=True)]


def _keys(rows: Rows) -> list[str]:
    """Find the keys by which the ledger knows events: their own, the template's, or source and id."""
    found = []
    for number, own in enumerate(_own_keys(rows)):
        row = rows[number : number + 1]
        if row["names_key"][0]:
            found.append(own)
        elif OPERATIONS[int(row["operation"][0])].key_template:
            found.append(f"hook:{int(row['key'][0]):016x}")
        else:
            found.append(f"{_sources(row)[0]} {_ids(row)[0]}")
    return found


def _data(rows: Rows) -> list[str]:
    """Write the JSON of each event's `data`."""
    data = np.empty(len(rows), object)
    writers = {TRAFFIC: _traffic, COMPUTE: _compute, STORAGE: _storage, WEBHOOK: _webhook}
    for kind, write in writers.items():
        at = np.flatnonzero(rows["type"] == kind)
        data[at] = write(rows[at])
    texts: list[str] = data.tolist()
    return texts


def _traffic(rows: Rows) -> list[str]:
    names = ("method", "endpoint", "status", "request_bytes", "response_bytes")
    columns = [rows[name].tolist() for name in names]
    return [
        f'{{"method":"{METHODS[method]}","endpoint":"{ENDPOINTS[endpoint]}","status":{status},'
        f'"request_bytes":{request},"response_bytes":{response}{extra}}}'
        for method, endpoint, status, request, response, extra in zip(*columns, _extras(rows), strict=True)
    ]


def _compute(rows: Rows) -> list[str]:
    names = ("operation", "units_micro", "tokens", "seconds_micro")
    columns = [rows[name].tolist() for name in names]
    return [
        f'{{"operation":"{OPERATIONS[number].name}","units":{_decimal(units)}{extra}'
        f"{_usage(number, tokens, seconds)}}}"
        for number, units, tokens, seconds, extra in zip(*columns, _extras(rows), strict=True)
    ]


def _usage(operation: int, tokens: int, seconds_micro: int) -> str:
    if tokens:
        return f',"usage":{{"{OPERATIONS[operation].tokens_of}":{tokens}}}'
    if seconds_micro:
        return f',"usage":{{"{OPERATIONS[operation].seconds_of}":{_decimal(seconds_micro)}}}'
    return ""


def _decimal(micro: int) -> str:
    whole, rest = divmod(micro, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


def _storage(rows: Rows) -> list[str]:
    columns = (rows["delta_bytes"].tolist(), rows["tenant"].tolist(), rows["key"].tolist(), _extras(rows))
    return [
        f'{{"operation":"object.put","delta_bytes":{delta},"object":"bucket-{tenant}/{key:016x}.bin"{extra}}}'
        for delta, tenant, key, extra in zip(*columns, strict=True)
    ]


def _webhook(rows: Rows) -> list[str]:
    names = [OPERATIONS[number].name for number in rows["operation"].tolist()]
    columns = (names, rows["host"].tolist(), rows["key"].tolist(), _extras(rows))
    return [
        f'{{"operation":"{name}","provider":"{_PROVIDERS[n % 3]}","verified":true,"event":'
        f'{{"kind":"push","ref":"refs/heads/{n}","delivery":"{key:016x}"}}{extra}}}'
        for name, n, key, extra in zip(*columns, strict=True)
    ]


def _extras(rows: Rows) -> list[str]:
    """Write the members that any type may have: action, context, trigger."""
    place = (rows["action"].astype(np.int64) * CONTEXTS + rows["context"]) * len(TRIGGERS) + rows["trigger"]
    return [_EXTRAS[n] for n in place.tolist()]


def _extra(action: str, context: int, trigger: str) -> str:
    parts = [f',"action":"{action}"'] if action else []
    if context:
        kind = _CONTEXT_TYPES[context % len(_CONTEXT_TYPES)]
        display = f',"display":"Projekt Grün {context}"' if context % 7 == 0 else ""
        parts.append(f',"context":{{"type":"{kind}","name":"proj-{context}"{display}}}')
    return "".join([*parts, f',"trigger":"{trigger}"' if trigger else ""])


_EXTRAS = [_extra(*chosen) for chosen in product(ACTIONS, range(CONTEXTS), TRIGGERS)]
