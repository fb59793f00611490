"""``convexnn reproduce``: the studies of the theory."""

from pathlib import Path
from typing import Annotated

import typer

from convexnn._console import friendly, say


@friendly
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="small-n, larger-m, larger-n, cifar10, conv, duality, solvers, optimal-set, sparsity, all.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the records, the pictures and report.html.")] = Path(
        "experiments"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Small settings: all in three minutes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of all data and starts; 0 unless given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the records in the folder; remake the pictures.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder of CIFAR-10; else $CONVEXNN_DATA/cifar10.")
    ] = None,
) -> None:
    """Run a study of the theory again, or all of them.

    Writes CSV and JSON records, pictures made from the records alone, and report.html with the answers.
    """
    from convexnn.experiments.runner import reproduce as run

    try:
        folder = None if data is None else str(data)
        run(name, out, quick=quick, seed=seed, resume=resume, data=folder, tell=say)
    except KeyboardInterrupt:
        say(f"Interrupted: the finished parts are in {out}; go on with --resume.", error=True)
        raise typer.Exit(130) from None
