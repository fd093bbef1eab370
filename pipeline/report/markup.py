"""Tag name, children, attributes → HTML or SVG text in which everything foreign is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Characters that HTML forbids or that would hide what follows them.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "hr"})


class Html(str):
    """Text that is markup already; every other string is escaped on its way into a tag."""


def escape(text: str) -> Html:
    """Returns `text` for use between tags or within a quoted attribute."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True))


def join(parts: Iterable[str], separator: str = "") -> Html:
    """Returns the parts, each escaped unless it is markup, one after the other."""
    return Html(separator.join(escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """Returns one element.

    Args:
        name: Tag name.
        children: Markup (`Html`) as it is; any other string is escaped.
        attributes: A trailing underscore is dropped (`class_`), others become hyphens
            (`aria_label`); None leaves the attribute out; numbers get one decimal at most.

    >>> tag("td", "a < b", class_="number", title=None)
    '<td class="number">a &lt; b</td>'
    """
    pieces = [name]
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
            pieces.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    start = f"<{' '.join(pieces)}>"
    return Html(start if name in _VOID else f"{start}{join(children)}</{name}>")
