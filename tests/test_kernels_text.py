"""The inner loops that read JSON text: where a plain string ends, at any length and any alignment."""

import numpy as np
import pytest

from pipeline.kernels.layout import PAD
from pipeline.kernels.text import plain_string_end

LENGTHS = [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 200]


def padded(text: bytes) -> np.ndarray:
    return np.frombuffer(text + b"\n" + bytes(PAD), np.uint8).copy()


@pytest.mark.parametrize("start", range(5))
@pytest.mark.parametrize("length", LENGTHS)
def test_the_end_of_a_plain_string_is_its_quote(start: int, length: int) -> None:
    buffer = padded(b"x" * start + b"\xc3" * length + b'"' + b'"' * 40)

    assert plain_string_end(buffer, start) == start + length


@pytest.mark.parametrize("stop", [0x00, 0x1F, 0x0A, 0x5C])
@pytest.mark.parametrize("length", LENGTHS)
def test_an_escape_or_a_control_character_before_the_quote_makes_it_not_plain(length: int, stop: int) -> None:
    buffer = padded(b" " * length + bytes([stop]) + b'"')

    assert plain_string_end(buffer, 0) == -1


@pytest.mark.parametrize("plain", [0x20, 0x21, 0x23, 0x5B, 0x5D, 0x7F, 0x80, 0xA2, 0xDC, 0xFF])
def test_every_other_byte_is_part_of_the_string(plain: int) -> None:
    buffer = padded(bytes([plain]) * 50 + b'"')

    assert plain_string_end(buffer, 0) == 50
