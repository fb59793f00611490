"""The command line, one command a module; heavy imports wait for the command."""

import sys
from typing import Annotated

import typer

from convexnn import __version__
from convexnn._console import say
from convexnn.cli import certify, compare, demo, export, fit, path, predict, reproduce

app = typer.Typer(
    name="convexnn",
    help="Two-layer ReLU networks, trained to the global optimum, with a certificate that says how close.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    fit.fit,
    predict.predict,
    certify.certify,
    path.path,
    compare.compare,
    export.export,
    demo.demo,
    reproduce.reproduce,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"convexnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point; a character that the terminal cannot show is replaced, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="convexnn")
