"""How soon pages of a console that is served stand in a real Chromium: `python -m tests.console_paint LINK`.

LINK is a way in, as `millrace demo --console` prints it, or the address of the console with `?token=`; each page is
opened three times in a window of its own. Prints for each: first paint, and when its figures are there, in ms.
"""

import json
import sys
import time
from urllib.parse import urlsplit

from tests.console_stage import browser

PAGES = ("/", "/tenants", "/events", "/rejects", "/catalog", "/stripe")
TIMES = 3
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
WAITS = "document.querySelector('main').innerText.includes('Reading …')"
PATIENCE_S = 60


def main(address: str, credential: str, *more: str) -> None:
    """Sign in, and open every page."""
    with browser() as chromium:
        for path in (*PAGES, *more):
            found = [_open(chromium, address, credential, path) for _ in range(TIMES)]
            paints, figures = (sorted(one[n] for one in found) for n in (0, 1))
            told = {"page": path, "first_paint_ms": paints, "figures_ms": figures}
            sys.stdout.write(f"{json.dumps(told)}\n")


def _open(chromium, address, credential, path):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{address}/sign-in")
    page.fill("#credential", credential)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: not urlsplit(url).path.endswith("sign-in"))
    page.goto("about:blank")
    page.goto(f"{address}{path}", wait_until="commit")
    page.wait_for_selector("main h1")
    until = time.monotonic() + PATIENCE_S
    while page.evaluate(WAITS) and time.monotonic() < until:
        time.sleep(0.02)
    taken = page.evaluate(f"[{PAINT}, performance.now()]")
    context.close()
    return [round(one) for one in taken]


if __name__ == "__main__":
    main(*sys.argv[1:])
