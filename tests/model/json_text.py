"""A line to a value, by the contract's JSON rules; numbers stay the text that they were."""

import json
import re
from fractions import Fraction

TOO_LARGE = Fraction(10**20)
DEPTH_MAX = 256
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?)(\d+))?", re.ASCII)


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def parse(line):
    """The value of a line; a ValueError when it is not JSON. Members that are null are left out."""
    text = line.decode("utf-8")
    _check_depth(text)
    try:
        value = json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse,
            object_pairs_hook=_object,
        )
        _check_text(value)
    except RecursionError as error:
        msg = "nested too deep"
        raise ValueError(msg) from error
    return value


def _check_depth(text):
    depth = 0
    for character in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if character in "[{" else -1
        if depth > DEPTH_MAX:
            msg = "nested too deep"
            raise ValueError(msg)


def _refuse(name):
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _object(pairs):
    for name, value in pairs:
        _check_text(name)
        _check_text(value)
    return {name: value for name, value in dict(pairs).items() if value is not None}


def _check_text(value):
    if isinstance(value, list):
        for element in value:
            _check_text(element)
    elif isinstance(value, str):
        value.encode("utf-8")


def exact(text):
    """-> (value, digits behind the point), exact; a magnitude beyond 10^20 is given as 10^20."""
    sign, whole, fraction, exponent_sign, exponent = _NUMBER.fullmatch(text).groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Fraction(0), 0
    shift = min(int(exponent.lstrip("0")[:18] or "0"), 10**17) * (-1 if exponent_sign == "-" else 1)
    shift += len(digits) - len(digits.rstrip("0")) - len(fraction)
    digits = digits.rstrip("0")
    if len(digits) + shift > 20:
        value = TOO_LARGE
    else:
        value = Fraction(int(digits) * 10**shift) if shift >= 0 else _below_one(digits, shift)
    return (-value if sign else value), max(0, -shift)


def _below_one(digits, shift):
    return Fraction(int(digits), 10**-shift) if shift >= -6 else Fraction(1, 10**7)
