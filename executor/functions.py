"""Scalar functions: each name of ``planner.functions`` and its Polars form."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from executor.functions_date import DATES
from executor.functions_gpu import GPU_FORMS
from executor.functions_number import NUMBERS
from executor.functions_string import STRINGS
from executor.value import Scope, Value
from planner.errors import UnsupportedError

_FUNCTIONS = {**NUMBERS, **STRINGS, **DATES}


def call(name: str, args: Sequence[Value], dtype: pa.DataType, scope: Scope) -> Value:
    """A function call with compiled arguments.

    Raises:
        UnsupportedError: there is no such function.
    """
    function = _FUNCTIONS.get(name)
    if function is None:
        raise UnsupportedError(f"the function {name} cannot be computed yet")
    other = GPU_FORMS.get(name) if scope.device == "gpu" else None
    value = other(args, dtype, scope) if other is not None else None
    return function(args, dtype, scope) if value is None else value  # a form may decline


def implemented() -> Sequence[str]:
    """The functions that kernels compute, beside those that ``expressions`` handles itself."""
    return tuple(_FUNCTIONS)
