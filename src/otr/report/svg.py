"""Figures of matplotlib as SVG that fits the page: no style attributes, its colours, unique ids."""

import io
import re
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from otr.report.looks import COLOURS

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_INK, _PAPER = "#010203", "#fdfefd"
"""Stand-ins for the page's own colours, which differ between light and dark."""

_OWNER = re.compile(r"([mlt])(\d+)-\d+$")
"""Ids of what belongs to a method: m in the drawing, l and t in the legend."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
}
"""What figures are to be made under, for their text and axes to follow the page."""


def inline(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an <svg> element that the page's policy lets through.

    `name` makes its ids unique on the page; `description` is what screen readers say.
    """
    out = io.StringIO()
    FigureCanvasSVG(figure)
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", out.getvalue()))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        _unstyled(element)
        _renamed(element, name)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("class", "plot")
    root.set("stroke-linejoin", "round")
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = description
    root.insert(0, title)
    text = ElementTree.tostring(root, encoding="unicode")
    text = text.replace(_INK, "currentColor").replace(_PAPER, "var(--page)")
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--c{number}, {colour})")
    return Markup(text)


def _unstyled(element: ElementTree.Element) -> None:
    """Each declaration of a style attribute as an attribute of its own."""
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = declaration.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font" and (size := re.search(r"([\d.]+)px", value)):
            element.set("font-size", size[1])
            if "bold" in value or " 700 " in f" {value} ":
                element.set("font-weight", "700")
        elif key and key not in ("font-family", "transform"):
            element.set(key, value)


def _renamed(element: ElementTree.Element, name: str) -> None:
    """Ids, and what refers to them, with the figure's name before them; a method's number, where
    the id tells it, as an attribute of its own."""
    if owner := _OWNER.match(element.get("id", "")):
        element.set(f"data-{owner[1]}", owner[2])
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    for key in (f"{{{_XLINK}}}href", "href"):
        if element.get(key, "").startswith("#"):
            element.set(key, f"#{name}-{element.get(key, '')[1:]}")
    for key, value in list(element.attrib.items()):
        if "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
