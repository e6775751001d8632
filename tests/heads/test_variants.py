"""The heads of Table 7: sizes, layers, and what they refuse."""

import typing
from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras import formats
from mint_keras.heads import cnn, specs, variants
from mint_keras.records import InputError

CONV1 = {"conv1": (56, 56, 64)}  # of an R100
LITERAL = 2_871_489
SMALL = [name for name in specs.HEADS if name not in ("vanilla", "resnet50", "vit")]


@pytest.mark.parametrize(
    ("name", "filters", "parameters", "times"),
    [("cnn_third", 21, 942_294, 1 / 3), ("cnn_x3", 192, 8_614_209, 3), ("cnn_x10", 640, 28_713_729, 10)],
)
def test_the_whole_cnn_grows_with_its_filters(name: str, filters: int, parameters: int, times: float) -> None:
    head = specs.find(name).build(CONV1)
    assert head.count_params() == parameters
    assert parameters / LITERAL == pytest.approx(times, rel=0.02)
    conv = head.get_layer("conv1_conv")
    assert conv.filters == filters
    assert conv.count_params() / (64 * (64 * 25 + 1)) == pytest.approx(times, rel=0.02)
    assert head.get_layer("hidden").units == 64


@pytest.mark.parametrize(
    ("name", "parameters", "whole", "printed", "tolerance"),
    [
        ("cnn_counted_third", 640, 2_986_753, 580, 0.11),
        ("cnn_counted", 1_664, 2_770_689, 1_700, 0.03),
        ("cnn_counted_x3", 4_992, 8_311_809, 5_000, 0.01),
        ("cnn_counted_x10", 18_304, 30_476_289, 18_000, 0.02),
    ],
)
def test_counted_convolutions(name: str, parameters: int, whole: int, printed: int, tolerance: float) -> None:
    head = specs.find(name).build(CONV1)
    assert head.get_layer("conv1_conv").count_params() == parameters
    assert parameters == pytest.approx(printed, rel=tolerance)
    assert head.count_params() == whole
    assert [type(layer).__name__ for layer in head.layers] == [
        "InputLayer", "DepthwiseConv2D", "MaxPooling2D", "Flatten", "Dense", "Dropout", "Dense", "Activation",
    ]  # fmt: skip


@pytest.fixture
def zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are counted, and need not be drawn."""

    def zero(_: object, shape: tuple[int, ...], dtype: str | None = None) -> object:
        return keras.ops.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zero)


@pytest.mark.slow
@pytest.mark.usefixtures("zeros")
def test_resnet50_and_with_a_quarter_of_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    full = specs.find("resnet50").build(CONV1)
    monkeypatch.setattr(variants, "build_resnet50", lambda shapes: full)  # is built once, and narrowed
    reduced = specs.find("resnet50_reduced").build(CONV1)
    # Keras' own has 25,636,712: 1,000 classes of 2,048 features in place of 1, and 3 channels in place of 64.
    assert full.count_params() == 25_636_712 - 999 * 2049 + 61 * 7 * 7 * 64
    assert reduced.count_params() == 1_549_233
    assert [layer.name for layer in full.layers] == [layer.name for layer in reduced.layers]
    convolutions = [layer.name for layer in full.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 53
    for name in convolutions:
        assert full.get_layer(name).filters == 4 * reduced.get_layer(name).filters
    assert min(reduced.get_layer(name).filters for name in convolutions) == 16


def test_reduced_counts() -> None:
    assert specs.find("vit_reduced").build(CONV1).count_params() == 1_324_033


@pytest.mark.usefixtures("zeros")
def test_vit_counts() -> None:
    head = specs.find("vit").build(CONV1)
    block = 4 * (768 * 768 + 768) + 2 * 4 * 768 * 768 + 5 * 768 + 4 * 768
    embedding = (4 * 4 * 64) * 768 + 14 * 14 * 768
    assert head.count_params() == 12 * block + embedding + 2 * 768 + 769 == 85_993_729


@pytest.mark.parametrize(
    ("shape", "most", "tokens", "numbers"),
    [((56, 56, 4), 14, 196, 64), ((7, 7, 4), 14, 49, 4), ((7, 7, 4), 7, 49, 4), ((5, 8, 3), 3, 6, 27)],
)
def test_patches_are_squares_of_the_maps(shape: tuple[int, ...], most: int, tokens: int, numbers: int) -> None:
    x = keras.Input(shape)
    model = keras.Model(x, variants._patches(x, most))
    maps = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    found = np.array(model(maps))[0]
    assert found.shape == (tokens, numbers)
    side = -(-max(shape[:2]) // most)
    rows, columns = -(-shape[0] // side), -(-shape[1] // side)
    padded = np.pad(maps[0], ((0, rows * side - shape[0]), (0, columns * side - shape[1]), (0, 0)))
    expected = [
        padded[r * side : (r + 1) * side, c * side : (c + 1) * side].ravel()
        for r in range(rows)
        for c in range(columns)
    ]
    np.testing.assert_array_equal(found, expected)


def test_vit_knows_where_a_patch_lies() -> None:
    keras.utils.set_random_seed(1)
    head = specs.find("vit_reduced").build({"conv4": (7, 7, 16)})
    maps = np.random.default_rng(1).normal(size=(1, 7, 7, 16)).astype("f4")
    logits = keras.Model(head.input, head.get_layer("logit").output)
    there, elsewhere = logits({"conv4": maps}), logits({"conv4": maps[:, ::-1]})
    assert abs(float(there[0, 0] - elsewhere[0, 0])) > 1e-4
    embedding = head.get_layer("embedding")
    embedding.bias.assign(np.zeros(embedding.bias.shape))
    np.testing.assert_allclose(logits({"conv4": maps}), logits({"conv4": maps[:, ::-1]}), atol=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "resnet50_reduced" else name for name in SMALL]
)
def test_saved_heads_give_the_same_scores(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    head = specs.find(name).build({"conv4": (7, 7, 16)})
    maps = np.random.default_rng(0).normal(size=(5, 7, 7, 16)).astype("f4")
    formats.save_model(tmp_path / "head.keras", head)
    loaded = keras.saving.load_model(tmp_path / "head.keras", compile=False, safe_mode=True)
    both = keras.Model(loaded.input, [loaded.get_layer("logit").output, loaded.get_layer("score").output])
    logit, score = both({"conv4": maps})
    np.testing.assert_array_equal(score, head({"conv4": maps}))
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-np.array(logit))), rtol=1e-5)
    assert np.ptp(logit) > 0


@pytest.mark.parametrize("name", ["resnet50_reduced", "vit_reduced"])
def test_networks_take_one_tap_of_maps(name: str) -> None:
    with pytest.raises(InputError, match="vanilla"):
        specs.find(name).build({"outcome": (512,)})
    with pytest.raises(InputError, match="one tap"):
        specs.find(name).build({"conv3": (14, 14, 16), "conv4": (7, 7, 16)})


def test_a_small_kernel_needs_smaller_maps() -> None:
    assert specs.find("cnn_counted_third").build({"conv4": (4, 4, 16)}).count_params() > 0
    for name, shape in (("cnn_counted_third", (3, 3, 16)), ("cnn_counted", (5, 5, 16)), ("cnn_x3", (512,))):
        with pytest.raises(InputError, match=f"of shape .{shape[0]}"):
            specs.find(name).build({"conv4": shape})


def test_every_name_has_a_head() -> None:
    assert typing.get_args(specs.HeadName) == tuple(specs.HEADS)
    assert {name: spec.epochs for name, spec in specs.HEADS.items() if spec.epochs != cnn.EPOCHS} == {"vanilla": 20}
    with pytest.raises(InputError, match=r"cnn_x10.*received 'transformer'"):
        specs.find("transformer")
