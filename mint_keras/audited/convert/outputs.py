"""What the outputs of a graph are: an embedding, before its normalisation; a face detector's; or another net's."""

import math
import re
from collections.abc import Mapping

from mint_keras.audited.convert.graph import Graph, Node
from mint_keras.audited.taps import OUTCOME

UNIT = f"{OUTCOME}_l2"
# Scores, boxes and, in some, key points for three or five strides: SCRFD as insightface recognises it.
_DETECTOR_OUTPUTS = {6: (2, 3), 9: (3, 3), 10: (2, 5), 15: (3, 5)}
_ROLES = {"score": 1, "bbox": 4, "kps": 10}
# By how wide their outputs are.
_DETECTORS = {(1,) * 6 + (4,) * 3 + (10,) * 3: "YuNet by its strides", (2, 4, 10): "RetinaFace by its anchors"}
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
# What lies between a vector and what it is divided by, as exporters write the Euclidean norm.
_NORM_PARTS = {"ReduceL2", "ReduceSum", "ReduceSumSquare", "Mul", "Pow", "Sqrt", "Clip", "Max", "Add", "Expand", "Abs"}
_NORM_PARTS |= {"Reciprocal", "Div", *_VIEWS}
_MIN_EMBEDDING = 64  # numbers; no face-recognition model gives fewer, few nets of other tasks give as many
_LANDMARKS = (136, 196, 204, 212, 936, 1404, 3309)  # numbers, of 68 to 1103 points


def is_detector(graph: Graph) -> bool:
    """Tells whether a graph has the outputs of an SCRFD face detector: scores, boxes and key points of every stride."""
    roles, strides = _DETECTOR_OUTPUTS.get(len(graph.outputs), (0, 0))
    wanted = [width for width in list(_ROLES.values())[:roles] for _ in range(strides)]
    return bool(wanted) and [_width(graph, name) for name in graph.outputs] == wanted


def names(graph: Graph, sizes: Mapping[str, int]) -> dict[str, str]:
    """Returns the tensor of every output by our name for it.

    Args:
        graph: A graph.
        sizes: Numbers per image of every tensor that is a vector, by tensor.

    Returns:
        Of a detector `score_8`, `bbox_8`, `kps_8` ...; otherwise `outcome` for the embedding before any
        L2 normalisation, `outcome_l2` for what that gives, where the file has it; the file's names for all others, and
        for all where it cannot be told which is the embedding.
    """
    if is_detector(graph):
        roles, strides = _DETECTOR_OUTPUTS[len(graph.outputs)]
        ours = [f"{role}_{8 * 2**i}" for role in list(_ROLES)[:roles] for i in range(strides)]
        return dict(zip(ours, graph.outputs.values(), strict=True))
    makers = {tensor: node for node in graph.nodes for tensor in node.outputs}
    plain = {name: _before_norm(makers, graph, tensor) or tensor for name, tensor in graph.outputs.items()}
    embedding = next(iter(plain.values())) if len(plain) == 1 else _embedding(makers, plain, sizes)
    found = {} if embedding is None else {OUTCOME: embedding}
    for name, tensor in graph.outputs.items():
        if plain[name] == embedding != tensor:
            found[UNIT] = tensor
        elif tensor != embedding:
            found[name if name.isidentifier() else re.sub(r"\W", "_", f"output_{name}")] = tensor
    return found


def describe(graph: Graph, shapes: Mapping[str, tuple[int, ...]], height: int) -> str:
    """Says what a graph seems to be if not a face-recognition model, by its outputs alone; "" if it may be one.

    The shapes are those of every tensor without the batch, as the graph counts its axes.
    """
    makers = {tensor: node for node in graph.nodes for tensor in node.outputs}
    given = [shapes[tensor] for tensor in graph.outputs.values()]
    widths = [width for shape in given if (width := max(shape, default=1)) == math.prod(shape)]
    last = [makers[tensor].op for tensor in graph.outputs.values() if tensor in makers]
    roles = sorted(shape[-1] for shape in given if shape)
    if {4, 10} <= set(roles):
        kind = _DETECTORS.get(tuple(roles), "one of a kind that is not known here")
        return f"a face detector, {kind}, by its boxes and key points; of detectors, SCRFD is taken"
    if "Softmax" in last:
        return f"a classifier, by its Softmax over {max(widths, default=roles[-1])} classes"
    if widths and max(widths) < _MIN_EMBEDDING:
        return f"a net for age, gender, emotion or spoofing, by its {max(widths)} numbers; embeddings have 64 and more"
    if widths and max(widths) in _LANDMARKS and height >= 128:
        return f"a landmark model, by its {max(widths)} numbers"
    if not widths:
        return "a detector, or another net that says something of every place: no output is one vector for an image"
    return ""


def _width(graph: Graph, output: str) -> int | None:
    """Returns the size of an output's last axis, as the file says it or as it is reshaped last."""
    entry = next(entry for entry in graph.model.graph.output if entry.name == output)
    dimensions = entry.type.tensor_type.shape.dim
    if len(dimensions) and dimensions[-1].dim_value > 0:
        return dimensions[-1].dim_value
    makers = {tensor: node for node in graph.nodes for tensor in node.outputs}
    node = makers.get(graph.outputs[output])
    while node is not None and node.op == "Sigmoid":
        node = makers.get(node.inputs[0])
    target = graph.constants.get(node.inputs[1]) if node is not None and node.op == "Reshape" else None
    return int(target.reshape(-1)[-1]) if target is not None and target.size else None


def _embedding(makers: Mapping[str, Node], plain: Mapping[str, str], sizes: Mapping[str, int]) -> str | None:
    """Returns the output that is the embedding: what no other is made into, or the only one that is wide enough."""
    candidates = list(dict.fromkeys(tensor for tensor in plain.values() if sizes.get(tensor, 0) > 1))
    first = [t for t in candidates if not _reaches(makers, t, set(candidates) - {t})]
    wide = [tensor for tensor in first if sizes[tensor] >= _MIN_EMBEDDING]
    found = first if len(first) == 1 else wide
    return found[0] if len(found) == 1 else None


def _reaches(makers: Mapping[str, Node], tensor: str, others: set[str]) -> bool:
    """Tells whether a tensor is computed from any of others."""
    open_, seen = [tensor], set()
    while open_:
        node = makers.get(open_.pop())
        for name in node.inputs if node is not None else ():
            if name in others:
                return True
            if name not in seen:
                seen.add(name)
                open_.append(name)
    return False


def _before_norm(makers: Mapping[str, Node], graph: Graph, tensor: str) -> str | None:
    """Returns the vector that an L2 normalisation at the end of a graph gets; None if there is none."""
    node = makers.get(tensor)
    # Some scale the vector of length 1 by a number.
    while node is not None and (node.op in _VIEWS or (node.op in ("Mul", "Div") and _is_scaled(graph, node))):
        node = makers.get(next(name for name in node.inputs if name not in graph.constants))
    if node is not None and node.op == "LpNormalization":
        return node.inputs[0]
    if node is None or node.op not in ("Div", "Mul"):
        return None
    pairs = [tuple(node.inputs), *([tuple(node.inputs[::-1])] if node.op == "Mul" else [])]
    return next((vector for vector, norm in pairs if _is_norm(makers, graph, norm, vector)), None)


def _is_scaled(graph: Graph, node: Node) -> bool:
    numbers = [graph.constants[name] for name in node.inputs[int(node.op == "Div") :] if name in graph.constants]
    return any(number.size == 1 for number in numbers)


def _is_norm(makers: Mapping[str, Node], graph: Graph, norm: str, vector: str) -> bool:
    """Tells whether a tensor is a norm of a vector, or one over it: made of it alone, by a sum over it."""
    open_, seen, ops = [norm], {vector}, set()
    while open_:
        tensor = open_.pop()
        if tensor in seen or tensor in graph.constants or tensor in graph.static:
            continue
        seen.add(tensor)
        node = makers.get(tensor)
        if node is None or node.op not in _NORM_PARTS:
            return False
        ops.add(node.op)
        open_ += [name for name in node.inputs if name]
    return bool(ops & {"ReduceL2", "ReduceSum", "ReduceSumSquare"})
