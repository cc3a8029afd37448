"""HTML pages: each is one file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import colorsys
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1d2430"  # text and axes of a plot; replaced by a light colour on dark pages
COLOURS = ("#2f7de1", "#e0700f")  # for comparing two things, on light and dark pages
_DARK_INK = "#e6e9ef"
_HUE = 210  # of the first colour [degrees]
_TURN = 137.508  # from one hue to the next: the golden angle, which keeps neighbours apart
_LUMINANCE = 0.25  # gives a contrast of 3.5 to white and of 4.6 to a dark card


@dataclass(frozen=True)
class Plot:
    """The same plot for a light and for a dark page, as data URIs."""

    light: str
    dark: str

    def picture(self, alt: str) -> Markup:
        """Returns the HTML element; `alt` describes the plot in words."""
        return Markup(
            '<picture>\n<source media="(prefers-color-scheme: dark)" srcset="{}">\n'
            '<img src="{}" alt="{}">\n</picture>'
        ).format(self.dark, self.light, alt)


def render(template: str, **values: Any) -> str:
    """Renders a template that extends `page.html.j2`; strings among the values are escaped.

    Args:
      template: its path from this folder.
      values: the template's variables, and `title`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def plot(figure: Figure) -> Plot:
    """Draws a figure, with axes in `INK`; equal figures give equal bytes."""
    import matplotlib  # imported here, as only plots need it

    for axes in figure.axes:
        axes.tick_params(which="both", colors=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.spines[:].set_color(INK)
    data = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "vtmask"}):  # ids in the SVG are random otherwise
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
    light = data.getvalue()
    dark = light.replace(INK, _DARK_INK)
    return Plot(*(data_uri("image/svg+xml", svg.encode()) for svg in (light, dark)))


def hue(index: int) -> float:
    """Returns a hue in degrees for any index; neighbouring indices differ clearly."""
    return (_HUE + _TURN * index) % 360


def colour(index: int) -> str:
    """Returns a colour of `hue(index)` that is readable on light and on dark pages."""
    shades = [
        colorsys.hls_to_rgb(hue(index) / 360, percent / 100, 0.65) for percent in range(30, 80)
    ]
    rgb = min(shades, key=lambda rgb: abs(_luminance(rgb) - _LUMINANCE))
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)


def _luminance(rgb: tuple[float, float, float]) -> float:
    """Approximates WCAG's relative luminance: 0 for black, 1 for white."""
    red, green, blue = (channel**2.2 for channel in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
