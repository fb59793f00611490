"""Typeset the subscripts of plain-text formulas, u_j and (Xu)_+, in the pages that Sphinx writes.

Formulas here are Unicode text, readable in the source and without a network; only the underscores go.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

#: A symbol, then _ and a short index: D_b, α_j, β_max, (Xu)_+, ‖Z‖_*, Σ_{k<r}; names like max_time stay.
_SUBSCRIPT = re.compile(
    r"(?<=[A-ZΑ-Ω)‖∥∈])_(?P<a>[a-z]{1,3}(?![a-z_0-9])|[ijbk](?=[a-z]_)|[0-9]|[+*](?![A-Za-z])|\{[^}\s]+\})"
    r"|(?<=(?<![a-z_])[a-zα-ωŵûŷ])_(?P<b>[a-z]{1,3}(?![a-z_0-9])|[ijbk](?=[a-z]_)|[0-9]|\{[^}\s]+\})"
    r"|(?<=_[ijbk][a-z])_(?P<c>[ijbk])(?![a-z_0-9])"
)
_LEFT_ALONE = (nodes.literal, nodes.literal_block, nodes.doctest_block, nodes.raw, addnodes.desc_signature)


def split_subscripts(text: str) -> list[nodes.Node]:
    """The text as pieces, every subscript a node of its own."""
    pieces: list[nodes.Node] = []
    end = 0
    for match in _SUBSCRIPT.finditer(text):
        index = match["a"] or match["b"] or match["c"]
        pieces += [
            nodes.Text(text[end : match.start()]),
            nodes.subscript("", index.strip("{}").replace("_", "")),
        ]
        end = match.end()
    return [*pieces, nodes.Text(text[end:])]


class Subscripts(SphinxPostTransform):
    """Subscripts of formulas in running text; code stays as it is."""

    default_priority = 1  # before code blocks become something else

    def run(self, **kwargs: Any) -> None:
        """Replace the texts of the document."""
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if "_" not in text or any(isinstance(node, _LEFT_ALONE) for node in ancestors(text)):
                continue
            pieces = split_subscripts(text.astext())
            if len(pieces) > 1 and not isinstance(parent, nodes.title):
                parent.replace(text, pieces)


def ancestors(node: nodes.Node) -> list[nodes.Node]:
    """The nodes around a node, from the inside."""
    out: list[nodes.Node] = []
    while node.parent is not None:
        node = node.parent
        out.append(node)
    return out


def setup(app: Any) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(Subscripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
