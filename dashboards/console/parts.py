"""Pieces of pages: figures, tables, gauges, notices, forms. All give markup; none reads anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboards.console.markup import NOTHING, Child, Markup, address, link, tag, together
from dashboards.console.text import Zone, iso, usd_parts


def money(pico: int) -> Markup:
    """Show an amount exactly, what lies behind the cents in small print."""
    head, tail = usd_parts(pico)
    return tag("span", head, tag("small", tail) if tail else None, class_="usd")


def card(title: str, *children: Child, note: Child = None, level: str = "h2") -> Markup:
    """Give the inside of a card: a heading, a note at its side, what belongs to it."""
    side = tag("span", note, class_="note") if note else None
    return together(tag("div", tag(level, title), side, class_="card-head"), *children)


def figures(*given: tuple[str, Child, Child]) -> Markup:
    """Show a few large figures: a name, a value, a line below."""
    return tag(
        "dl",
        [
            tag(
                "div", tag("dt", name), tag("dd", value), tag("dd", below) if below else None, class_="figure"
            )
            for name, value, below in given
        ],
        class_="figures",
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `kind` is a class: num, when, tight, long."""

    title: str
    kind: str = ""


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Markup:
    """Show rows below their heads; the caption is read out, the first cell of a row is its head."""
    head = tag("tr", [tag("th", one.title, scope="col", class_=one.kind or None) for one in columns])
    body = [
        tag(
            "tr",
            [
                tag("td" if number else "th", cell, scope=None if number else "row", class_=one.kind or None)
                for number, (one, cell) in enumerate(zip(columns, row, strict=True))
            ],
        )
        for row in rows
    ]
    whole = tag(
        "table", tag("caption", tag("span", caption, class_="unseen")), tag("thead", head), tag("tbody", body)
    )
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def empty(what: str, advice: Child) -> Markup:
    """Say that there is nothing, and what to do about it."""
    return tag("p", tag("strong", what), advice, class_="empty")


def notice(kind: str, *children: Child) -> Markup:
    """Say something that matters: ok, warn or bad."""
    return tag("div", *children, class_=f"notice {kind}", role="status")


def mark(text: str, kind: str = "") -> Markup:
    """Show a word as a small label."""
    return tag("span", text, class_=f"tagged {kind}".rstrip())


def moment(zone: Zone, at: datetime | int) -> Markup:
    """Show a moment without its year; the whole of it stands in its title."""
    return tag("time", zone.brief(at), datetime=iso(at), title=f"{zone.stamp(at)} {zone.name}")


def bar(share_percent: int) -> Markup:
    """Draw a share below a figure; the figure itself says it in digits."""
    return tag("span", class_="bar", style=f"width:{max(0, min(100, share_percent))}%", aria_hidden="true")


def bars_of(amounts: Sequence[int]) -> list[int]:
    """Give each amount's share of the largest in percent, for drawing."""
    most = max([*amounts, 0])
    return [amount * 100 // most if most else 0 for amount in amounts]


def gauge(title: Child, spent_pico: int, limit_micro_usd: int | None, marks: Mapping[int, bool]) -> Markup:
    """Show a window against its limit: a bar, and a mark at each threshold (True: it was crossed)."""
    if limit_micro_usd is None:
        words = together(money(spent_pico), " of no limit")
        return tag(
            "div", tag("div", title, class_="gauge-line"), tag("div", tag("span", words), class_="gauge-line")
        )
    limit_pico = limit_micro_usd * 10**6
    percent = spent_pico * 100 // limit_pico if limit_pico else (100 if spent_pico > 0 else 0)
    level = "bad" if percent >= 100 else "warn" if any(marks.values()) else ""  # noqa: PLR2004 - percent
    top = max([100, *marks])
    words = together(tag("b", f"{percent:,} %"), " · ", money(spent_pico), " of ", money(limit_pico))
    drawn = tag(
        "div",
        tag("div", class_=f"fill {level}".rstrip(), style=f"width:{max(0, min(percent, top)) * 100 // top}%"),
        [
            tag("span", class_="mark on" if on else "mark", style=f"left:calc({at * 100 // top}% - 1px)")
            for at, on in marks.items()
        ],
        class_="track",
        aria_hidden="true",
    )
    crossed = [str(at) for at, on in sorted(marks.items()) if on]
    said = tag(
        "span", f"Crossed: {', '.join(crossed)} %." if crossed else "No threshold crossed.", class_="unseen"
    )
    lines = (
        tag("div", title, class_="gauge-line"),
        tag("div", tag("span", words, said), class_="gauge-line"),
    )
    return tag("div", lines, drawn)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Show named values side by side; those without a value are left out."""
    shown = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs if value not in {None, ""}
    ]
    return tag("dl", shown, class_="facts")


def segments(label: str, choices: Iterable[tuple[str, str]], current: str, path: str, **query: Any) -> Markup:
    """Offer a choice as links side by side; `query` holds what stays, the choice goes into `range`."""
    links = [
        tag(
            "a",
            text,
            href=address(path, **{**query, "range_": value}),
            aria_current="true" if value == current else None,
        )
        for value, text in choices
    ]
    return tag("div", links, class_="segments", role="group", aria_label=label)


def field(label: str, name: str, value: str = "", *, wide: bool = False, **attributes: Any) -> Markup:
    """Make a labelled input."""
    given = tag("input", id=f"f-{name}", name=name, value=value, **attributes)
    return tag("div", tag("label", label, for_=f"f-{name}"), given, class_="field wide" if wide else "field")


def choice(label: str, name: str, options: Iterable[tuple[str, str]], current: str) -> Markup:
    """Make a labelled list of options."""
    made = [tag("option", text, value=value, selected=value == current) for value, text in options]
    return tag(
        "div",
        tag("label", label, for_=f"f-{name}"),
        tag("select", made, id=f"f-{name}", name=name),
        class_="field",
    )


def form(path: str, *fields: Child, label: str, button: str = "Show", **kept: str | None) -> Markup:
    """Make a form that leads to a page; empty fields do no harm."""
    hidden = [tag("input", type="hidden", name=name, value=value) for name, value in kept.items() if value]
    send = tag("button", button, type="submit", class_="act main")
    return tag(
        "form",
        hidden,
        fields,
        send,
        action=address(path),
        method="get",
        class_="filters",
        role="search",
        aria_label=label,
    )


def pager(first: str | None, following: str | None, note: str = "") -> Markup:
    """Lead to the first and to the next page."""
    if not (first or following):
        return NOTHING
    links = [
        tag("a", text, href=to, class_="act", rel=rel) if to else None
        for text, to, rel in (("First page", first, "first"), ("Next page", following, "next"))
    ]
    return tag(
        "nav", tag("span", note, class_="note") if note else None, links, class_="pager", aria_label="Pages"
    )


def tenant_link(tenant: str, name: str) -> Markup:
    """Lead to a tenant; its id stands beside a display name that differs."""
    shown = link("/tenant", name or tenant, tenant=tenant)
    return together(shown, tag("span", f" {tenant}", class_="note")) if name and name != tenant else shown
