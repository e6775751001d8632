"""Which tensors of a converted model are its taps: those that were found, and those of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mint_keras.audited import taps
from mint_keras.audited.convert.onnx import Converted
from mint_keras.records import InputError


def choose_taps(converted: Converted, own: Sequence[str]) -> dict[str, str]:
    """Returns the tensor of every tap, by name, the outcome last.

    Args:
        converted: A converted model.
        own: Taps as NAME=NODE, by node, tensor or layer name, beside those found or in their place.

    Raises:
        InputError: If one names nothing in the model.
    """
    # A network without taps that we know, such as a detector, gives its outputs.
    chosen = dict(converted.taps or converted.outputs)
    by_name = {tensor: tensor for tensor in converted.tensors}
    by_name |= {name: tensor for names in (converted.layers, converted.nodes) for tensor, name in names.items()}
    for choice in own:
        tap, _, place = choice.partition("=")
        if not tap.isidentifier() or place not in by_name:
            raise InputError(
                f"Expected --taps NAME=NODE with a node, tensor or layer of the model, received {choice!r}."
            )
        chosen[tap] = by_name[place]
    # Tables and runs show the taps in this order, from the image on.
    last = {tap: chosen.pop(tap) for tap in (taps.OUTCOME,) if tap in chosen}
    return {**chosen, **last}


def locate_taps(converted: Converted, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Returns what the manifest says of taps: where each of them is, in Keras and in the source."""
    places = {
        tap: {"layer": converted.layers[tensor], "node": converted.nodes[tensor], "tensor": tensor}
        for tap, tensor in chosen.items()
    }
    return {"taps": places, "is_iresnet": converted.is_iresnet}


def tap_rows(converted: Converted, chosen: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Returns a table of taps with its header: name, shape, layer, node, operations from the image to there."""
    rows: list[tuple[str, ...]] = [("tap", "shape", "layer", "node", "GFLOPs so far")]
    for tap, tensor in chosen.items():
        value = converted.tensors[tensor]
        flops = taps.flops(keras.Model(converted.model.input, value.tensor))
        shape = "x".join(str(size) for size in value.tensor.shape[1:])
        rows.append((tap, shape, converted.layers[tensor], converted.nodes[tensor], f"{flops / 1e9:.3f}"))
    return rows
