"""A bar for each contender, as SVG by hand: no library, and readable on a light page and on a dark one."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 860
_LEFT, _RIGHT, _ROW, _TOP = 330, 110, 30, 56

_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 16px }
.quiet { fill: #59636e } .peer { fill: #8c959f } .ours { fill: #1a7f37 } .limit { fill: #0969da }
.spread { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .peer { fill: #656c76 } .ours { fill: #3fb950 } .limit { fill: #4493f8 }
  .spread { stroke: #f0f6fc }
}
"""


@dataclass(frozen=True)
class Bar:
    """One contender: its median with the least and the most. `kind` is `ours`, `peer` or `limit`."""

    title: str
    kind: str
    median: float
    least: float
    most: float


def bar_chart(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """The chart, the quickest on top. Lengths are linear: twice as long is twice the time."""
    ordered = sorted(bars, key=lambda bar: bar.median)
    longest = max((bar.most for bar in ordered), default=1) or 1
    height = _TOP + _ROW * len(ordered) + 10
    rows = [_drawn(bar, _TOP + _ROW * number, (WIDTH - _LEFT - _RIGHT) / longest) for number, bar in enumerate(ordered)]
    measures = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {measures} role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="10" y="22">{escape(title)}</text>',
        f'<text class="quiet" x="10" y="43">{escape(subtitle)}</text>',
    )
    return "\n".join([*head, *rows, "</svg>", ""])


def _drawn(bar: Bar, top: int, scale: float) -> str:
    middle, end = top + 12, _LEFT + bar.median * scale
    spread = f"M{_LEFT + bar.least * scale:.1f} {middle}H{_LEFT + bar.most * scale:.1f}"
    value_at = max(end, _LEFT + bar.most * scale) + 8
    return (
        f'<text x="{_LEFT - 10}" y="{middle + 5}" text-anchor="end">{escape(bar.title)}</text>'
        f'<rect class="{bar.kind}" x="{_LEFT}" y="{top + 3}" width="{max(end - _LEFT, 1):.1f}" height="18" rx="2"/>'
        f'<path class="spread" d="{spread}"/>'
        f'<text x="{value_at:.1f}" y="{middle + 5}">{bar.median:.2f} s</text>'
    )
