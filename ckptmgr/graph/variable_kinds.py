"""Which of the two kinds a new variable is, where nothing is said of it.

Source: tensorflow/python/ops/resource_variables_toggle.py.
"""

from __future__ import annotations

_default_kind = {"is_resource": False}


def enable_resource_variables() -> None:
    """Make new variables resource variables where nothing else is said."""
    _default_kind["is_resource"] = True


def disable_resource_variables() -> None:
    """Make new variables the older kind where nothing else is said, as at the beginning."""
    _default_kind["is_resource"] = False


def resource_variables_enabled() -> bool:
    return _default_kind["is_resource"]


def is_resource_in_scope() -> bool:
    """What the variable scope says, or else the default."""
    from ckptmgr.graph.variable_scopes import get_variable_scope

    of_scope = get_variable_scope().use_resource
    return resource_variables_enabled() if of_scope is None else of_scope
