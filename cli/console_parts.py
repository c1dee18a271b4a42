"""What the console reads beside the ledger, in a service: accounts, reservations and credits, health, sign-in."""

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

from sqlalchemy import select

from api.doors import KEY_PREFIX
from api.keys import KnownKey
from api.tokens import TokenDoor
from billing import accounts as stored_accounts
from billing.cap_tables import reservations
from billing.credits import pools_of
from billing.meters import Declaration, load_meters
from billing.planner import Balance
from billing.planning import Planning, books
from billing.store import Store
from cli.ledger_reader import LedgerReader
from cli.stripe_desk import STAMP
from dashboards.console.services import HealthView, Hold, InputHealth, Lot, Place, Replayed, Viewer
from pipeline.accounts import Account, Accounts, load_accounts
from pipeline.errors import MillraceError, StoreError
from pipeline.health import Health
from pipeline.intake import Intake, MalformedBodyError, Sender
from pipeline.ports import Clock, EventLog
from queries.named import find_query, run
from sinks.stripe_usage import LedgerUsage

BOOK_MS = 5_000
PLAN_MS = 30_000
HANDED_IN_S = 60
READ_SCOPE = "read"


def sign_in_by(
    find_key: Callable[[str, int], KnownKey | None],
    admin_door: TokenDoor | None,
    clock: Clock,
    demo_token: str = "",
) -> Callable[[str], Viewer | None]:
    """Let in who the API's doors let in: keys with the scope `read` for their tenant, admin tokens for all."""

    def sign_in(credential: str) -> Viewer | None:
        now_ms = clock.now_ms()
        if demo_token and credential == demo_token:
            return Viewer("demonstration", may_replay=True)
        if credential.startswith(KEY_PREFIX):
            key = find_key(credential, now_ms)
            return Viewer(f"key:{key.key_id}", key.tenant) if key and READ_SCOPE in key.scopes else None
        _, claims = admin_door.judge(credential, now_ms // 1000) if admin_door else (None, None)
        return Viewer(f"admin:{claims.subject}", may_replay=True) if claims else None

    return sign_in


class Book:
    """The accounts, read again every few seconds by whoever asks then, beside the others; never waits after the first.

    Those of the control store, and those of the file where the store does not have them (yet).
    """

    def __init__(self, store: Store, file: Path | None, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._of_file = load_accounts(file) if file else Accounts()
        self._lock = threading.Lock()
        self._read_at_ms = clock.now_ms()
        self._held = self._read()

    def get(self, tenant: str) -> Account:
        """Look a tenant up; one that is not declared has the defaults."""
        self._keep_fresh()
        return self._held.get(tenant)

    def named(self, search: str, limit: int) -> Sequence[str]:
        """Tenants whose display name holds a text in any case, at most so many."""
        wanted = search.casefold()
        found = [name for name, one in self._held.tenants.items() if wanted in one.display_name.casefold()]
        return found[:limit]

    def _keep_fresh(self) -> None:
        with self._lock:
            if self._clock.now_ms() - self._read_at_ms < BOOK_MS:
                return
            self._read_at_ms = self._clock.now_ms()
        threading.Thread(target=self._take, name="console-accounts", daemon=True).start()

    def _take(self) -> None:
        self._held = self._read()

    def _read(self) -> Accounts:
        try:
            stored = stored_accounts.accounts(self._store)
        except StoreError:
            return self._of_file
        defaults = self._of_file.defaults if self._of_file.tenants and not stored.tenants else stored.defaults
        return Accounts({**self._of_file.tenants, **stored.tenants}, defaults)


class StoredMoney:
    """Reservations and credits of the control store (`services.MoneyReader`)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def holds(self, tenant: str, limit: int) -> Sequence[Hold]:
        """Give the open reservations, the newest first."""
        table = reservations.c
        query = select(reservations).where(
            table.tenant == tenant, table.state == "open", table.expires_at_ms > self._clock.now_ms()
        )
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(table.created_at_ms.desc()).limit(limit)).all()
        return [Hold(r.id, r.method, r.pool, r.amount_micro, r.created_at_ms, r.expires_at_ms) for r in rows]

    def lots(self, tenant: str, limit: int) -> Sequence[Lot]:
        """Give the lots that have credits left, in the order in which they are used."""
        pools = pools_of(self._store, tenant, self._clock.now_ms())
        found = [
            Lot(
                lot.id,
                lot.pool,
                lot.source,
                lot.amount_micro,
                lot.remaining_micro,
                lot.minted_at_ms,
                lot.expires_at_ms,
            )
            for pool in pools
            for lot in pool.lots
        ]
        return found[:limit]


def meters_of(variables: Mapping[str, str]) -> Declaration:
    """Load the meters that MILLRACE_METERS names, as reports beside a service do; none: one meter of all cost."""
    named = variables.get("MILLRACE_METERS")
    return load_meters(Path(named) if named else None)


def books_of(
    store: Store, ledger: LedgerReader, book: Book, clock: Clock, declaration: Declaration
) -> Callable[[], Sequence[Balance]]:
    """Say what the ledger owes beyond the outbox; what was read is good for half a minute."""
    held: list[tuple[int, Sequence[Balance]]] = []
    lock = threading.Lock()

    def read() -> Sequence[Balance]:
        with lock:
            now_ms = clock.now_ms()
            if not held or now_ms - held[0][0] > PLAN_MS:
                wanted = Planning(
                    declaration, lambda tenant: book.get(tenant).stripe_customer, STAMP, now_ms // 1000
                )
                held[:] = [(now_ms, books(store, LedgerUsage(ledger.client()), wanted))]
            return held[0][1]

    return read


def health_of(sick: Callable[[], Sequence[str]], health: Health | None) -> Callable[[], HealthView]:
    """Tell how the process is that reads, with what waits in each of its inputs."""

    def view() -> HealthView:
        inputs = [InputHealth(one.name, one.lag()) for one in health.partitions()] if health else []
        return HealthView(tuple(sick()), inputs)

    return view


class LogReplayer:
    """Hands rejects in again through the log of events, as a request would; see `services.RejectsReplayer`.

    Delivery: what is handed in is durable when this returns, and counted once, however often it is handed in.
    """

    def __init__(
        self, ledger: LedgerReader, make_intake: Callable[[], Intake], log: EventLog, clock: Clock
    ) -> None:
        self._ledger, self._make, self._log, self._clock = ledger, make_intake, log, clock
        self._intake: Intake | None = None
        self._lock = threading.Lock()

    def replay(self, places: Sequence[Place], who: str) -> Replayed:
        """Replay the rejects of these places; raises `MillraceError` where the log does not take them."""
        del who  # the frame's log names the caller
        with self._lock:
            self._intake = self._intake or self._make()
        lines: list[bytes] = []
        tenants: list[str] = []
        first = ""
        for place in places:
            taken, why = self._judged(place)
            lines += taken[0]
            tenants += taken[1]
            first = first or why
        if lines:
            try:
                self._log.append(lines, self._clock.now_ms(), tenants).result(HANDED_IN_S)
            except NotYet as error:
                raise MillraceError(
                    f"the log did not confirm within {HANDED_IN_S} s: try again, each counts once"
                ) from error
        told = "What is refused again appears as a new reject." if lines else ""
        still = f"The first that is still wrong: {first}." if first else ""
        return Replayed(len(lines), len(places) - len(lines), f"{told} {still}".strip())

    def _judged(self, place: Place) -> tuple[tuple[list[bytes], list[str]], str]:
        given = {"topic": place.topic, "partition": place.partition, "offset": place.offset}
        rows = run(self._ledger.client(), find_query("console_reject_bytes"), given).dicts()
        if not rows or self._intake is None:
            return ([], []), "it is not there any more"
        try:
            taken = self._intake.take(base64.b64decode(rows[0]["raw_base64"]), Sender(), self._clock.now_ms())
        except MalformedBodyError:
            return ([], []), "it is no event: hand lines of logs in with `millrace rejects replay`"
        return (taken.lines, taken.tenants), taken.refused[0].detail if taken.refused else ""
