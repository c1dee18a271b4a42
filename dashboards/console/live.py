"""Panels: parts of a page that are read in a thread, shown when they are there, and kept up to date.

A page is delivered with what was read within a short patience; what takes longer follows by push. While a page
is open its live panels are read again when the ledger has something new, and now and then in any case.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from nicegui import ui

from dashboards.console.desk import Desk, Pulse
from dashboards.console.markup import Markup, tag
from dashboards.console.parts import card, empty
from pipeline.errors import MillraceError

TICK_S = 1
PATIENCE_MS = 300
IN_ANY_CASE_TICKS = 30
REST_TICKS = 2
"""A page whose panels were just read rests so long, whatever is new."""

_log = structlog.get_logger(__name__)
Reading = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Panel:
    """A part of a page: what reads it, and what shows what was read."""

    title: str
    read: Reading
    show: Callable[[Any], Markup]
    is_live: bool = True
    draw: Callable[[Any], None] | None = None
    """Shows what is no markup, such as a chart."""
    element: ui.html | None = None

    async def refresh(self) -> None:
        """Read and show; what cannot be read is said in the panel's place."""
        try:
            found = await self.read()
            if self.draw is not None:
                self.draw(found)
            self._put(self.show(found))
        except MillraceError as error:
            self._put(card(self.title, empty("This cannot be read now.", f"{error}.")))
        except Exception:  # noqa: BLE001 - a page must stand, and the log has it
            _log.exception("console_panel_failed", panel=self.title)
            self._put(
                card(
                    self.title,
                    empty("This cannot be shown.", "It is a mistake in the program: its log says where."),
                )
            )

    def _put(self, shown: Markup) -> None:
        if self.element is not None and self.element.content != shown.html:
            self.element.set_content(shown.html)


@dataclass(slots=True)
class Live:
    """The panels of one open page."""

    desk: Desk
    token: str
    panels: list[Panel] = field(default_factory=list)
    is_paused: bool = False
    _pulse: Pulse | None = None
    _age: int = 0
    _is_busy: bool = False

    def panel(  # noqa: PLR0913 - what a panel has
        self,
        title: str,
        read: Reading,
        show: Callable[[Any], Markup],
        *,
        live: bool = True,
        classes: str = "card",
        draw: Callable[[Any], None] | None = None,
    ) -> Panel:
        """Put a panel where the page is being built."""
        element = ui.html(
            card(title, waiting()).html if "card" in classes else "", sanitize=False, tag="section"
        )
        element.classes(classes)
        one = Panel(title, read, show, live, draw, element)
        self.panels.append(one)
        return one

    async def first(self) -> None:
        """Read all panels, and return when they are there or the patience is over."""
        tasks = [asyncio.create_task(panel.refresh()) for panel in self.panels]
        tasks.append(asyncio.create_task(self._take_pulse()))
        await asyncio.wait(tasks, timeout=PATIENCE_MS / 1000)
        _keep(tasks)

    async def tick(self) -> None:
        """Look whether something is new, and read the live panels again where it is."""
        if self._is_busy or self.is_paused:
            return
        self._is_busy = True
        try:
            await self._look()
        finally:
            self._is_busy = False

    async def _look(self) -> None:
        self._age += 1
        if self._age < REST_TICKS:
            return
        if await self.desk.session_of(self.token) is None:
            ui.navigate.reload()  # leads to the sign-in
            return
        before = self._pulse
        await self._take_pulse()
        if self._pulse != before or self._age >= IN_ANY_CASE_TICKS:
            self._age = 0
            await asyncio.gather(*(panel.refresh() for panel in self.panels if panel.is_live))

    async def _take_pulse(self) -> None:
        try:
            self._pulse = await self.desk.pulse()
        except MillraceError:  # the panels say it
            self._pulse = None


def waiting() -> Markup:
    """What stands in a panel until it is read."""
    return tag("p", "Reading …", class_="empty")


_held: set[asyncio.Task[Any]] = set()


def _keep(tasks: list[asyncio.Task[Any]]) -> None:
    """Hold on to what is still on its way: a task that nobody holds may be lost."""
    for task in tasks:
        if not task.done():
            _held.add(task)
            task.add_done_callback(_held.discard)
