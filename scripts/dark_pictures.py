"""Pictures that were drawn on white, once more for the dark scheme: used by docs.py.

A figure of matplotlib or a panel's still picture is a white sheet with photographs, lines and small letters on it. In a
dark page it would be a white slab. Its second form has the page's dark colour for the sheet, light letters and lines,
and the photographs as they are."""

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image
from scipy import ndimage

SHEET = (19, 20, 22)  # the theme's dark background
STROKE = 7  # pixels: strokes of letters are thinner, and so is what JPEG leaves around them
Patch = tuple[tuple[slice, slice], np.ndarray]  # where a photograph lies, and which pixels of that rectangle it fills
RECTANGLE = 0.95  # share of its rectangle that a photograph fills at least, or it is not seen whole
WHITE, SMALLEST = 240, 24  # from which level on a pixel is paper; the shortest side of a photograph, in pixels
SLACK = 3  # pixels by which photographs of one size, or in one row, may differ


def paper_of(pixels: np.ndarray) -> np.ndarray:
    "(H, W) bool, True where a picture is as light as paper"
    return (pixels >= WHITE).all(2)


def is_drawn(levels: np.ndarray) -> bool:
    "Whether most of (N, 3) pixels have one colour that is no grey: the bars of a histogram"
    colours, counts = np.unique(levels, axis=0, return_counts=True)
    return bool(counts.max() > 0.5 * counts.sum() and np.ptp(colours[counts.argmax()]) > 40)


def patches(pixels: np.ndarray, paper: np.ndarray) -> Iterator[Patch]:
    """Where photographs lie, each with its place: patches that are filled for the most part, larger than a letter is,
    with what is inside them. The grid of a chart is no such patch, but a frame with much paper in it; nor are bars."""
    thick = ndimage.maximum_filter(ndimage.minimum_filter(~paper, STROKE, mode="nearest"), STROKE, mode="nearest")
    labelled, _ = ndimage.label(thick)
    side = max(SMALLEST, 0.03 * paper.shape[1])
    for number, place in enumerate(ndimage.find_objects(labelled), start=1):
        if min(part.stop - part.start for part in place) < side:
            continue
        patch = labelled[place] == number
        whole = ndimage.binary_fill_holes(patch)
        if patch.mean() <= 0.35 or whole.mean() <= 0.6:
            continue
        if whole.mean() >= RECTANGLE or not is_drawn(pixels[place][whole]):  # an image may have one colour, too
            yield place, whole


def is_torn(paper: np.ndarray, found: list[Patch]) -> bool:
    "Whether a photograph is as white as the paper where it ends, a sky: nobody can tell then where it ends"
    shares = ((whole, paper[place][whole].mean()) for place, whole in found)
    return any(whole.mean() < RECTANGLE and share < 0.4 for whole, share in shares)  # of a chart most is paper


def starts(spans: list[slice], torn: list[slice], size: float) -> list[int] | None:
    """Where the rows, or the columns, of a grid begin: where its whole photographs do; and where torn ones lie that
    share no row with a whole one: from the first to the last of them, or one step of the grid further. None where
    neither has a photograph's size."""
    found: list[int] = []
    for start in sorted(span.start for span in spans):
        if not found or start - found[-1] > SLACK:
            found.append(start)
    for span in torn:
        if any(span.start < start + size and span.stop > start for start in found):
            continue
        row = [other for other in torn if other.start < span.start + size and other.stop > span.stop - size]
        first, last = min(other.start for other in row), max(other.stop for other in row)
        if abs(last - first - size) > SLACK:
            step = min((b - a for a, b in pairwise(sorted(found))), default=0)
            places = [start + sign * step for start in found for sign in (-1, 1)] if step else []
            first = next((p for p in places if p <= first + SLACK and p + size >= last - SLACK), -1)
            if first < 0:
                return None
        found.append(first)
    return found


def in_a_grid(pixels: np.ndarray, found: list[Patch]) -> list[Patch] | None:
    """Photographs of one size in rows and columns, torn ones among them: where each lies, as told by those that are
    seen whole. None where they stand in no such grid."""
    whole = [place for place, filled in found if filled.mean() >= RECTANGLE]
    torn = [place for place, filled in found if filled.mean() < RECTANGLE]
    sizes = np.array([[part.stop - part.start for part in place] for place in whole])
    if len(whole) < 2 or (np.abs(sizes - np.median(sizes, axis=0)) > SLACK).any():
        return None
    height, width = (int(side) for side in np.median(sizes, axis=0))
    tops = starts([place[0] for place in whole], [place[0] for place in torn], height)
    lefts = starts([place[1] for place in whole], [place[1] for place in torn], width)
    if tops is None or lefts is None:
        return None
    cells = [(slice(top, top + height), slice(left, left + width)) for top in tops for left in lefts]

    def inside(place: tuple[slice, slice], cell: tuple[slice, slice]) -> bool:
        return all(p.start >= c.start - SLACK and p.stop <= c.stop + SLACK for p, c in zip(place, cell, strict=True))

    if not all(any(inside(place, cell) for cell in cells) for place in torn):
        return None
    # a cell that holds nothing but the sheet's own white is no photograph
    shown = [cell for cell in cells if (pixels[cell] < 255).any(2).mean() > 0.1]
    return [(cell, np.ones(pixels[cell].shape[:2], bool)) for cell in shown]


def is_sheet(paper: np.ndarray) -> bool:
    "Whether a picture is drawn on white: most of its rim is, and a good part of it"
    rim = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
    return bool(rim.mean() > 0.4 and paper.mean() > 0.08)


def on_dark(pixels: np.ndarray, found: list[Patch]) -> np.ndarray:
    "A picture that was drawn on white, on the dark sheet, its photographs as they are: (H, W, 3) uint8"
    levels = pixels.astype(np.float32)
    grey = levels.mean(2, keepdims=True)
    # lightness turns round, colour stays: what was as light as paper is as dark as the sheet
    turned = (255 - grey) * 0.9 + (levels - grey)
    turned = np.maximum(turned.clip(0, 255), np.array(SHEET, np.float32))
    for place, whole in found:
        turned[place][whole] = levels[place][whole]
    return turned.round().astype(np.uint8)


def dark_form(data: bytes) -> bytes | None:
    "A picture's file once more for the dark scheme, as WebP; None of a picture that is no white sheet, or torn"
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
    except OSError:  # SVG
        return None
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    pixels = np.asarray(flat.convert("RGB"))
    paper = paper_of(pixels)
    if min(paper.shape) < 2 * SMALLEST or not is_sheet(paper):
        return None
    found: list[Patch] | None = list(patches(pixels, paper))
    if is_torn(paper, found):
        found = in_a_grid(pixels, found)
    if found is None:
        return None
    made = io.BytesIO()
    Image.fromarray(on_dark(pixels, found)).save(made, "WEBP", quality=92, method=2)
    return made.getvalue()


PICTURE = re.compile(r'<img\b[^>]*\bsrc="(?P<source>[^"]+\.(?:png|jpe?g)|data:image/(?:png|jpeg);base64,[^"]+)"[^>]*>')


class DarkPictures:
    "Gives the pages of a built site a dark form of each picture that needs one"

    def __init__(self, site: Path):
        self.site, self.made = site, dict[str, str | None]()

    def stored(self, data: bytes) -> str | None:
        "Where a picture's dark form lies, from the top of the site"
        mark = hashlib.sha1(data).hexdigest()[:16]
        if mark not in self.made:
            dark = dark_form(data)
            place = f"_images/dark-{mark}.webp"
            if dark is not None:
                (self.site / "_images").mkdir(exist_ok=True)
                (self.site / place).write_bytes(dark)
            self.made[mark] = place if dark is not None else None
        return self.made[mark]

    def both(self, found: re.Match, page: Path) -> str:
        "A picture with its dark form: the browser takes one of the two, and site.js says so where a reader has chosen"
        source, tag = html.unescape(found["source"]), found[0]
        if source.startswith("data:"):
            data = base64.b64decode(source.partition(",")[2])
        else:
            file = page.parent / unquote(source)
            if not file.is_file():
                return tag
            data = file.read_bytes()
        place = self.stored(data)
        if place is None:
            return tag
        up = "../" * len(page.relative_to(self.site).parts[1:])
        other = f'<source srcset="{up}{place}" media="(prefers-color-scheme: dark)">'
        return f"<picture>{other}{tag}</picture>"

    def change(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        changed = PICTURE.sub(lambda found: self.both(found, page), text)
        if changed != text:
            page.write_text(changed, encoding="utf-8")


def add_dark_pictures(site: Path) -> None:
    "Go through all pages of a built site"
    pictures = DarkPictures(site)
    for page in sorted(site.rglob("*.html")):
        if "_static" not in page.parts:
            pictures.change(page)
