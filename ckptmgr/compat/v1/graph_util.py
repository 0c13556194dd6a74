"""`tf.graph_util`: cutting and freezing graphs."""

from ckptmgr.graph.freezing import (
    convert_variables_to_constants,
    extract_sub_graph,
    remove_training_nodes,
)

__all__ = ["convert_variables_to_constants", "extract_sub_graph", "remove_training_nodes"]
