"""Whether an ONNX graph computes what the network of its weights does: weights alone do not tell."""

from __future__ import annotations

from typing import Any

from firetree.errors import UserError

_OURS = {
    *("Conv", "Gemm", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "LRN"),
    *(
        "Cast",
        "Concat",
        "Constant",
        "Dropout",
        "Flatten",
        "Gather",
        "Identity",
        "LogSoftmax",
        "Pad",
    ),
    *("Reshape", "Shape", "Slice", "Softmax", "Squeeze", "Unsqueeze"),
}
"""Operators of which SqueezeNets and AlexNets are made, in whatever way they are exported."""


def check_graph(graph: Any, network: str, side: int, source: str) -> None:
    """Refuse a graph that has other layers than the network, for images of `side` pixels.

    Raises:
        UserError: operators that would change the numbers, or pools that leave out the last row.
    """
    if others := sorted({node.op_type for node in graph.node} - _OURS):
        raise UserError(
            f"{source} also computes {', '.join(others)}, which {network} does not; expected that "
            "network alone"
        )
    if network.startswith("squeezenet") and (pool := _cutting_pool(graph, side)):
        raise UserError(
            f"{pool} of {source} leaves out the last row of its input, as ceil_mode = 0; expected 1, as "
            f"{network} has"
        )


def _cutting_pool(graph: Any, side: int) -> str | None:
    """The first pool that gives less than one in ceil mode would."""
    for node in graph.node:
        if node.op_type not in ("Conv", "MaxPool"):
            continue
        told = {entry.name: entry for entry in node.attribute}
        padded = "auto_pad" in told and told["auto_pad"].s not in (b"NOTSET", b"VALID")
        if "kernel_shape" not in told or padded:
            return None
        kernel = told["kernel_shape"].ints[0]
        stride = told["strides"].ints[0] if "strides" in told else 1
        begin, end = told["pads"].ints[::2] if "pads" in told else (0, 0)
        whole = -(-(side + begin - kernel) // stride) + 1
        ceil = node.op_type == "MaxPool" and "ceil_mode" in told and told["ceil_mode"].i
        side = whole if ceil else (side + begin + end - kernel) // stride + 1
        if node.op_type == "MaxPool" and side < whole:
            return str(node.name or "a MaxPool")
    return None
