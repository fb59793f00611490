"""Array types shared by every module."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Record = dict[str, float]
Progress = Callable[[dict[str, Any]], None]
