"""HTML from Python, safe by its types: text is escaped, only `Markup` is not, and only `tag` makes it."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias
from urllib.parse import quote

_VOID = frozenset({"input", "br", "hr", "img", "meta", "link", "col"})
Child: TypeAlias = "Markup | str | int | Iterable[Child] | None"


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is whole and escaped."""

    html: str


NOTHING = Markup("")


def tag(name: str, /, *children: "Child", **attributes: str | int | bool | None) -> Markup:
    """Make an element; `class_` is class, `aria_label` is aria-label; None and False leave an attribute out."""
    pieces = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        pieces.append(f" {label}" if value is True else f' {label}="{escape(str(value))}"')
    opened = "".join(pieces) + ">"
    return Markup(opened if name in _VOID else f"{opened}{_inner(children)}</{name}>")


def together(*children: "Child") -> Markup:
    """Put children side by side without an element around them."""
    return Markup(_inner(children))


def _inner(children: Iterable["Child"]) -> str:
    return "".join(_text(child) for child in children)


def _text(child: "Child") -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child.html
    if isinstance(child, str | int):
        return escape(printable(str(child)), quote=False)
    return _inner(child)


def printable(text: str) -> str:
    """Show control characters and marks of direction by their codes, so that no name pretends to be another."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\u{{{ord(c):x}}}" for c in text)


def link(path: str, label: "Child", /, *, class_: str | None = None, **query: str | int | None) -> Markup:
    """Make a link to a page of the console; values of the query are quoted, empty ones left out."""
    return tag("a", label, href=address(path, **query), class_=class_)


def address(path: str, /, **query: str | int | None) -> str:
    """Write the address of a page of the console."""
    given = [
        f"{key.rstrip('_')}={quote(str(value), safe='')}"
        for key, value in query.items()
        if value not in {None, ""}
    ]
    return f"{ROOT}{path}" + (f"?{'&'.join(given)}" if given else "")


ROOT = "/console"
"""Where the console is mounted."""
