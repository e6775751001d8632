"""Recognises an IResNet by its topology, and names the layers of any network.

Names in a file are the exporter's; the shape of the graph is the network's. An IResNet gets the layer names of
`audited.iresnet`, whatever its source.
"""

import collections
import re
from collections.abc import Iterable

from mint_keras.audited.convert.graph import Graph, Node

_NORMALISATION = ("Sub", "Mul", "Div", "Add")


def layer_names(graph: Graph) -> dict[str, str]:
    """Returns a layer name for every node that depends on the image, by its outputs."""
    known = iresnet_names(graph) or {}
    counts: collections.Counter[str] = collections.Counter()
    names: dict[str, str] = {}
    for node in graph.nodes:
        if not graph.is_static(node):
            kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.op).lower()
            counts[kind] += 1
            first = known.get(node.outputs[0], f"{kind}_{counts[kind]:03d}")
            names |= {tensor: f"{first}_{i}" if i > 1 else first for i, tensor in enumerate(node.outputs, start=1)}
    return names


def iresnet_names(graph: Graph) -> dict[str, str] | None:
    """Returns the layer names of `audited.iresnet` by tensor, or None if the graph is no IResNet."""
    try:
        return _Reader(graph).names()
    except _NotAnIResNet:
        return None


def count_blocks(layers: Iterable[str]) -> tuple[int, ...]:
    """Returns the blocks of each stage that layer names of `audited.iresnet` tell of; empty for other names."""
    matches = [re.fullmatch(r"stage(\d+)_block\d+_add", name) for name in layers]
    counts = collections.Counter(int(match[1]) for match in matches if match)
    return tuple(counts[stage] for stage in sorted(counts))


class _NotAnIResNet(Exception):
    pass


class _Reader:
    """Walks stem, blocks and head in the order in which they must come."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._consumers = graph.consumers()
        self._found: dict[str, str] = {}

    def names(self) -> dict[str, str]:
        x = self._graph.input
        # Normalisations are optional below: most exporters fold those that follow a convolution into it.
        while self._next(x).op in _NORMALISATION:
            x = self._next(x).outputs[0]
        x = self._take(x, "Conv", "stem")
        x = self._take_optional(x, "BatchNormalization", "stem_bn")
        x = self._take(x, "PRelu", "stem_prelu")
        stage = block = 0
        while len(self._consumers[x]) == 2:
            # The second reader of a block's input is its sum, except in the first of a stage, which has a shortcut.
            is_first = "Add" not in {node.op for node in self._consumers[x]}
            stage, block = (stage + 1, 1) if is_first else (stage, block + 1)
            name = f"stage{stage}_block{block}"
            entry, other = sorted(self._consumers[x], key=lambda node: node.op != "BatchNormalization")
            y = self._name(entry, "BatchNormalization", f"{name}_bn1")
            y = self._take(y, "Conv", f"{name}_conv1")
            y = self._take_optional(y, "BatchNormalization", f"{name}_bn2")
            y = self._take(y, "PRelu", f"{name}_prelu")
            y = self._take(y, "Conv", f"{name}_conv2")
            y = self._take_optional(y, "BatchNormalization", f"{name}_bn3")
            if is_first:
                x = self._name(other, "Conv", f"{name}_shortcut")
                x = self._take_optional(x, "BatchNormalization", f"{name}_shortcut_bn")
            total = self._next(y)
            if set(total.inputs) != {y, x}:
                raise _NotAnIResNet
            x = self._name(total, "Add", f"{name}_add")
        if not stage:
            raise _NotAnIResNet
        x = self._take(x, "BatchNormalization", "head_bn")
        x = self._take(x, "Reshape" if self._next(x).op == "Reshape" else "Flatten", "flatten")
        x = self._take(x, "Gemm", "fc")
        x = self._take_optional(x, "BatchNormalization", "features")
        if self._consumers[x] or list(self._graph.outputs.values()) != [x]:
            raise _NotAnIResNet
        return self._found

    def _next(self, tensor: str) -> Node:
        if len(self._consumers[tensor]) != 1:
            raise _NotAnIResNet
        return self._consumers[tensor][0]

    def _take(self, tensor: str, op: str, name: str) -> str:
        return self._name(self._next(tensor), op, name)

    def _take_optional(self, tensor: str, op: str, name: str) -> str:
        followers = self._consumers[tensor]
        is_there = len(followers) == 1 and followers[0].op == op
        return self._name(followers[0], op, name) if is_there else tensor

    def _name(self, node: Node, op: str, name: str) -> str:
        if node.op != op:
            raise _NotAnIResNet
        self._found[node.outputs[0]] = name
        return node.outputs[0]
