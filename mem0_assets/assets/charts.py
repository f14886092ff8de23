"""Small pictures for the UI, as SVG in a data URI: no plotting library, and a few hundred bytes per event."""

import base64
from collections.abc import Mapping
from html import escape

MOST_BARS = 12
_ROW, _LABEL, _BAR = 22, 190, 260
_COLOURS = {"bar": "#4f43dd", "lost": "#c0362c", "text": "#565b66"}


def census_chart(namespaces: Mapping[str, int], before: Mapping[str, int]) -> str:
    """Markdown with a bar per namespace; what is missing since the last verified backup (`before`) stands in red."""
    names = sorted(
        namespaces.keys() | before.keys(), key=lambda name: -max(namespaces.get(name, 0), before.get(name, 0))
    )
    shown = names[:MOST_BARS]
    most = max((max(namespaces.get(name, 0), before.get(name, 0)) for name in shown), default=0) or 1
    rows = [_row(n, name, namespaces.get(name, 0), before.get(name, 0), most) for n, name in enumerate(shown)]
    width, height = _LABEL + _BAR + 90, _ROW * len(shown) + 6
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(rows)}</svg>'
    more = f"\n\n... and {len(names) - MOST_BARS} more namespaces" if len(names) > MOST_BARS else ""
    return f"![memories per namespace](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}){more}"


def _row(number: int, name: str, now: int, before: int, most: int) -> str:
    top = number * _ROW + 4
    length, lost = int(_BAR * now / most), int(_BAR * max(before - now, 0) / most)
    text = f"{now:,}" if now >= before else f"{now:,} of {before:,}"
    style = f'font-family="sans-serif" font-size="12" fill="{_COLOURS["text"]}"'
    label = escape(_printable(name if len(name) <= 26 else f"{name[:25]}…"))
    return (
        f'<text x="{_LABEL - 8}" y="{top + 12}" text-anchor="end" {style}>{label}</text>'
        f'<rect x="{_LABEL}" y="{top}" width="{length}" height="14" fill="{_COLOURS["bar"]}"/>'
        f'<rect x="{_LABEL + length}" y="{top}" width="{lost}" height="14" fill="{_COLOURS["lost"]}"/>'
        f'<text x="{_LABEL + length + lost + 6}" y="{top + 12}" {style}>{text}</text>'
    )


def _printable(name: str) -> str:
    """XML takes no control characters, escaped or not: one in a name would cost the whole picture."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in name)
