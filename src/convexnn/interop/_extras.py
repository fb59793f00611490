"""Optional packages: loaded where they are used, and one sentence when they are missing."""

from importlib import import_module
from typing import Any


def load_extra(package: str, what: str, extra: str) -> Any:
    """The module `package`; ImportError with the command that installs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package {package.partition('.')[0]}: pip install 'convexnn[{extra}]'."
        ) from error
