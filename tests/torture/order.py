"""The order that happened: one in which the dumb model, fed one record after the other, does what was observed.

Within a partition the order of a key's records is that of the offsets; between partitions any order will do that
explains every outcome. Where there is none, something was counted that should not have been.
"""

from collections import Counter, defaultdict

from tests.model.pricing import key_of, version_at
from tests.model.reading import RefusedError, read


class InconsistentError(AssertionError):
    """No order of the records explains what stands in the ledger."""


class Order:
    """`records` {partition: [(line, arrival_ms)]}; `accepted` and `rejects` {(partition, offset): reason or ''}."""

    def __init__(self, model, topic, records, accepted, rejects):
        self._model, self._topic, self._records = model, topic, records
        self._accepted, self._rejects = accepted, rejects
        self._events = {}
        self._unknown_to_come = Counter()
        for partition, lines in records.items():
            for offset, (line, arrival_ms) in enumerate(lines):
                origin = (partition, offset)
                event = self._events[origin] = self._read(line, arrival_ms)
                if rejects.get(origin) == "voids_unknown" and event is not None:
                    self._unknown_to_come[event[0], event[3]] += 1

    def _read(self, line, arrival_ms):
        try:
            event = read(line, arrival_ms, None)
        except RefusedError:
            return None
        key = key_of(version_at(self._model._versions, event.at_ms), event)
        return event.tenant, key, event.type, event.voids

    def replay(self):
        """Feed the model; raises `InconsistentError` when no order explains what was observed."""
        groups = defaultdict(lambda: defaultdict(list))
        for (partition, offset), event in self._events.items():
            groups[self._group(event)][partition].append(offset)
        for queues in groups.values():
            self._replay_group(queues)

    @staticmethod
    def _group(event):
        """Records that have to do with one another: those of a key, and the corrections that void it.

        Only among these is there an order: keys live in different lanes, which do not wait for each other.
        """
        if event is None:
            return None
        tenant, key, kind, voids = event
        return tenant, voids if kind == "correction" else key

    def _replay_group(self, queues):
        moved = True
        while moved:
            moved = False
            for partition, offsets in queues.items():
                while offsets and self._may_come(partition, offsets[0]):
                    self._feed(partition, offsets.pop(0))
                    moved = True
        stuck = [
            (p, o, self._outcome(p, o), self._records[p][o][0][:300]) for p, q in queues.items() for o in q
        ]
        if stuck:
            raise InconsistentError(f"no order explains these records: {stuck}")

    def _outcome(self, partition, offset):
        origin = (partition, offset)
        if origin in self._accepted:
            return "accepted"
        return self._rejects.get(origin, "duplicate")

    def _may_come(self, partition, offset):
        event, outcome = self._events[partition, offset], self._outcome(partition, offset)
        if event is None or outcome not in {"accepted", "duplicate", "idempotency_conflict", "voids_unknown"}:
            return True
        tenant, key, kind, voids = event
        model = self._model
        if kind == "correction":
            target = (tenant, voids)
            state = {
                "accepted": target in model._rows_by_key and target not in model._voided,
                "duplicate": target in model._voided,
                "voids_unknown": target not in model._rows_by_key and target not in model._voided,
            }
            return state.get(outcome, True)
        if outcome == "accepted":
            return (tenant, key) not in model._contents and not self._unknown_to_come[tenant, key]
        return (tenant, key) in model._contents

    def _feed(self, partition, offset):
        line, arrival_ms = self._records[partition][offset]
        wanted = self._outcome(partition, offset)
        got = self._model.feed(line, self._topic, partition, offset, arrival_ms)
        if (got.reason or got.kind) != wanted:
            raise InconsistentError(f"{partition}/{offset} is {wanted}, the model says {got}: {line[:300]}")
        event = self._events[partition, offset]
        if wanted == "voids_unknown" and event is not None:
            self._unknown_to_come[event[0], event[3]] -= 1


def decisions_alternate(decisions):
    """The last state by (tenant, window, start, threshold), after each has gone up and down in turn."""
    states = defaultdict(list)
    for tenant, window, start, percent, state in decisions:
        states[tenant, window, int(start), int(percent)].append(state)
    for key, sequence in states.items():
        assert sequence == [("crossed", "cleared")[i % 2] for i in range(len(sequence))], (key, sequence)
    return {key: sequence[-1] for key, sequence in states.items()}
