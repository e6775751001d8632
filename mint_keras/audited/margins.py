"""ArcFace and CosFace: softmax over cosines with a margin on the true class.

Source: insightface `recognition/arcface_torch/losses.py` (CombinedMarginLoss): the logit of the true class is
scale * (cos(theta + angular) - additive), the others are scale * cos(theta).
"""

import dataclasses

import keras
from keras import ops

# The gradient of sin(theta) = sqrt(1 - cos^2) is infinite at |cos| = 1.
_MAX_COSINE = 1.0 - 1e-6


@dataclasses.dataclass(frozen=True)
class Margin:
    """One margin setting: `angular` radians (ArcFace), `additive` in cosine (CosFace)."""

    angular: float = 0.0
    additive: float = 0.0


MARGINS: dict[str, Margin] = {"arcface": Margin(angular=0.5), "cosface": Margin(additive=0.4)}


class CosineClassifier(keras.layers.Layer):
    """Cosines between embeddings and one learned centre per class; used in training, never saved with the model."""

    def __init__(self, num_classes: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Creates the centres, shape (embedding_size, num_classes)."""
        shape, initializer = (input_shape[-1], self.num_classes), keras.initializers.RandomNormal(stddev=0.01)
        self.centres = self.add_weight(shape=shape, initializer=initializer, name="centres")

    def call(self, embeddings: keras.KerasTensor) -> keras.KerasTensor:
        """Returns cosines, shape (batch, num_classes)."""
        return ops.matmul(ops.normalize(embeddings, axis=-1), ops.normalize(self.centres, axis=0))


class MarginLoss(keras.losses.Loss):
    """Cross-entropy of cosines, with a margin on the true class, times a scale (64 in the released models)."""

    def __init__(self, margin: Margin, scale: float = 64.0) -> None:
        super().__init__(name="margin_loss")
        self.margin = margin
        self.scale = scale

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Returns one loss per sample, from labels (batch,) and cosines (batch, num_classes)."""
        cosines = ops.clip(y_pred, -_MAX_COSINE, _MAX_COSINE)
        true_class = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), ops.shape(y_pred)[-1])
        penalised = cosines
        if self.margin.angular:
            sines = ops.sqrt(1.0 - ops.square(cosines))
            penalised = cosines * ops.cos(self.margin.angular) - sines * ops.sin(self.margin.angular)
        logits = cosines + true_class * (penalised - self.margin.additive - cosines)
        return ops.categorical_crossentropy(true_class, self.scale * logits, from_logits=True)
