"""``report.html`` of all studies in a folder, made from their records alone."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from convexnn import __version__, report
from convexnn._files import write_file
from convexnn.experiments import STUDIES, records, study
from convexnn.experiments.records import Tables


def write_report(out: Path) -> Path:
    """Write ``out/report.html`` about every finished study of `STUDIES` in `out`; returns its path.

    Raises
    ------
    FileNotFoundError
        If no study there is finished.
    ValueError
        If records are damaged.
    """
    found = _finished(out)
    if not found:
        raise FileNotFoundError(f"There are no finished records at {out}.")
    rows = [_summary(name, meta, tables) for name, (meta, tables) in found.items()]
    blocks = [
        report.paragraph(_lead(found), lead=True),
        report.table(["question", "answer", "number", "command"], rows, text=True),
    ]
    for name, (meta, tables) in found.items():
        blocks += _section(name, meta, tables)
    page = report.page("The studies, by their questions", blocks, f"Written by convexnn {__version__}.")
    return write_file(out / "report.html", page)


def _finished(out: Path) -> dict[str, tuple[dict[str, Any], Tables]]:
    """The studies all of whose parts are done, in the order of the questions."""
    found = {}
    for name in STUDIES:
        if (out / name / records.FILE).is_file():
            module = study(name)
            meta, tables = records.load(out / name, module.COLUMNS)
            if set(module.parts(meta["settings"])) <= set(meta["done"]):
                found[name] = (meta, tables)
    return found


def _summary(name: str, meta: dict[str, Any], tables: Tables) -> list[str]:
    module = study(name)
    word, number = module.answer(tables)
    return [f"{module.SECTION}: {module.QUESTION}", word, number, command_of(name, meta)]


def command_of(name: str, meta: dict[str, Any]) -> str:
    """The command that makes these records again."""
    settings = meta["settings"]
    parts = ["convexnn reproduce", name]
    parts += ["--quick"] if settings.get("quick") else []
    parts += [f"--seed {settings['seed']}"] if settings["seed"] else []
    parts += ["--data FOLDER"] if name == "cifar10" else []
    return " ".join(parts)


def _lead(found: dict[str, tuple[dict[str, Any], Tables]]) -> str:
    metas = [meta for meta, _ in found.values()]
    seconds = sum(sum(meta["done"].values()) for meta in metas)
    machine = metas[0]["machine"]
    quick = sum(bool(meta["settings"].get("quick")) for meta in metas)
    note = (
        f" {quick} of them have the small settings of --quick, so their numbers are rough." if quick else ""
    )
    return (
        f"{report.count(len(metas), 'study').replace('studys', 'studies')}, {seconds:.0f} s in all on "
        f"{report.count(machine['cores'], 'core')} ({machine['processor']}). Every sentence and number "
        "below is "
        f"computed from the records.{note}"
    )


def _section(name: str, meta: dict[str, Any], tables: Tables) -> list[str]:
    module = study(name)
    said, figures = module.sentences(tables), module.pictures(tables)
    shown = [(_first_axes(figure), " ".join(said[picture])) for picture, figure in figures.items()]
    return [
        report.heading(f"{module.SECTION} {module.QUESTION}"),
        report.paragraph(f"{module.answer(tables)[0]} {_made(name, meta)}"),
        report.pictures(shown),
    ]


def _first_axes(figure: Figure) -> Any:
    return figure.axes[0]


def _made(name: str, meta: dict[str, Any]) -> str:
    seconds = sum(meta["done"].values())
    versions = ", ".join(f"{key} {value}" for key, value in meta["versions"].items())
    return (
        f"Made by '{command_of(name, meta)}' in {seconds:.0f} s, seed {meta['settings']['seed']}; records in "
        f"{name}/. Versions: {versions}."
    )
