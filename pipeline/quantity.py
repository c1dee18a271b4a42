"""Numbers as they are written, taken by their exact decimal value: no binary float comes near a quantity."""

import re

QUANTITY_MAX = 10**15
"""The largest magnitude that the contract allows a quantity, in whole units or bytes."""
FRACTION_DIGITS_MAX = 6
SCALES: tuple[int, ...] = tuple(10**digits for digits in range(FRACTION_DIGITS_MAX + 1))
CLAMP = 10**20
"""Beyond every limit that is asked of a number here, 64-bit integers included."""

_CLAMP_DIGITS = 20
_PLAIN_DIGITS_MAX = 18
_EXPONENT_DIGITS_MAX = 18
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")


def scaled(text: str, fraction_digits: int) -> int | None:
    """Give the exact value of a JSON number times 10^`fraction_digits`; None when it has more such digits.

    Trailing zeros do not count as digits: `1.0`, `10e-1` and `1` are the same. A magnitude of 10^20 or more
    comes back as 10^20 times the scale, with its sign, so neither time nor memory depends on the exponent.
    `text` is a number by RFC 8259, anything else a programmer's error; `fraction_digits` is 0 to 6.
    """
    if len(text) <= _PLAIN_DIGITS_MAX and text.isdigit():
        return int(text) * SCALES[fraction_digits]
    match = _NUMBER.fullmatch(text)
    assert match, text  # noqa: S101 - the JSON reader has let nothing else through
    sign, whole, fraction, exponent_sign, exponent = match.groups("")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return 0
    significant = digits.rstrip("0")
    shift = _exponent(exponent_sign, exponent) - len(fraction) + len(digits) - len(significant)
    magnitude = _magnitude(significant, shift, fraction_digits)
    return -magnitude if sign and magnitude is not None else magnitude


def _exponent(sign: str, digits: str) -> int:
    """Read an exponent; one that no line is long enough to outweigh counts as 10^18."""
    digits = digits.lstrip("0")
    size = int(digits or "0") if len(digits) <= _EXPONENT_DIGITS_MAX else 10**_EXPONENT_DIGITS_MAX
    return -size if sign == "-" else size


def _magnitude(digits: str, shift: int, fraction_digits: int) -> int | None:
    """Multiply `digits` by 10^(`shift` + `fraction_digits`); `digits` neither begins nor ends with a zero."""
    if shift < -fraction_digits:
        return None
    if len(digits) + shift > _CLAMP_DIGITS:
        return CLAMP * SCALES[fraction_digits]
    return int(digits + "0" * (shift + fraction_digits))
