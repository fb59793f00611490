"""Check that all local links of the built site lead to a file and an anchor: ``python docs/check_links.py``.

External links are listed with ``--external``; they need the network, so they are not followed here.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parent / "_build" / "html"


class Page(HTMLParser):
    """The anchors of a page and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.add(value)


def broken_links(site: Path) -> tuple[list[str], set[str]]:
    """(local links that lead nowhere, external links) of the pages below `site`."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    broken: list[str] = []
    external: set[str] = set()
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                external.add(link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (parts.fragment and known and parts.fragment not in known.anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken, {link for link in external if not link.startswith("data:")}


if __name__ == "__main__":
    if not (SITE / "index.html").exists():
        sys.exit("There is no docs/_build/html/index.html: run 'make docs' first.")
    broken, external = broken_links(SITE)
    if "--external" in sys.argv:
        print(*sorted(external), sep="\n")
    print(*broken, sep="\n")
    print(f"{len(broken)} broken local links; {len(external)} external links, not followed.")
    sys.exit(bool(broken))
