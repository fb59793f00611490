"""Run the Python blocks of every page, so that docs/images holds the pictures that they make.

``python docs/make_pictures.py``
"""

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def all_pages() -> list[Path]:
    """The Markdown pages of the docs, in a fixed order."""
    return [*sorted(HERE.glob("*.md")), *sorted((HERE / "guide").glob("*.md"))]


def run_blocks(page: Path) -> None:
    """Execute a page's blocks one after another in one namespace, in the present folder."""
    names: dict[str, object] = {}
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), names)


if __name__ == "__main__":
    for page in all_pages():
        print(page.name, flush=True)
        with TemporaryDirectory() as folder:  # tables and models that a page writes stay there
            os.chdir(folder)
            run_blocks(page)
            for picture in sorted(Path(folder).glob("*.png")):
                shutil.copyfile(picture, HERE / "images" / picture.name)
            os.chdir(HERE)
