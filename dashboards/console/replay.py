"""Hands rejects in again, after a person has confirmed it."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from dashboards.console.frame import Visit
from dashboards.console.markup import Markup, tag, together
from dashboards.console.parts import notice
from dashboards.console.services import Place, Replayed
from dashboards.console.text import grouped
from pipeline.errors import MillraceError


class Replaying:
    """The button, the question and the outcome on one open page."""

    def __init__(self, visit: Visit, live: Any) -> None:
        self._visit, self._live = visit, live
        self._places: Sequence[Place] = ()
        self._button: ui.element | None = None
        self._words: ui.html | None = None
        self._said: ui.html | None = None
        self._dialog: ui.dialog | None = None
        self._question: ui.html | None = None

    @property
    def why_not(self) -> str:
        """Why nothing can be replayed here; empty where it can."""
        if self._visit.services.rejects is None:
            return "This server does not replay: mend the lines and run them, or use millrace rejects replay."
        return "" if self._visit.viewer.may_replay else "Your token may look, not replay."

    def controls(self) -> None:
        """Put the button and the place for the outcome where the page is being built."""
        with ui.element("div").classes("card-head"):
            ui.html("<h2>Rejected inputs</h2>", sanitize=False)
            if self.why_not:
                ui.html(tag("span", self.why_not, class_="note").html, sanitize=False)
            else:
                self._button = (
                    ui.element("button").classes("act").props('type="button"').on("click", self._ask)
                )
                with self._button:
                    self._words = ui.html("Replay", tag="span")
        self._said = ui.html("", sanitize=False).props('role="status" aria-live="polite"')
        with (
            ui.dialog().props('aria-label="Replay rejects"') as self._dialog,
            ui.element("div").classes("asked console-in"),
        ):
            self._question = ui.html("", sanitize=False)
            with ui.element("div").classes("row"):
                for text, kind, act in (
                    ("Replay", "act main", self._replay),
                    ("Leave them", "act", self._dialog.close),
                ):
                    with ui.element("button").classes(kind).props('type="button"').on("click", act):
                        ui.html(text, tag="span")

    def offer(self, places: Sequence[Place]) -> None:
        """Say which rejects are shown: those are what the button is for."""
        self._places = places
        if self._button is not None and self._words is not None:
            self._words.set_content(
                f"Replay the {len(places)} shown" if len(places) != 1 else "Replay the one shown"
            )
            self._button.set_visibility(bool(places))

    def _ask(self) -> None:
        if self._question is None or self._dialog is None:
            return
        count = len(self._places)
        said = together(
            tag("h2", f"Replay {count} rejects?" if count != 1 else "Replay this reject?"),
            tag("p", "Their bytes go through the same pipeline again, with the catalog and the rules as they are now. "
                "What is accepted is counted and billed once; what is still wrong stays rejected."),
        )  # fmt: skip
        self._question.set_content(said.html)
        self._dialog.open()

    async def _replay(self) -> None:
        replayer, places, who = self._visit.services.rejects, list(self._places), self._visit.viewer.name
        if replayer is None or self._dialog is None or not self._visit.viewer.may_replay:
            return
        self._dialog.close()
        self._say(notice("", "Replaying …"))
        try:
            outcome = await self._visit.desk.work(lambda: replayer.replay(places, who))
        except MillraceError as error:
            self._say(notice("bad", f"Nothing was replayed: {error}."))
            return
        self._say(_told(outcome))
        for panel in self._live.panels:
            await panel.refresh()

    def _say(self, said: Markup) -> None:
        if self._said is not None:
            self._said.set_content(said.html)


def _told(outcome: Replayed) -> Markup:
    kind = "warn" if outcome.refused else "ok"
    words = f"Handed in {grouped(outcome.handed_in)}, still wrong {grouped(outcome.refused)}."
    return notice(kind, words, f" {outcome.detail}" if outcome.detail else None)
