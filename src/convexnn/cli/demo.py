"""``convexnn demo``: the comparison with SGD and Adam."""

from pathlib import Path
from typing import Annotated

import typer

from convexnn._console import friendly, say
from convexnn._files import refuse_existing, require_folder
from convexnn.cli.options import Force


@friendly
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the pictures and the model.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the split and of all starts.")] = 0,
    force: Force = False,
) -> None:
    """Compare with SGD and Adam, on breast cancer.

    Writes report.html with pictures, the records behind them, and a model for 'predict' and 'certify'.
    """
    from convexnn.demo import files, run

    refuse_existing([out / name for name in files()], force=force)
    require_folder(out)
    run(out, seed=seed, tell=say)
