"""HTML pages for people: each one file that needs no network, no script and no other file."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK = "#1d2430"  # of what should be read in a plot; light where the page is dark
COLOURS = ("#2f7de1", "#e0700f")  # of two things that are compared; seen on both pages
_DARK_INK = "#e6e9ef"


@dataclass(frozen=True)
class Plot:
    """The same plot for a light and for a dark page, as data URIs."""

    light: str
    dark: str

    def picture(self, alt: str) -> Markup:
        """The HTML element; `alt` tells in words what the plot shows."""
        return Markup(
            '<picture>\n<source media="(prefers-color-scheme: dark)" srcset="{}">\n'
            '<img src="{}" alt="{}">\n</picture>'
        ).format(self.dark, self.light, alt)


def render(template: str, **values: Any) -> str:
    """The page of a template that extends `page.html.j2`; texts among the values are escaped.

    Args:
      template: its path from this folder.
      values: what the template names, and `title`.
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
    """The figure with its axes in `INK`; equal figures give equal bytes."""
    for axes in figure.axes:
        axes.tick_params(which="both", colors=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.spines[:].set_color(INK)
    data = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "vtmask"}):  # else ids in the SVG are random
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
    light = data.getvalue()
    dark = light.replace(INK, _DARK_INK)
    return Plot(*(data_uri("image/svg+xml", svg.encode()) for svg in (light, dark)))


def data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
