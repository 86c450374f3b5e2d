"""Drawings: cells as in Figure 4 of arXiv:1707.07012, the network they make, two compared.

A ``Picture`` is plain data; Graphviz, inside this process (extra `dashboard`), lays it out as SVG
or PNG. Reading it needs no colour: operations are named, what differs is dashed and says so.
What a file or a user named arrives as text, never as markup. Nothing here needs torch.
"""

import threading
from typing import Any, Literal
from xml.etree import ElementTree

from pipeline.errors import UserError
from pipeline.genotypes.differences import differences, in_words
from pipeline.spaces.base import Genotype
from pipeline.spaces.pictures import Picture
from pipeline.spaces.registry import kind_of

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = ("svg", "png")
LONGEST = 60  # characters of a text in a picture; what is longer is cut
GREY = "#767676"  # 4.5 : 1 on white and on black

_TEXT = {"fontname": "Helvetica,Arial,sans-serif", "fontsize": "12", "fontcolor": GREY}
_GRAPH = _TEXT | {"rankdir": "BT", "nodesep": "0.14", "ranksep": "0.32", "labelloc": "t"}
# from bottom to top, a frame's "b" is above
_FRAME = _TEXT | {"color": GREY, "style": "rounded", "margin": "10", "labelloc": "b"}
_EDGE = _TEXT | {"color": GREY, "arrowsize": "0.6"}
_NODE = _TEXT | {"color": "#555555", "fontcolor": "#1a1a1a", "style": "filled", "shape": "box"}
_NODE |= {"height": "0.3", "width": "0.7", "margin": "0.1,0.04", "fillcolor": "#f4f4f4"}
_CONVOLUTION = {"fillcolor": "#cfe2f7"}
_POOLING = {"fillcolor": "#d3ecc8", "shape": "octagon", "margin": "0.02,0.02"}
_LOOKS = {  # an operation's by the first word of its name
    "identity": {"style": "filled,rounded"},
    "sep": {"fillcolor": "#ffe8a3", "style": "filled,rounded"},
    "conv": _CONVOLUTION,
    "dil": _CONVOLUTION,
    "avg": _POOLING,
    "max": _POOLING,
    "combine": {"fillcolor": "#e3d9f2", "shape": "ellipse", "margin": "0.04,0.02"},
    "state": {"fillcolor": "#ffffff", "shape": "ellipse"},
    "normal": {"fillcolor": "#e3d9f2", "width": "1.9"},
    "reduction": {"fillcolor": "#e3d9f2", "shape": "trapezium", "margin": "0,0"},
}
_graphviz_lock = threading.Lock()  # its libraries keep variables for the whole process


def picture_of(genotype: Genotype, title: str = "") -> Picture:
    """A genotype's cells or layers, as they are written; or the name of a known network."""
    picture = Picture(title or genotype.digest[:12], in_words(genotype), title)
    kind_of(genotype).words.draw(picture, genotype, "", {})
    return picture


def picture_of_comparison(
    first: Genotype, second: Genotype, names: tuple[str, str] = ("first", "second")
) -> Picture:
    """The canonical forms of two genotypes side by side; what differs is marked."""
    found = differences(first, second)
    said = "; ".join(f"{d.cell} {d.part}: {d.first or '-'} / {d.second or '-'}" for d in found)
    picture = Picture(" / ".join(plain(name) for name in names), said or "no difference")
    marks = (
        {name: d.mark for d in found for name in d.first_names},
        {name: d.mark for d in found for name in d.second_names},
    )
    for outer, name, genotype, marked in zip("ab", names, (first, second), marks, strict=True):
        picture.frames[outer] = name, ""
        kind_of(genotype).words.draw(picture, genotype.canonical(), outer, marked)
    return picture


def draw(picture: Picture, form: Format) -> bytes:
    """A file's bytes; always the same ones for a picture, where the fonts are the same.

    Raises:
        UserError: the extra `dashboard` is missing here.
    """
    if form == "png":
        return _laid_out(picture, form)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{_svg(picture, "", GREY)}\n'.encode()


def svg_fragment(picture: Picture, prefix: str = "") -> str:
    """An ``<svg>`` element to stand in a page; every id begins with ``prefix``.

    What stands outside of boxes has the colour of the page's text.

    Raises:
        UserError: the extra `dashboard` is missing here.
    """
    return _svg(picture, prefix, "currentColor")


def _svg(picture: Picture, prefix: str, ink: str) -> str:
    root = ElementTree.fromstring(_laid_out(picture, "svg"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if key.startswith("{")]:
            del element.attrib[key]
        if element.tag == "text" and element.get("fill") == GREY:
            element.set("fill", ink)
    titles = {node.name: plain(node.title, 200) for node in picture.nodes}
    for group in root.iter("g"):
        title, name = group.find("title"), group.get("id", "")
        if title is not None:
            name = str(title.text).removeprefix("cluster_").replace("->", "--")
            title.text = titles.get(name)
            if title.text is None:
                group.remove(title)
        group.set("id", prefix + name)
    said = {"title": plain(picture.title), "desc": plain(picture.description, 4000)}
    for number, (tag, text) in enumerate(said.items()):
        element = ElementTree.Element(tag, {"id": prefix + tag})
        element.text = text
        root.insert(number, element)
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "class": "drawing", "role": "img"}
    root.attrib |= {"aria-labelledby": f"{prefix}title", "aria-describedby": f"{prefix}desc"}
    return ElementTree.tostring(root, encoding="unicode")


def _laid_out(picture: Picture, form: Format) -> bytes:
    """As Graphviz draws it; no process is started."""
    try:
        from pygraphviz import AGraph
    except ImportError:
        raise UserError(
            "drawings need the extra `dashboard`: pip install 'nasnet-pipeline[dashboard]'"
        ) from None
    paper = {"bgcolor": "white", "dpi": "144"} if form == "png" else {"bgcolor": "transparent"}
    with _graphviz_lock:
        graph = AGraph(directed=True, **_GRAPH, **paper, label=_label(picture.caption))
        try:
            _fill(graph, picture)
            return bytes(graph.draw(format=form, prog="dot"))
        finally:
            graph.close()


def _fill(graph: Any, picture: Picture) -> None:
    groups = {"": graph}
    for name, (label, outer) in picture.frames.items():
        groups[name] = groups[outer].add_subgraph(
            name=f"cluster_{name}", label=_label(label), **_FRAME
        )
    for node in picture.nodes:
        look = _marked(_NODE | _LOOKS.get(node.look, {}), node.mark)
        groups[node.frame].add_node(node.name, label=_label(node.label, node.mark), **look)
    for pair in picture.beside:
        frame = next(node.frame for node in picture.nodes if node.name == pair[0])
        groups[frame].add_subgraph(pair, rank="same")
    for pair in picture.beside + picture.above:
        graph.add_edge(*pair, style="invis")
    for edge in picture.edges:
        look = _EDGE | ({"style": "dashed", "weight": "0"} if edge.dashed else {})
        look |= {"label": f"  {_label(edge.label)}"} if edge.label else {}
        if edge.mark:  # in its middle, where room is made for it: at its end boxes would hide it
            look |= {"label": f" {_label(edge.mark)} "}
        graph.add_edge(edge.tail, edge.head, **_marked(look, edge.mark))


def _marked(look: dict[str, str], mark: str) -> dict[str, str]:
    if not mark:
        return look
    style = ",".join(filter(None, (look.get("style"), "dashed")))
    return look | {"style": style, "penwidth": "2.6", "color": "#d03a34"}


def plain(text: str, most: int = LONGEST) -> str:
    """Text in one line, printable and not too long."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text[:10_000]).split())
    return one_line if len(one_line) <= most else one_line[: most - 3] + "..."


def _label(*lines: str) -> str:
    """For Graphviz, without what it would read: escapes, entities, and HTML in <>."""
    text = "\n".join(plain(line) for line in lines if line)
    for special, harmless in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(special, harmless)
    return text
