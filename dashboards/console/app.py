"""Puts the console on an application: NiceGUI below `/console`, its pages, its ways in, its downloads.

NiceGUI keeps one application for each process, so a process has one console.
"""

from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

from dashboards.console.desk import Desk
from dashboards.console.doors import make_doors
from dashboards.console.downloads import make_downloads
from dashboards.console.markup import ROOT
from dashboards.console.pages import catalog, events, explain, overview, rejects, stripe, tenant, tenants
from dashboards.console.services import ConsoleServices

RECONNECT_S = 10


def mount(app: FastAPI, console: ConsoleServices) -> None:
    """Serve the console below `/console` of this application, all of it from files that are installed."""
    desk = Desk(console)
    nicegui_app.config.quasar_config["loadingBar"]["skipHijack"] = (
        True  # it has no name that could be read out
    )
    for router in (make_doors(desk), make_downloads(desk)):
        app.include_router(router)
    for one in (overview, tenants, tenant, events, explain, rejects, stripe, catalog):
        one.add(desk)
    ui.run_with(
        app,
        mount_path=ROOT,
        title="Millrace",
        language="en-US",
        dark=None,
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        binding_refresh_interval=None,
        show_welcome_message=False,
        favicon=FAVICON,
    )


FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20" fill="none" stroke="#2f74c8" stroke-width="2">'
    '<circle cx="10" cy="10" r="7.5"/><path d="M10 2.5v15M2.5 10h15" stroke-width="1.5"/></svg>'
)
