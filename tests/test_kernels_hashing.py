"""The identity of events: the key's hash held to SipHash as published, the fingerprint to what is billed."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch import Batch, Preparer
from pipeline.catalog import default_catalog
from pipeline.chunk import Chunk, new_buffer
from pipeline.decode import Decoder
from pipeline.kernels.hashing import DOMAIN_KEY, DOMAIN_VOID, bytes_mix, pair_hash
from pipeline.kernels.layout import PREFIX
from pipeline.rating import Rater
from pipeline.strict import Rules
from tests.lines import SMALLEST, Members, event_of, written
from tests.test_scanner_agrees import NoFormats, chunk_of

SEEDS = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
WORD = (1 << 64) - 1


def siphash_128(
    message: bytes, seeds: tuple[int, int], compressions: int, finalizations: int
) -> tuple[int, int]:
    """SipHash-c-d with 128 bits of output, of a message of whole 8-byte words and without its length byte."""

    def rotated(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & WORD

    def rounds(v, count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & WORD
            v[1] = rotated(v[1], 13) ^ v[0]
            v[0] = rotated(v[0], 32)
            v[2] = (v[2] + v[3]) & WORD
            v[3] = rotated(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & WORD
            v[3] = rotated(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & WORD
            v[1] = rotated(v[1], 17) ^ v[2]
            v[2] = rotated(v[2], 32)

    k0, k1 = seeds
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D ^ 0xEE,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    for at in range(0, len(message), 8):
        word = int.from_bytes(message[at : at + 8], "little")
        v[3] ^= word
        rounds(v, compressions)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(v, finalizations)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(v, finalizations)
    return first, v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_reference_is_siphash_as_published():
    # vectors_sip128 of the reference implementation, message 00 01 .. 07 with its length byte behind it
    message = bytes(range(8)) + bytes([0] * 7 + [8])

    low, high = siphash_128(message, SEEDS, 2, 4)

    assert (
        low.to_bytes(8, "little") + high.to_bytes(8, "little")
    ).hex() == "3b62a9ba6258f5610f83e264f31497b4"


def padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 8)


def reference(a: bytes, b: bytes, domain: int, seeds: tuple[int, int] = SEEDS) -> tuple[int, int]:
    head = len(a) | len(b) << 24 | domain << 56
    return siphash_128(head.to_bytes(8, "little") + padded(a) + padded(b), seeds, 1, 3)


def hashed(
    a: bytes, b: bytes, domain: int, filler: int = 0, seeds: tuple[int, int] = SEEDS
) -> tuple[int, int]:
    buffer = new_buffer(len(a) + len(b))
    buffer[PREFIX:] = filler
    buffer[PREFIX : PREFIX + len(a) + len(b)] = np.frombuffer(b + a, np.uint8)
    out = np.empty(2, np.uint64)
    words = (np.uint64(seeds[0]), np.uint64(seeds[1]))
    pair_hash(buffer, PREFIX + len(b), len(a), PREFIX, len(b), domain, *words, out)
    return int(out[0]), int(out[1])


@given(
    st.binary(max_size=70),
    st.binary(max_size=70),
    st.sampled_from([DOMAIN_KEY, DOMAIN_VOID]),
    st.integers(0, 255),
)
@settings(deadline=None)
def test_a_hash_is_siphash_1_3_of_the_lengths_and_the_words(a, b, domain, filler):
    assert hashed(a, b, domain, filler) == reference(a, b, domain)


def test_long_texts_and_other_seeds_hash_as_the_reference_does():
    for size in (128, 1_020, 4_096, 70_000):
        a, b, seeds = b"t" * 512, random.Random(size).randbytes(size), (size, WORD - size)
        assert hashed(a, b, DOMAIN_KEY, seeds=seeds) == reference(a, b, DOMAIN_KEY, seeds)


def test_what_is_hashed_never_changes():
    assert hashed(b"acme", b"key-1", DOMAIN_KEY) == (0x6D38BE5816CBD417, 0x0E0DD9B3E2A41B6B)


def test_no_two_pairs_of_the_same_letters_meet():
    pairs = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc", ""),
        ("", "abc"),
        ("abcdefgh", "i"),
        ("abcdefghi", ""),
        ("a\0", ""),
        ("a", ""),
    ]
    pairs += [("a", "\0"), ("", "a\0"), ("\0" * 8, ""), ("", "\0" * 8), ("\0", "\0"), ("", "")]
    hashes = {
        hashed(a.encode(), b.encode(), domain) for a, b in pairs for domain in (DOMAIN_KEY, DOMAIN_VOID)
    }

    assert len(hashes) == 2 * len(pairs)


# The fingerprint and the slot, through the way that events take.


def sealed(*events: Members) -> Batch:
    return batch_of(chunk_of([written(event) for event in events]))


def batch_of(chunk: Chunk) -> Batch:
    return Preparer(Decoder(Rules()), Rater(default_catalog()), NoFormats(), SEEDS, 3).prepare(chunk)


def changed(event: Members, name: bytes, value: bytes | None) -> Members:
    rest = [member for member in event if member[0] != name]
    return rest if value is None else [*rest, (name, value)]


def event(kind: bytes, **more: bytes) -> Members:
    data = [
        *(m for m in SMALLEST[kind] if m[0].decode() not in more),
        *((n.encode(), v) for n, v in more.items()),
    ]
    return changed(event_of(kind), b"data", written(data))


def prints(*events: Members) -> list[int]:
    batch = sealed(*events)
    assert not batch.columns.verdicts.any(), batch.columns.details
    return batch.prints.tolist()


def test_usage_counts_whatever_its_order_and_zero_is_the_same_as_absent():
    usages = [
        b'{"a":1,"b":2.5}',
        b'{"b":2.50,"a":1}',
        b'{"a":1,"c":0,"b":2.5}',
        b'{"a":1e0,"b":25e-1,"d":-0}',
    ]

    assert len(set(prints(*(event(b"compute", usage=usage) for usage in usages)))) == 1


def test_usage_counts_by_source_and_quantity():
    usages = [b"{}", b'{"a":1}', b'{"a":2}', b'{"b":1}', b'{"a":1,"b":1}', b'{"a":2,"b":1}', b'{"a":1,"b":2}']
    usages += [b'{"ab":1}', b'{"a":0.000001}', b'{"a":1000000000000000}', b'{"a":1,"b":1,"c":1}', b'{"c":3}']

    assert len(set(prints(*(event(b"compute", usage=usage) for usage in usages)))) == len(usages)


def test_the_same_quantities_under_swapped_names_differ():
    assert (
        len(set(prints(event(b"compute", usage=b'{"a":1,"b":2}'), event(b"compute", usage=b'{"a":2,"b":1}'))))
        == 2
    )


BILLABLE = [
    event(b"compute"),
    changed(event(b"compute"), b"subject", b'"alice"'),
    changed(event(b"compute"), b"subject", b'"bob"'),
    event(b"compute", operation=b'"asks"'),
    event(b"compute", action=b'"a"'),
    event(b"compute", operation=b'"as"', action=b'"k"'),
    event(b"compute", units=b"2"),
    event(b"compute", units=b"0"),
    event(b"compute", units=b"1000000000000000"),
    event(b"traffic", operation=b'"ask"'),
    event(b"traffic", operation=b'"ask"', request_bytes=b"1"),
    event(b"traffic", operation=b'"ask"', response_bytes=b"1"),
    event(b"traffic", operation=b'"ask"', request_bytes=b"1", response_bytes=b"1"),
    event(b"storage", operation=b'"ask"'),
    event(b"storage", operation=b'"ask"', delta_bytes=b"5"),
    event(b"storage", operation=b'"ask"', delta_bytes=b"0"),
    event(b"webhook", operation=b'"ask"'),
]


def test_each_billable_member_makes_another_fingerprint():
    assert len(set(prints(*BILLABLE))) == len(BILLABLE)


@pytest.mark.parametrize(
    "same",
    [
        [
            event(b"compute"),
            event(b"compute", units=b"1"),
            event(b"compute", units=b"1.0"),
            event(b"compute", units=b"null"),
        ],
        [
            event(b"compute"),
            changed(event(b"compute"), b"subject", b'"@unattributed"'),
            event(b"compute", action=b'""'),
        ],
        [
            event(b"compute"),
            changed(event(b"compute"), b"time", b'"2026-11-01T00:00:00Z"'),
            changed(event(b"compute"), b"id", b'"2"'),
        ],
        [
            event(b"compute"),
            changed(event(b"compute"), b"source", b'"/x"'),
            event(b"compute", context=b'{"type":"admin"}'),
        ],
        [
            event(b"compute"),
            event(b"compute", trigger=b'"scheduled"'),
            event(b"compute", note=b"1"),
            event(b"compute", usage=b"{}"),
        ],
        [
            event(b"traffic"),
            event(b"traffic", request_bytes=b"0", status=b"500"),
            event(b"traffic", operation=b'"GET /v1/items"'),
        ],
        [event(b"storage"), event(b"storage", object=b'"o"'), event(b"storage", delta_bytes=b"-5.0")],
        [
            event(b"webhook"),
            event(b"webhook", provider=b'"p"', verified=b"true"),
            event(b"webhook", event=b"{}"),
        ],
    ],
)
def test_what_is_not_billed_leaves_the_fingerprint_as_it_is(same):
    assert len(set(prints(*same))) == 1


def test_the_tenant_and_the_key_make_the_hash_and_nothing_else_does():
    one = changed(event(b"compute"), b"idempotencykey", b'"k"')
    others = [changed(one, b"tenant", b'"other"'), changed(one, b"idempotencykey", b'"K"'), event(b"compute")]
    same = [
        changed(changed(event(b"traffic"), b"idempotencykey", b'"k"'), b"time", b'"2026-01-01T00:00:00Z"')
    ]

    hashes = [tuple(pair) for pair in sealed(one, *same, *others).hashes.tolist()]

    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 1 + len(others)


def test_the_default_key_is_the_source_a_space_and_the_id():
    plain = event(b"compute")
    explicit = changed(plain, b"idempotencykey", b'"/svc 1"')

    assert np.array_equal(*sealed(plain, explicit).hashes)


def test_the_hash_is_of_the_tenant_and_the_key():
    high, low = sealed(changed(event(b"compute"), b"idempotencykey", b'"key-1"')).hashes[0].tolist()

    assert (high, low) == reference(b"acme", b"key-1", DOMAIN_KEY)


def correction(voids: bytes) -> Members:
    return changed(event_of(b"correction"), b"data", b'{"voids":"%b"}' % voids)


def test_a_correction_shares_the_slot_of_what_it_voids_and_not_its_hash():
    keys = [b"key-%d" % n for n in range(300)]
    events = [changed(event(b"compute"), b"idempotencykey", b'"%b"' % key) for key in keys]
    batch = sealed(*events, *map(correction, keys))

    voided, corrections = batch.hashes[:300], batch.hashes[300:]
    assert np.array_equal(batch.targets[300:], voided)
    assert np.array_equal(batch.slots[300:], batch.slots[:300])
    assert np.array_equal(batch.slots[:300], voided[:, 0] >> np.uint64(56))
    assert len(set(batch.slots.tolist())) > 150
    assert len({tuple(pair) for pair in batch.hashes.tolist()}) == 600
    assert not batch.prints[300:].any()
    for number, (high, low) in enumerate(corrections.tolist()):
        whole = reference(b"acme", keys[number], DOMAIN_VOID)
        assert (high & ~(0xFF << 56), low) == (whole[0] & ~(0xFF << 56), whole[1])


def test_a_correction_is_told_by_what_it_voids_and_not_by_its_own_key():
    named = changed(correction(b"k"), b"idempotencykey", b'"mine"')
    batch = sealed(correction(b"k"), named, correction(b"mine"))

    assert np.array_equal(batch.hashes[0], batch.hashes[1])
    assert not np.array_equal(batch.hashes[0], batch.hashes[2])


def test_each_row_is_in_the_lane_of_its_slot_in_the_order_of_the_input():
    events = [changed(event(b"compute"), b"id", b'"%d"' % n) for n in range(100)]
    batch = batch_of(chunk_of([*map(written, events), b"broken", *map(written, events)]))

    for lane in range(3):
        rows = batch.rows_of(lane)
        assert (batch.slots[rows] % 3 == lane).all()
        assert (np.diff(rows) > 0).all()
    assert sorted(batch.order.tolist()) == list(range(201))
    assert batch.slots[100] == batch.chunk.offsets[100]


@given(st.binary(min_size=1, max_size=40), st.integers(0, 255))
@settings(deadline=None)
def test_a_mix_does_not_depend_on_what_stands_around_the_text(text, filler):
    mixed = set()
    for shift in range(9):
        buffer = new_buffer(len(text) + shift)
        buffer[PREFIX:] = filler * (shift % 2)
        buffer[PREFIX + shift : PREFIX + shift + len(text)] = np.frombuffer(text, np.uint8)
        mixed.add(int(bytes_mix(buffer, PREFIX + shift, len(text), np.uint64(1))))
    assert len(mixed) == 1


def test_fingerprints_never_change():
    found = prints(
        event(b"compute", usage=b'{"a":1.5,"b":2}'), event(b"storage"), event(b"traffic", action=b'"a"')
    )

    assert found == [0x236F436DA052952D, 0x7A4621412CB7162A, 0x77048F2D08BB2E92]
