"""`millrace token`: make a token for a service or an admin, with the secret that the service has."""

import time
from enum import StrEnum
from typing import Annotated

import typer

from api.tokens import SUBJECT_MAX, TokenDoor, make_token
from cli.secret import read_secret
from pipeline.errors import UsageError

SERVICE_SECRET = "BILLING_INTERNAL_JWT_SECRET"  # noqa: S105 - the name of a variable
ADMIN_SECRET = "BILLING_ADMIN_JWT_SECRET"  # noqa: S105 - the name of a variable

app = typer.Typer(help="Make a token for a service or an admin.")


class Kind(StrEnum):
    """Which door it opens."""

    SERVICE = "service"
    ADMIN = "admin"


IssuerOption = Annotated[
    str, typer.Option(envvar="MILLRACE_INTERNAL_ISSUER", help="Who issues service tokens.")
]
ISSUER = "loa-finn"
AudienceOption = Annotated[
    str, typer.Option(envvar="MILLRACE_INTERNAL_AUDIENCE", help="The audience of service tokens.")
]
AUDIENCE = "arrakis-internal"
AdminIssuerOption = Annotated[
    str, typer.Option(envvar="MILLRACE_ADMIN_ISSUER", help="Who issues admin tokens.")
]
ADMIN_ISSUER = "millrace"
AdminAudienceOption = Annotated[
    str, typer.Option(envvar="MILLRACE_ADMIN_AUDIENCE", help="The audience of admin tokens.")
]
ADMIN_AUDIENCE = "millrace-admin"


@app.command()
def token(  # noqa: PLR0913, PLR0917 - one argument for each flag
    kind: Annotated[Kind, typer.Argument(help="Which door it opens.")],
    subject: Annotated[str, typer.Argument(help="Who it is for: the audit and the rate limits go by it.")],
    lives_s: Annotated[int, typer.Option(min=1, max=86_400, help="For how many seconds it is good.")] = 3600,
    issuer: IssuerOption = ISSUER,
    audience: AudienceOption = AUDIENCE,
    admin_issuer: AdminIssuerOption = ADMIN_ISSUER,
    admin_audience: AdminAudienceOption = ADMIN_AUDIENCE,
) -> None:
    """Print a token that `millrace serve` takes until it expires; it is kept nowhere.

    The secret comes from BILLING_INTERNAL_JWT_SECRET or BILLING_ADMIN_JWT_SECRET, or the files that these with _FILE
    behind them name. Any library for JSON Web Tokens makes the same: HS256 with iss, aud, sub and exp.
    """
    if not 1 <= len(subject) <= SUBJECT_MAX:
        raise UsageError(f"a subject has 1 to {SUBJECT_MAX} characters, got {len(subject)}")
    variable = SERVICE_SECRET if kind is Kind.SERVICE else ADMIN_SECRET
    secret = read_secret(variable, is_development=True)
    if secret is None:
        raise UsageError(f"{variable} is not set: give the secret that `millrace serve` was started with")
    names = (issuer, audience) if kind is Kind.SERVICE else (admin_issuer, admin_audience)
    typer.echo(make_token(TokenDoor(secret, *names), subject, int(time.time()), lives_s))
