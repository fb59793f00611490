"""One command for all studies: run what is not done, records after each part, then pictures and page."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from convexnn._files import require_folder, write_file
from convexnn.experiments import STUDIES, records, study
from convexnn.experiments.pages import write_report
from convexnn.experiments.records import Tables
from convexnn.report import png

Tell = Callable[[str], None]
ALL = "all"


def reproduce(
    name: str,
    out: Path,
    *,
    quick: bool = False,
    seed: int | None = None,
    resume: bool = False,
    data: str | None = None,
    command: str = "",
    tell: Tell = print,
) -> Path:
    """Run a study, or ``"all"``, into ``out/NAME``, remake its pictures, and write ``out/report.html``.

    Parameters
    ----------
    name : str
        A name of `STUDIES`, or ``"all"``, which leaves out cifar10 where its folder is absent.
    quick : bool
        Small settings.
    seed : int, optional
    resume : bool
        Go on from the records in `out`, with their settings; pictures are remade.
    data : str, optional
        The folder of CIFAR-10, by default ``$CONVEXNN_DATA/cifar10``.

    Raises
    ------
    ValueError, OSError
        If the name is unknown, or records or data are in the way, missing or damaged.
    """
    if name != ALL and name not in STUDIES:
        raise ValueError(f"Unknown study {name!r}: choose one of {', '.join(STUDIES)}, or all.")
    if seed is not None and seed < 0:
        raise ValueError(f"--seed must not be negative; it is {seed}.")
    names = list(STUDIES) if name == ALL else [name]
    if name == ALL and not _has_data(data) and not _is_finished(out / "cifar10"):
        names.remove("cifar10")
        tell("cifar10 is left out: its data folder is absent (give it with --data, or set CONVEXNN_DATA).")
    plans = [_plan(each, out, quick, seed, resume, data, command) for each in names]
    require_folder(out)
    for plan in plans:
        _run(plan, out, tell)
    report = write_report(out)
    tell(f"Written: {report}")
    return report


Plan = tuple[str, ModuleType, dict[str, Any], Tables]


def _has_data(data: str | None) -> bool:
    from convexnn.experiments.cifar10 import folder

    try:
        return folder(data).is_dir()
    except FileNotFoundError:
        return False


def _is_finished(folder: Path) -> bool:
    """Whether the records of cifar10 there are complete, so that no data is needed."""
    module = study("cifar10")
    if not (folder / records.FILE).is_file():
        return False
    meta, tables = records.load(folder, module.COLUMNS)
    return _is_done(("cifar10", module, meta, tables))


def _plan(
    name: str, out: Path, quick: bool, seed: int | None, resume: bool, data: str | None, command: str
) -> Plan:
    """(name, module, description, tables so far); refuses records in the way and settings that differ."""
    module, folder = study(name), out / name
    exists = (folder / records.FILE).exists()
    if exists and not resume:
        raise FileExistsError(
            f"{folder} holds records already: go on with --resume, or choose another --out."
        )
    settings = {"seed": seed or 0, "quick": quick, **(module.QUICK if quick else module.FULL)}
    if name == "cifar10":
        settings["data"] = data
    meta = records.describe(name, settings, command)
    tables: Tables = {}
    if exists:
        meta, tables = records.load(folder, module.COLUMNS)
        _check_same(name, meta, quick, seed)
        if data is not None and name == "cifar10":
            meta["settings"]["data"] = data
    plan = (name, module, meta, tables)
    if hasattr(module, "check") and not _is_done(plan):
        module.check(meta["settings"])
    return plan


def _check_same(name: str, meta: dict[str, Any], quick: bool, seed: int | None) -> None:
    settings = meta["settings"]
    if meta["study"] != name:
        raise ValueError(f"The records are those of {meta['study']}, not of {name}: choose another --out.")
    if quick and not settings.get("quick"):
        raise ValueError(f"The records of {name} were made without --quick: choose another --out.")
    if seed is not None and seed != settings["seed"]:
        raise ValueError(f"The records of {name} have the seed {settings['seed']}: choose another --out.")


def _is_done(plan: Plan) -> bool:
    _, module, meta, _ = plan
    return set(module.parts(meta["settings"])) <= set(meta["done"])


def _run(plan: Plan, out: Path, tell: Tell) -> None:
    """The parts that are not done, with records after each; then lines and pictures."""
    name, module, meta, tables = plan
    parts = module.parts(meta["settings"])
    for number, (part, function) in enumerate(parts.items(), 1):
        if part in meta["done"]:
            continue
        new, seconds = records.timed(function)
        records.add_part(tables, part, new)
        meta["done"][part] = round(seconds, 3)
        records.save(out / name, meta, tables, module.COLUMNS)
        tell(f"{name}: {part} ({number} of {len(parts)}), {seconds:.1f} s.")
    tables = records.load(out / name, module.COLUMNS)[1]
    for line in module.lines(tables):
        tell(line)
    for picture, figure in module.pictures(tables).items():
        write_file(out / name / f"{picture}.png", png(figure.axes[0]))
