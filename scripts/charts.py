"""Dot plots for the site, as SVG that follows the page's width and colours: used by results.py.

Places are percentages of the width and letters have the page's size, so that the same drawing is read on a phone and on
a wide screen. What colours are, site.css says for both schemes."""

import html
import statistics
from collections.abc import Sequence
from typing import NamedTuple

ROW, TOP, LEFT, RIGHT = 44, 6, 1.5, 97.0  # pixels, pixels, % and % of the width
LONG = 34  # letters of a label that fit on a phone beside the mean; longer ones are written smaller there


class Dots(NamedTuple):
    "One row of a dot plot: every training, or a mean with what it spreads over"

    label: str
    values: Sequence[float] = ()  # one a training
    mean: float | None = None  # where trainings are not kept
    span: tuple[float, float] | None = None  # standard deviation, or lowest and highest
    ours: bool = False  # MaskTune and what it is chosen by

    @property
    def middle(self) -> float:
        return statistics.mean(self.values) if self.mean is None else self.mean


def place(value: float, low: float, high: float) -> str:
    "Where a value stands, in % of the width"
    share = (min(max(value, low), high) - low) / (high - low)
    return f"{LEFT + share * (RIGHT - LEFT):.2f}%"


def written(value: float, unit: str) -> str:
    number = f"{value:.1f}" if unit or abs(value) >= 2 else f"{value:.3f}"
    return f"{number} {unit}".strip()


def row_of(dots: Dots, top: int, low: float, high: float, unit: str) -> list[str]:
    "A row: its words above, what was measured below"
    line = top + 28
    mean = f'<tspan class="said" dx="8">{written(dots.middle, unit)}</tspan>'
    parts = [f'<text x="{LEFT}%" y="{top + 12}">{html.escape(dots.label)}{mean}</text>']
    if dots.span:
        ends = [place(end, low, high) for end in dots.span]
        parts.append(f'<line class="span" x1="{ends[0]}" x2="{ends[1]}" y1="{line}" y2="{line}"/>')
    parts += [f'<circle class="dot" cx="{place(v, low, high)}" cy="{line}" r="4.5"/>' for v in dots.values]
    middle = place(dots.middle, low, high)
    parts.append(f'<line class="mean" x1="{middle}" x2="{middle}" y1="{line - 8}" y2="{line + 8}"/>')
    kind = "ours" if dots.ours else "other"
    return [f'<g class="{kind}{" long" if len(dots.label) > LONG else ""}">', *parts, "</g>"]


def axis(bottom: int, low: float, high: float, unit: str, ticks: int = 5) -> list[str]:
    "Numbers below, and lines through all rows"
    parts = ['<g class="axis">']
    for number in range(ticks):
        value = low + (high - low) * number / (ticks - 1)
        x = place(value, low, high)
        anchor = "start" if number == 0 else "end" if number == ticks - 1 else "middle"
        words = f"{value:g}{' ' + unit if unit and number == ticks - 1 else ''}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="{anchor}">{words}</text>')
    return [*parts, "</g>"]


def dot_plot(
    rows: Sequence[Dots],
    caption: str,  # what is drawn, what a dot, a bar and a line are
    low: float = 0.0,
    high: float = 100.0,
    unit: str = "%",
) -> str:  # HTML: a figure
    "Draw a row of dots for each method on one axis"
    bottom = TOP + ROW * len(rows)
    said = "; ".join(f"{dots.label} {written(dots.middle, unit)}" for dots in rows)
    words = html.escape(f"{caption} Means: {said}.", quote=True)
    lines = [f'<figure class="plot"><svg role="img" aria-label="{words}" height="{bottom + 22}">']
    lines += axis(bottom, low, high, unit)
    for number, dots in enumerate(rows):
        lines += row_of(dots, TOP + ROW * number, low, high, unit)
    lines += [f"</svg><figcaption>{html.escape(caption)}</figcaption></figure>"]
    return "\n".join(lines)
