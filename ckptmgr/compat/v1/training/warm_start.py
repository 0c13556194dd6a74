"""`warm_start`: variables that begin with what another model's checkpoint holds.

Which ones is told by regular expressions; each goes by its own name, unless another is given.

Source: tensorflow/python/training/warm_starting_util.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.checkpoint_initializers import init_from_checkpoint
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.scopes import get_collection
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.object_names import keys_by_name
from ckptmgr.graph.variable_base import Variable
from ckptmgr.lifecycle.reading import load_checkpoint

_log = get_logger()


def warm_start(
    ckpt_to_initialize_from: str | os.PathLike[str],
    vars_to_warm_start: str | list[Any] | None = ".*",
    var_name_to_vocab_info: Mapping[str, Any] | None = None,
    var_name_to_prev_var_name: Mapping[str, str] | None = None,
) -> None:
    """Let variables begin with the tensors of a checkpoint.

    Args:
        ckpt_to_initialize_from: A prefix, or a directory, whose latest checkpoint it is.
        vars_to_warm_start: A regular expression for the beginnings of the names of trainable
            variables; a list of such for all that are saved; a list of variables; None for none.
        var_name_to_vocab_info: Vocabularies of another order are not offered.
        var_name_to_prev_var_name: The names in the checkpoint of those that have another there.
    Raises:
        GraphError: A name is given for what is no variable of these.
        TensorNotFound, ShapeMismatch: Naming the tensor.
    """
    if var_name_to_vocab_info:
        raise errors.InvalidArgument(
            "warm_start with a vocabulary (var_name_to_vocab_info) is not offered: restore the "
            "table and reorder its rows"
        )
    chosen = _by_name(_chosen(vars_to_warm_start))
    names = dict(var_name_to_prev_var_name or {}) or _stored_keys(ckpt_to_initialize_from, chosen)
    unused = sorted(set(names) - set(chosen))
    if unused:
        raise errors.GraphError(
            f"You provided the following variables in var_name_to_prev_var_name that were not "
            f"used: {unused}. Perhaps you misspelled them? Here is the list of viable variable "
            f"names: {sorted(chosen)}"
        )
    if vars_to_warm_start is None:
        return
    together: dict[str, Any] = {}
    for name, parts in chosen.items():
        stored = names.get(name) or name
        if stored in together:
            # One tensor may begin several variables, though not in one map.
            init_from_checkpoint(ckpt_to_initialize_from, together)
            together = {}
        together[stored] = parts[0] if len(parts) == 1 else parts
    if together:
        init_from_checkpoint(ckpt_to_initialize_from, together)
    _log.info("%d variables begin with %s", len(chosen), ckpt_to_initialize_from)


def _chosen(wanted: Any) -> list[Any]:
    if wanted is None or isinstance(wanted, str):
        return get_collection(GraphKeys.TRAINABLE_VARIABLES, wanted)
    if not isinstance(wanted, list):
        raise errors.InvalidArgument(
            f"`vars_to_warm_start` must be a `list` or `str`. Given type is {type(wanted)}"
        )
    if all(isinstance(item, str) for item in wanted):
        return [
            variable
            for scope in wanted
            for variable in get_collection(GraphKeys.GLOBAL_VARIABLES, scope)
        ]
    if all(isinstance(item, Variable) for item in wanted):
        return wanted
    raise errors.InvalidArgument(
        f"If `vars_to_warm_start` is a list, it must be all `Variable` or all `str`. Given types "
        f"are {[type(item) for item in wanted]}"
    )


def _by_name(variables: Iterable[Any]) -> dict[str, list[Any]]:
    """The variables by the names that a Saver gives them; the parts of one are together."""
    grouped: dict[str, list[Any]] = {}
    for variable in variables:
        part = variable._get_save_slice_info()
        grouped.setdefault(variable.op.name if part is None else part.full_name, []).append(
            variable
        )
    return grouped


def _stored_keys(
    ckpt_to_initialize_from: str | os.PathLike[str], names: Iterable[str]
) -> dict[str, str]:
    """Where TensorFlow 2 stored the variables of these names; empty for other checkpoints."""
    with load_checkpoint(ckpt_to_initialize_from) as reader:
        keys = keys_by_name(reader)
    if keys is None:
        return {}
    missing = sorted(set(names) - set(keys))
    if missing:
        raise errors.GraphError(
            f"the object-based checkpoint has no values for all variables: {missing} are missing"
        )
    return {name: keys[name] for name in names}
