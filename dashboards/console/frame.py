"""What stands around every page: the head with its navigation, the viewer's menu, the foot; and the ways in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import RedirectResponse
from nicegui import ui

from dashboards.console.desk import Desk
from dashboards.console.live import TICK_S, Live
from dashboards.console.markup import Child, Markup, address, tag, together
from dashboards.console.plain import MARK, theme
from dashboards.console.services import ConsoleServices, Viewer
from dashboards.console.sessions import COOKIE, Session
from dashboards.console.text import UTC_NAME, Zone, known_zone

ANSWER_S = 30
"""A page that is not built by then is given up; its panels are not waited for so long (see `live.py`)."""
PAGES = (
    ("/", "Overview", False),
    ("/tenants", "Tenants", True),
    ("/tenant", "Tenant", False),
    ("/events", "Events", False),
    ("/explain", "Explain", False),
    ("/rejects", "Rejects", True),
    ("/stripe", "Stripe", True),
    ("/catalog", "Catalog", True),
)
"""Path, name, and whether only operators see it."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One viewer on one page."""

    desk: Desk
    session: Session
    token: str
    path: str
    address: str
    """Path and query, to come back to."""

    @property
    def viewer(self) -> Viewer:
        """Who looks."""
        return self.session.viewer

    @property
    def services(self) -> ConsoleServices:
        """What the console works with."""
        return self.desk.services

    def zone(self, tenant: str = "") -> Zone:
        """The zone to write times in: as the viewer chose; `tenant` is whose page it is."""
        chosen, of_browser = self.session.zone, self.session.browser_zone
        if chosen == "tenant" and (tenant or self.viewer.tenant):
            account = self.services.accounts.get(tenant or self.viewer.tenant)
            return Zone(account.time_zone, "the tenant's zone")
        if known_zone(chosen):
            return Zone(chosen, "as chosen")
        return Zone(of_browser, "your zone") if known_zone(of_browser) else Zone(UTC_NAME, "UTC")


async def arrive(desk: Desk, request: Request, *, operators: bool = False) -> Visit | RedirectResponse | None:
    """Let a viewer in: a visit; the way to the sign-in where nobody is signed in; None where it is not for them."""
    path = request.url.path.removeprefix(request.scope.get("root_path", "")) or "/"
    back = path + (f"?{request.url.query}" if request.url.query else "")
    token = request.cookies.get(COOKIE, "")
    session = await desk.session_of(token)
    if session is None:
        return RedirectResponse(address("/sign-in", to=back), status_code=303)
    visit = Visit(desk, session, token, path, back)
    return None if operators and not visit.viewer.is_operator else visit


@contextmanager
def page(visit: Visit, title: str, sub: Child = "", tenant: str = "") -> Iterator[Live]:
    """Build a page within its frame; what is made inside stands in its main part."""
    live = Live(visit.desk, visit.token)
    ui.page_title(f"{title} · Millrace")
    ui.dark_mode(value={"light": False, "dark": True}.get(visit.session.theme))
    ui.add_css(theme())
    zone = visit.zone(tenant)
    around = ui.context.client.content.parent_slot
    if around is not None:
        around.parent.tag = "div"  # NiceGUI makes it the main part of the page, with the head inside
    with ui.element("div").classes("console"):
        ui.html('<a class="skip" href="#main">Skip to the content</a>', sanitize=False)
        with ui.element("header").classes("top"), ui.element("div").classes("top-in"):
            ui.html(_navigation(visit).html, sanitize=False).style("display:contents")
            with ui.element("div").classes("tools"):
                _pause(live)
                ui.html(_menu(visit, zone).html, sanitize=False)
        with ui.element("main").classes("page").props('id="main" tabindex="-1"'):
            ui.html(_heading(title, sub).html, sanitize=False)
            yield live
        ui.html(
            f"Times in {zone.name} ({zone.why}). Amounts are exact to the pico-USD.", tag="footer"
        ).classes("foot")
    ui.timer(TICK_S, live.tick, immediate=False)
    if not visit.session.browser_zone:
        ui.timer(0, lambda: _learn_zone(visit), once=True)


async def _learn_zone(visit: Visit) -> None:
    """Ask the browser once for its zone, and write the times in it."""
    told = await ui.run_javascript("Intl.DateTimeFormat().resolvedOptions().timeZone", timeout=5)
    visit.session.browser_zone = told if isinstance(told, str) and known_zone(told) else UTC_NAME
    if visit.session.zone == "viewer" and visit.session.browser_zone != UTC_NAME:
        ui.navigate.reload()


def _pause(live: Live) -> None:
    def toggle() -> None:
        live.is_paused = not live.is_paused
        button.props(f'aria-pressed="{str(live.is_paused).lower()}"')
        label.set_content("Paused" if live.is_paused else "Live")

    button = (
        ui.element("button")
        .classes("live")
        .props('type="button" aria-pressed="false" title="Pause live updates"')
    )
    with button:
        label = ui.html("Live", tag="span")
    button.on("click", toggle)


def _navigation(visit: Visit) -> Markup:
    pages = [(path, name) for path, name, operators in PAGES if visit.viewer.is_operator or not operators]
    items = [
        tag("li", tag("a", name, href=address(path), aria_current="page" if path == visit.path else None))
        for path, name in pages
    ]
    brand = tag("a", MARK, "Millrace", href=address("/"), class_="brand")
    return together(brand, tag("nav", tag("ul", items), aria_label="Pages of the console"))


def _menu(visit: Visit, zone: Zone) -> Markup:
    session, viewer = visit.session, visit.viewer
    of_browser = f"Your zone ({session.browser_zone})" if session.browser_zone else "Your zone"
    zones = [
        ("viewer", of_browser),
        ("tenant", "The tenant's zone"),
        *((z, z) for z in (UTC_NAME, *visit.services.zones)),
    ]
    themes = [("auto", "As the system has it"), ("light", "Light"), ("dark", "Dark")]
    choose = tag(
        "form",
        _select("zone", f"Times in (now {zone.name})", zones, session.zone),
        _select("theme", "Colours", themes, session.theme),
        tag("input", type="hidden", name="to", value=visit.address),
        tag("button", "Apply", type="submit", class_="act main"),
        method="post",
        action=address("/preferences"),
        class_="stack",
    )
    leave = tag(
        "form",
        tag("button", "Sign out", type="submit", class_="act"),
        method="post",
        action=address("/sign-out"),
    )
    who = tag("p", "Signed in as ", tag("b", viewer.name), " · ", viewer.tenant or "all tenants")
    return tag(
        "details",
        tag("summary", viewer.name),
        tag("div", who, choose, leave, class_="menu-box"),
        class_="menu",
    )


def _select(name: str, label: str, options: list[tuple[str, str]], current: str) -> Markup:
    made = [tag("option", text, value=value, selected=value == current) for value, text in options]
    return tag(
        "div",
        tag("label", label, for_=f"m-{name}"),
        tag("select", made, id=f"m-{name}", name=name),
        class_="field",
    )


def _heading(title: str, sub: Child) -> Markup:
    return tag("div", tag("h1", title), tag("p", sub, class_="sub") if sub else None, class_="page-head")
