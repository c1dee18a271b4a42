"""Pages without NiceGUI and without a script: the sign-in, and what is not for a viewer."""

from importlib import resources

from fastapi import Response
from fastapi.responses import HTMLResponse

from dashboards.console.markup import Markup, address, link, tag, together

MARK = Markup(
    '<svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" '
    'aria-hidden="true"><circle cx="10" cy="10" r="7.5"/>'
    '<path d="M10 2.5v15M2.5 10h15M4.7 4.7l10.6 10.6M15.3 4.7L4.7 15.3" stroke-width="1.3"/></svg>'
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'"


def theme() -> str:
    """Read the style sheet."""
    return (resources.files("dashboards") / "console" / "theme.css").read_text(encoding="utf-8")


def sign_in_page(to: str, problem: str) -> Response:
    """Ask for a credential; `to` is where to go then, `problem` says why the last one was not good."""
    said = tag("p", problem, class_="notice bad", role="alert") if problem else None
    given = tag(
        "input",
        id="credential",
        name="credential",
        type="password",
        autocomplete="current-password",
        required=True,
        autofocus=True,
        aria_describedby="hint",
    )
    hint = "A tenant's key shows what is the tenant's own; an admin token shows all."
    asked = tag(
        "form",
        said,
        tag("label", "API key or admin token", for_="credential"),
        given,
        tag("p", hint, id="hint", class_="note"),
        tag("input", type="hidden", name="to", value=to),
        tag("button", "Sign in", type="submit", class_="act main"),
        method="post",
        action=address("/sign-in"),
        class_="stack",
    )
    return _page("Sign in", together(tag("h1", MARK, "Millrace"), asked), 401 if problem else 200)


def refused(title: str, why: str) -> Response:
    """Say that a page is not for this viewer: status 403."""
    said = tag("p", why, class_="notice bad", role="alert")
    return _page(
        title, together(tag("h1", MARK, title), said, tag("p", link("/", "Go to the overview"))), 403
    )


def _page(title: str, main: Markup, status: int) -> Response:
    head = together(
        Markup('<meta charset="utf-8">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · Millrace"),
        Markup(f"<style>{_alone(theme())}</style>"),
    )
    body = tag("body", tag("div", tag("main", main, class_="card alone"), class_="console"))
    html = f'<!doctype html><html lang="en"><head>{head.html}</head>{body.html}</html>'
    return HTMLResponse(
        html, status, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    )


def _alone(sheet: str) -> str:
    """Give the theme for a page without NiceGUI: dark where the system is."""
    dark = sheet.split("body.body--dark {", 1)[1].split("}", 1)[0]
    own = (
        "* { box-sizing: border-box; } body { margin: 0; }",
        sheet,
        ".alone { max-width: 400px; margin: 12vh auto 0; padding: 24px; display: grid; gap: 14px; }",
        ".console .alone h1 { display: flex; gap: 8px; align-items: center; }",
        f"@media (prefers-color-scheme: dark) {{ :root, body {{ {dark} }}",
        ".console input { border-color: #5d6a78; } }",
    )
    return " ".join(own)
