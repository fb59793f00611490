"""The studies behind ``convexnn reproduce``: one module a study, records first, pictures from records alone.

Every study is a module with the same few names:

* ``SECTION``, ``QUESTION``: where it stands in the report and what it asks;
* ``QUICK``, ``FULL``: its settings; ``COLUMNS``: the tables of its records;
* ``parts(settings)``: name → function that returns tables of rows, each part independent of the others;
* ``run(settings)``: all parts, one set of records;
* ``pictures(tables)``: name → figure; ``sentences(tables)``: name → two sentences about that figure;
* ``answer(tables)``: (answer in words, number) for the summary; ``lines(tables)``: what the command prints.

Nothing but ``parts`` computes an optimum: all the rest reads records.
"""

from importlib import import_module
from types import ModuleType

#: Command → module, in the order of the questions of the report.
STUDIES = {
    "duality": "duality",
    "conv": "conv",
    "optimal-set": "optimal_set",
    "small-n": "small_n",
    "larger-m": "larger_m",
    "larger-n": "larger_n",
    "cifar10": "cifar10",
    "solvers": "solvers",
    "sparsity": "sparsity",
}


def study(name: str) -> ModuleType:
    """The module of a study, loaded on first use."""
    return import_module(f"convexnn.experiments.{STUDIES[name]}")
