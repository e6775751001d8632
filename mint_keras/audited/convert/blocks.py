"""Finds the taps of any network: what closes each resolution, or each quarter of a transformer.

Names in a file are the exporter's; only the shape of the graph is the network's. A block is what a residual sum closes;
where there are none, it is what stands between two changes of resolution.
"""

import collections
import math
from collections.abc import Collection, Iterable, Mapping

from mint_keras.audited.convert.graph import Graph, Node
from mint_keras.audited.taps import CONV_TAPS

# What a branch may pass through between its last convolution and the sum.
_PASSING = {"BatchNormalization", "LayerNormalization", "Relu", "PRelu", "LeakyRelu", "Clip", "Elu", "Gelu", "Sigmoid"}
_PASSING |= {"HardSwish", "HardSigmoid", "Tanh", "Mish", "Mul", "Div", "Add", "Sub", "Max", "Min", "Neg", "Sum"}
_PASSING |= {"Transpose", "Reshape", "Slice", "Split", "Softplus", "Expand"}
_GATES = {"Sigmoid", "HardSigmoid", "Softmax"}
_QUARTERS = 4


def find_taps(graph: Graph, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Finds the taps of a network.

    A stage closes with the last residual sum at a resolution (`stage1` ...); `conv1` ... is the last convolution, with
    its batch normalisation, of the branch that goes into it, before any scaling, squeeze-and-excitation or activation.
    Resolutions without a sum have `conv` alone: in networks of separable convolutions that of the last block which ends
    there (the expansion at the head of an inverted bottleneck belongs to the next), in plain networks the last. Of
    transformers, blocks at a quarter, half, three quarters and the end count as stages, linear layers as convolutions.

    Args:
        graph: The network as ONNX describes it.
        sizes: Height and width of every map, and the number of tokens of every sequence of them, by tensor.

    Returns:
        Tensors by tap, `conv` before `stage`.
    """
    return dict(sorted(_Network(graph, sizes).taps().items()))


def describe_missing(found: Collection[str]) -> str:
    """Says which of the usual taps a network lacks; "" if it has all."""
    lacking = [tap for tap in (*CONV_TAPS, *(f"stage{i}" for i in range(1, 5)), "outcome") if tap not in found]
    if not lacking:
        return ""
    rest = "--taps NAME=NODE gives a name to any node; heads are trained on the taps that are there"
    return f"Without {', '.join(lacking)}: nothing in the network is what these names stand for. {rest}."


class _Network:
    """What is where in a network: convolutions, sums, and how many convolutions lie before each tensor."""

    def __init__(self, graph: Graph, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self._graph = graph
        self._sizes = {tensor: size for tensor, size in sizes.items() if max(size) > 1}
        self._nodes = [node for node in graph.nodes if not graph.is_static(node)]
        self._place = {tensor: i for i, node in enumerate(self._nodes) for tensor in node.outputs}
        self._readers = graph.consumers()
        self._depth: collections.Counter[str] = collections.Counter()
        self._attention: collections.Counter[str] = collections.Counter()
        for node in self._nodes:
            before = self._dynamic(node)
            is_attention = node.op == "MatMul" and len(before) == 2
            for counts, counted in ((self._depth, self._is_weighted(node)), (self._attention, is_attention)):
                for tensor in node.outputs:
                    counts[tensor] = max((counts[name] for name in before), default=0) + counted

    def taps(self) -> dict[str, str]:
        sums = [node for node in self._nodes if self._is_sum(node)]
        of_maps = [node for node in sums if len(self._size(node)) == 2]
        of_tokens = [node for node in sums if len(self._size(node)) == 1]
        weighted = [node for node in self._nodes if self._is_weighted(node) and len(self._size(node)) == 2]
        if of_tokens and not of_maps:
            last = {self._size(node): node for node in of_tokens}
            closing = [last[size] for size in sorted(last, key=math.prod, reverse=True)]
            if len(closing) == 1:
                closing = self._quarters(of_tokens)
            return self._named((self._convolution(self._main(node)), node) for node in closing)
        pairs: list[tuple[str | None, Node | None]] = []
        closing_at = {self._size(node): node for node in of_maps}
        for size in sorted({self._size(node) for node in [*weighted, *of_maps]}, key=math.prod, reverse=True):
            total = closing_at.get(size)
            own = [node for node in weighted if self._size(node) == size and not self._opens_the_next(node)]
            if total is not None:
                pairs.append((self._convolution(self._main(total)), total))
            elif own and (not of_maps or any(self._is_grouped(node) for node in own)):
                pairs.append((self._normalised(own[-1]), None))
        return self._named(pairs)

    def _named(self, pairs: Iterable[tuple[str | None, Node | None]]) -> dict[str, str]:
        taps = {}
        for number, (convolution, total) in enumerate(pairs, start=1):
            if convolution is not None:
                taps[f"conv{number}"] = convolution
            if total is not None:
                taps[f"stage{number}"] = total.outputs[0]
        return taps

    def _dynamic(self, node: Node) -> list[str]:
        """Returns the inputs that depend on the image."""
        return [name for name in node.inputs if name in self._place or name == self._graph.input]

    def _size(self, node: Node) -> tuple[int, ...]:
        return self._sizes.get(node.outputs[0], ())

    def _maker(self, tensor: str) -> Node | None:
        return self._nodes[self._place[tensor]] if tensor in self._place else None

    def _is_weighted(self, node: Node) -> bool:
        """Tells whether a node is a convolution of a map, or a linear layer of every place of one or every token."""
        return node.op in ("Conv", "Gemm") and bool(self._size(node)) and len(self._dynamic(node)) == 1

    def _is_sum(self, node: Node) -> bool:
        both = self._dynamic(node)
        is_alike = {self._sizes.get(t) for t in both} == {self._sizes.get(node.outputs[0])}
        return node.op in ("Add", "Sum") and len(both) == 2 and is_alike and bool(self._size(node))

    def _main(self, total: Node) -> str:
        """Returns the branch of a sum that is no shortcut: the one with more convolutions, else the wider kernel."""

        def rank(branch: str) -> tuple[int, int, int]:
            node = self._maker(branch)
            if node is not None and node.op == "BatchNormalization":
                node = self._maker(node.inputs[0])
            is_convolution = node is not None and node.op == "Conv" and node.inputs[1] in self._graph.constants
            area = math.prod(self._graph.constants[node.inputs[1]].shape[2:]) if node and is_convolution else 0
            return self._depth[branch], area, self._place.get(branch, -1)

        return max(self._dynamic(total), key=rank)

    def _convolution(self, branch: str) -> str | None:
        """Returns what the last convolution of a branch gives, or the joined ones of a Concat; None without."""
        node = self._maker(branch)
        while node is not None and not self._is_weighted(node) and node.op != "Concat":
            if node.op not in _PASSING:
                return None
            node = self._maker(self._main(node) if self._is_sum(node) else self._ungated(node))
        return None if node is None else self._normalised(node)

    def _ungated(self, node: Node) -> str:
        """Returns the input that is carried on: of a product of a map and its gate, the map."""
        inputs = self._dynamic(node)
        whole = [name for name in inputs if self._sizes.get(name) == self._size(node)] or inputs
        gates = {name for name in whole if (maker := self._maker(name)) is not None and maker.op in _GATES}
        return max([name for name in whole if name not in gates] or whole, key=lambda name: self._depth[name])

    def _normalised(self, node: Node) -> str:
        """Returns the output of the batch normalisation behind a convolution, or the convolution's own."""
        followers = self._readers[node.outputs[0]]
        is_normalised = len(followers) == 1 and followers[0].op == "BatchNormalization"
        return followers[0].outputs[0] if is_normalised else node.outputs[0]

    def _is_grouped(self, node: Node) -> bool:
        return node.op == "Conv" and node.attributes.get("group", 1) > 1

    def _opens_the_next(self, node: Node) -> bool:
        """Tells whether a convolution widens a map for a strided depthwise one behind which it is narrowed again."""
        strided = self._next_weighted(node)
        if strided is None or not self._is_grouped(strided) or self._size(strided) == self._size(node):
            return False
        narrowed = self._next_weighted(strided)
        return narrowed is not None and self._width(narrowed) < self._width(node)

    def _width(self, node: Node) -> int:
        kernel = self._graph.constants[node.inputs[1]]
        return kernel.shape[0] if node.op == "Conv" else max(kernel.shape)

    def _next_weighted(self, node: Node) -> Node | None:
        """Returns the next convolution on the way on, past what works on values alone; None where ways part."""
        tensor = node.outputs[0]
        while True:
            followers = [n for n in self._readers[tensor] if self._size(n)]  # a gate's own network has no map
            weighted = [n for n in followers if self._is_weighted(n)]
            if len(weighted) == 1 and len(followers) == 1:
                return weighted[0]
            passing = {n.outputs[0] for n in followers if n.op in _PASSING and n not in weighted}
            if weighted or not passing:
                return None
            # An activation of several nodes, as x * sigmoid(x), or a gate: go on from where they meet.
            tensor = max(passing, key=lambda name: self._place[name])

    def _quarters(self, sums: list[Node]) -> list[Node]:
        """Returns the sums that close transformer blocks at a quarter, half, three quarters and the end."""
        # The first sum of a block adds attention, the second what a linear network made of it.
        ends = [
            node
            for node in sums
            if self._attention[self._main(node)] == min(self._attention[name] for name in self._dynamic(node))
        ] or sums
        chosen = [ends[math.ceil(len(ends) * quarter / _QUARTERS) - 1] for quarter in range(1, _QUARTERS + 1)]
        return list({node.outputs[0]: node for node in chosen}.values())
