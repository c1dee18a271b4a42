"""Pictures of the console for the documents: `python -m tests.console_shots` makes them anew in docs/images.

Needs Chromium (see `tests/console_stage.py`). The figures are those of `millrace sample`, counted by the pipeline.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from console_stage import ADMIN, ConsoleStage, browser, served

from benchmarks.sample import Sample, write_sample
from sinks.clickhouse import connect, migrate

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NOW = datetime.now(UTC)
EVENTS = 40_000
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@contextmanager
def filled(folder: Path) -> Iterator[tuple[ConsoleStage, str]]:
    """A stage with a month of made-up events."""
    url = f"chdb://{folder / 'ledger'}"
    client = connect(url)
    migrate(client)
    stage = ConsoleStage(folder, url, client)
    (folder / "events").mkdir()
    write_sample(Sample(EVENTS, 3, 200, 30, NOW), folder / "events", lambda _lines: None)
    for name in ("catalog", "accounts"):
        (folder / f"{name}.toml").write_text((folder / "events" / f"{name}.toml").read_text())
    stage.clock.ms = int(NOW.timestamp()) * 1000
    stage.run((folder / "events" / "events.ndjson").read_bytes().splitlines())
    with served(stage) as address:
        yield stage, address


def shoot() -> None:
    """Take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        filled(Path(folder)) as (stage, address),
        browser() as opened,
    ):
        dear = "SELECT tenant, argMax(idempotency_key, occurred_at) FROM ledger WHERE settlement = 'metered'"
        tenant, key = stage.client.query(
            f"{dear} AND voids = '' GROUP BY tenant ORDER BY count() DESC LIMIT 1"
        ).result_rows[0]
        pages = {
            "overview": "/?range=24h",
            "tenant": f"/tenant?tenant={tenant}",
            "explain": f"/explain?tenant={tenant}&key={key}",
        }
        for scheme, size, names in (
            ("light", DESK, ["overview", "tenant", "explain"]),
            ("dark", DESK, ["overview"]),
            ("light", PHONE, ["overview"]),
        ):
            context = opened.new_context(
                color_scheme=scheme, viewport=size, timezone_id="Europe/Berlin", locale="en-GB"
            )
            page = context.new_page()
            page.goto(f"{address}/enter?key={ADMIN}")
            page.wait_for_selector("footer:has-text('your zone')")
            for name in names:
                page.goto(f"{address}{pages[name]}")
                page.wait_for_selector("main h1")
                page.wait_for_function("!document.body.innerText.includes('Reading …')")
                page.wait_for_timeout(700)  # charts are drawn
                kind = "phone" if size is PHONE else scheme
                tall = min(int(page.evaluate("document.documentElement.scrollHeight")), 1150)
                clip = {"x": 0, "y": 0, "width": size["width"], "height": max(tall, 400)}
                page.screenshot(path=str(IMAGES / f"console-{name}-{kind}.png"), full_page=True, clip=clip)
            context.close()


if __name__ == "__main__":
    shoot()
