"""Tokens of services and admins: HS256 JWTs, each kind with its own secret, issuer and audience."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

ALGORITHM = "HS256"
SKEW_S = 30
SUBJECT_MAX = 128
TOKEN_MAX = 8 * 1024
"""Longer ones are not looked at."""


class Verdict(StrEnum):
    """What a token is found to be."""

    GOOD = "good"
    UNREADABLE = "it is no JWT with the algorithm HS256"
    FOREIGN = "its signature is not of this door"
    EXPIRED = "it has expired"
    EARLY = "it is not valid yet"
    INCOMPLETE = "it must have exp, iss, aud and sub, with moments in whole seconds"
    WRONG_ISSUER = "it was issued by someone else"
    WRONG_AUDIENCE = "it is for another audience"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    subject: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class TokenDoor:
    """What tokens must have to open a door; the secret shows in no text."""

    secret: "Secret"
    issuer: str
    audience: str

    def judge(self, token: str, now_s: int) -> tuple[Verdict, Claims | None]:
        """Judge a token at a moment: signature first, then times, then who made it and for whom."""
        if len(token) > TOKEN_MAX:
            return Verdict.UNREADABLE, None
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self.secret.text, algorithms=[ALGORITHM], options=_SIGNATURE_ONLY
            )
        except jwt.InvalidSignatureError:
            return Verdict.FOREIGN, None
        except jwt.PyJWTError:
            return Verdict.UNREADABLE, None
        verdict = self._verdict(claims, now_s)
        return verdict, _claims(claims) if verdict is Verdict.GOOD else None

    def _verdict(self, claims: dict[str, Any], now_s: int) -> Verdict:
        if not _is_complete(claims):
            return Verdict.INCOMPLETE
        if now_s >= claims["exp"] + SKEW_S:
            return Verdict.EXPIRED
        if now_s < claims.get("nbf", 0) - SKEW_S:
            return Verdict.EARLY
        if claims["iss"] != self.issuer:
            return Verdict.WRONG_ISSUER
        return Verdict.GOOD if self.audience in _audiences(claims) else Verdict.WRONG_AUDIENCE


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret that no log and no message shows."""

    text: str

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def make_token(door: TokenDoor, subject: str, now_s: int, lives_s: int) -> str:
    """Make a token that the door takes until it expires."""
    claims = {
        "iss": door.issuer, "aud": door.audience, "sub": subject, "iat": now_s, "nbf": now_s, "exp": now_s + lives_s,
    }  # fmt: skip
    return jwt.encode(claims, door.secret.text, algorithm=ALGORITHM)


_SIGNATURE_ONLY: Any = {
    "verify_signature": True, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
    "verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False,
}  # fmt: skip


def _is_complete(claims: dict[str, Any]) -> bool:
    """Whether all is there that a token must say, with moments as whole seconds."""
    subject = claims.get("sub")
    return (
        type(claims.get("exp")) is int
        and type(claims.get("nbf", 0)) is int
        and isinstance(subject, str)
        and 1 <= len(subject) <= SUBJECT_MAX
        and isinstance(claims.get("iss"), str)
        and bool(_audiences(claims))
    )


def _audiences(claims: dict[str, Any]) -> list[str]:
    named = claims.get("aud")
    return [one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)]


def _claims(claims: dict[str, Any]) -> Claims:
    scope = claims.get("scope", "")
    return Claims(claims["sub"], frozenset(scope.split()) if isinstance(scope, str) else frozenset())
