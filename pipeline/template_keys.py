"""The keys that a catalog's templates give to the rows of a batch."""

from collections.abc import Sequence

import numpy as np

from pipeline.catalog import Entry
from pipeline.chunk import grown
from pipeline.columns import Columns, EventWriter, Int32s
from pipeline.kernels.key_templates import BODY, ID, SCRATCH, SLOW_ROWS, TEXT, render_keys
from pipeline.kernels.layout import ATTRIBUTES, EVENT_ID, KEY, PAD
from pipeline.key_template import KEY_LENGTH_MAX, Body, EventId, Template


class TemplateKeys:
    """Applies the templates of a rater's entries, of which there may become more. Not shared between threads.

    Guarantee: each key is that of `Template.render`.
    """

    def __init__(self) -> None:
        self._templates: list[Template | None] = []
        self._lay_out()

    def apply(self, columns: Columns, numbers: Int32s, entries: Sequence[Entry]) -> None:
        """Give valid rows without a key the one of the template of their entry, where it makes one.

        `numbers` int32[n] are the rows' places in `entries`, -1 for none; `entries` may only have grown.
        """
        if len(entries) > len(self._templates):
            self._templates = [entry.idempotency_key for entry in entries]
            self._lay_out()
        if not len(self._parts):
            return
        slow = self._render(columns, numbers)
        if not len(slow):
            return
        writer = EventWriter(columns, columns.chunk.used)
        for row in slow.tolist():
            template = self._templates[numbers[row]]
            if template is not None:
                key = template.render(columns.text(row, EVENT_ID), columns.text(row, ATTRIBUTES))
                writer.set_text(row, KEY, key or "")
        columns.chunk.used = writer.finish()

    def _render(self, c: Columns, numbers: Int32s) -> Int32s:
        """Render what can be in plain JSON; returns the other rows."""
        slow, scratch = np.empty(len(c), np.int32), np.zeros(SCRATCH, np.int64)
        row = 0
        while True:
            row, used = render_keys(
                c.chunk.buffer, row, c.verdicts, numbers, c.at, c.length, self._part_first, self._parts,
                self._steps, self._texts, c.chunk.used, scratch, slow,
            )  # fmt: skip
            c.chunk.used = int(used)
            if row == len(c):
                return slow[: int(scratch[SLOW_ROWS])]
            c.chunk.buffer = grown(c.chunk.buffer, c.chunk.used, (len(c) - row) * 64 + KEY_LENGTH_MAX + PAD)

    def _lay_out(self) -> None:
        """Lay the templates out as `render_keys` reads them."""
        texts = bytearray()
        steps: list[tuple[int, int]] = []
        parts: list[tuple[int, int, int]] = []
        first = [0]

        def put(text: str) -> tuple[int, int]:
            raw = text.encode()
            texts.extend(raw)
            return len(texts) - len(raw), len(raw)

        for template in self._templates:
            for part in template.parts if template is not None else ():
                if isinstance(part, Body):
                    parts.append((BODY, len(steps), 1 + len(part.pointer)))
                    steps += [put(step) for step in ("event", *part.pointer)]
                else:
                    parts.append((ID, 0, 0) if isinstance(part, EventId) else (TEXT, *put(part)))
            first.append(len(parts))
        self._part_first = np.array(first, np.int32)
        self._parts = np.array(parts, np.int32).reshape(-1, 3)
        self._steps = np.array(steps, np.int32).reshape(-1, 2)
        self._texts = np.frombuffer(bytes(texts) + bytes(PAD), np.uint8).copy()
