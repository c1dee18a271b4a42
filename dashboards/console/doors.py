"""The ways in and out: the sign-in page, signing out, what a viewer prefers. Plain forms, no script needed."""

from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from dashboards.console.desk import Desk
from dashboards.console.markup import ROOT, address
from dashboards.console.plain import sign_in_page
from dashboards.console.sessions import COOKIE, LASTS_MS
from dashboards.console.text import known_zone
from pipeline.errors import MillraceError

BODY_MAX = 16_384
THEMES = ("auto", "light", "dark")


def make_doors(desk: Desk) -> APIRouter:
    """Make the routes below the console's root that are no pages."""
    router = APIRouter(prefix=ROOT, include_in_schema=False)

    @router.get("/sign-in")
    def sign_in(to: str = "/") -> Response:
        return sign_in_page(_inside(to), "")

    @router.post("/sign-in")
    async def signed_in(request: Request) -> Response:
        given = await _form(request)
        to = _inside(given.get("to", "/"))
        try:
            token = await desk.work(lambda: desk.sessions.open(given.get("credential", "").strip()))
        except MillraceError as error:
            return sign_in_page(to, f"This cannot be checked now: {error}.")
        if token is None:
            return sign_in_page(to, "This key or token is not good: it is unknown, revoked or expired.")
        return _admitted(request, token, to)

    @router.get("/enter")
    async def enter(request: Request, key: str = "") -> Response:
        token = await desk.work(lambda: desk.sessions.open(key)) if desk.services.links_sign_in else None
        return RedirectResponse(address("/sign-in"), 303) if token is None else _admitted(request, token, "/")

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        desk.sessions.close(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(address("/sign-in"), 303)
        answer.delete_cookie(COOKIE, path=ROOT)
        return answer

    @router.post("/preferences")
    async def preferences(request: Request) -> Response:
        given = await _form(request)
        session = await desk.session_of(request.cookies.get(COOKIE, ""))
        if session is not None:
            zone, theme = given.get("zone", ""), given.get("theme", "")
            session.zone = zone if zone in {"viewer", "tenant"} or known_zone(zone) else session.zone
            session.theme = theme if theme in THEMES else session.theme
        return RedirectResponse(ROOT + _inside(given.get("to", "/")), 303)

    @router.get("")
    def without_slash() -> Response:
        return RedirectResponse(address("/"), 308)

    return router


def _admitted(request: Request, token: str, to: str) -> Response:
    answer = RedirectResponse(ROOT + to, 303)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=LASTS_MS // 1000,
        path=ROOT,
        httponly=True,
        samesite="lax",
        secure=_is_https(request),
    )
    return answer


def _is_https(request: Request) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy before us; a lie only makes the cookie stricter."""
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}


async def _form(request: Request) -> dict[str, str]:
    """Read a small form; one that is larger is as good as empty."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _inside(to: str) -> str:
    """Keep a way back inside the console: a path from its root, never another host."""
    parts = urlsplit(to)
    is_inside = not parts.scheme and not parts.netloc and to.startswith("/") and "\\" not in to
    return to if is_inside and to.isprintable() and not to.startswith("//") else "/"
