"""Run the Python blocks of every page, so that docs/images holds the pictures that they make.

``python docs/make_pictures.py``
"""

import os
import re
from pathlib import Path

HERE = Path(__file__).parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(page: Path) -> None:
    """Execute a page's blocks one after another in one namespace, in the present folder."""
    names: dict[str, object] = {}
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), names)


if __name__ == "__main__":
    os.chdir(HERE / "images")
    for page in sorted(HERE.glob("*.md")):
        print(page.name)
        run_blocks(page)
