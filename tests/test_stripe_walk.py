"""The walk-through of docs/stripe.md, line by line, in an empty folder: from `make run` to difference 0."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
PORT = "12111"
EVENTS = "1000"


def walk():
    """The indented lines of the section, comments and empty lines left out."""
    section = (
        (ROOT / "docs/stripe.md").read_text().split("## Try it without a Stripe account")[1].split("\n## ")[0]
    )
    lines = re.findall(r"^ {4}(\S.*)$", section, re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def environment(folder):
    program = folder / "bin"
    program.mkdir()
    (program / "millrace").write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom cli.main import main\nmain()\n"
    )
    (program / "millrace").chmod(0o755)
    keep = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "STRIPE_"))
    }
    return {**keep, "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(folder)}


@contextmanager
def standing_in(command, folder, environ):
    """Start the stand-in as documented, on a free port; give its address."""
    told = folder / "fake.txt"
    with told.open("wb") as out:
        fake = subprocess.Popen([*command.split(), "--port", "0"], cwd=folder, env=environ, stdout=out)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", told.read_text())):
            assert time.monotonic() < deadline
            assert fake.poll() is None
            time.sleep(0.05)
        yield found[0]
    finally:
        fake.terminate()
        fake.wait(30)


def shell(lines, folder, environ):
    """Run lines in one shell; give what each command said, in order."""
    script = "\n".join(["set -e", *(f"{line}\necho '== end =='" for line in lines)])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, done.stdout.split("== end ==\n"), strict=False))


def sums_of(url, customers):
    """What the stand-in counts for each customer."""
    ask = lambda path: httpx.get(url + path, headers={"authorization": "Bearer sk_test_fake"}).json()
    [meter] = ask("/v1/billing/meters")["data"]
    path = f"/v1/billing/meters/{meter['id']}/event_summaries?start_time=0&end_time=4102444800&customer="
    return {name: int(ask(path + name)["data"][0]["aggregated_value"]) for name in customers}


def test_the_walk_through_ends_with_the_ledgers_numbers_at_stripe(tmp_path):
    environ = environment(tmp_path)
    first, path, fake, *rest = walk()
    assert (first, path) == ("make run EVENTS=3000", 'export PATH="$PWD/.venv/bin:$PATH"')
    assert "build/demo --events $(EVENTS)" in (ROOT / "Makefile").read_text()  # what make runs
    shell([f"millrace demo --out build/demo --events {EVENTS}"], tmp_path, environ)
    ledger = "SELECT tenant, sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd) AS pico FROM ledger"
    query = f"millrace query \"{ledger} WHERE settlement = 'metered' GROUP BY tenant\" --format json"
    with standing_in(fake, tmp_path, environ) as url:
        lines = [line.replace(f"http://127.0.0.1:{PORT}", url) for line in rest]
        said = shell([*lines, query], tmp_path, environ)
        accounts = tomllib.loads((tmp_path / "build/demo/events/accounts.toml").read_text())["tenants"]
        customers = {
            tenant: one["stripe_customer"] for tenant, one in accounts.items() if "stripe_customer" in one
        }
        at_stripe = sums_of(url, customers.values())
    pico = {row["tenant"]: int(row["pico"]) for row in json.loads(said[query])}
    assert "Nothing was changed" in said["millrace stripe setup --create-customers"]
    assert "Planned 0 reports; sent: nothing was due" in said["millrace stripe push"]
    assert "difference 0, 0 units not in Stripe's sums yet" in said["millrace stripe reconcile"]
    assert sum(at_stripe.values()) > 0
    assert at_stripe == {
        customer: max(0, pico.get(tenant, 0) // 10**6) for tenant, customer in customers.items()
    }
