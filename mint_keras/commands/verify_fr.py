"""Face verification with a converted model, or with the file it came from: is the converted model the model?

Prints accuracy (threshold chosen on the other folds), AUC, and the true-accept rate at false-accept rates. Run it on
both and compare; a checkpoint (.pth) counts as verified only after this. A network recognises people through wrong
colours and scalings almost as well, so it is also shown the faces in all usual ways, ranked by what can tell them
apart: the statistics of its first batch normalisation, or else how far apart pairs of one and of two people are.

Example:
    python scripts/verify_fr.py --model models/fr1 --pairs lfw.bin
    python scripts/verify_fr.py --onnx w600k_r50.onnx --pairs pairs.txt --images lfw-aligned
"""

import dataclasses
from pathlib import Path
from typing import Any

from mint_keras import formats
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError

KIND = "verification"


@dataclasses.dataclass(frozen=True)
class VerifyFr(Common):
    """Options of verify_fr.py.

    Attributes:
        pairs: insightface's verification file (.bin), LFW's pairs.txt, or a CSV of path, path, 0 or 1.
        model: An audited model: a folder of convert_fr.py or train_audited.py.
        onnx: The file itself instead, in any format that convert_fr.py takes, run by its own runtime.
        images: Folder of the aligned images that a pairs file names; its own by default.
        out: Folder for verification.json; by default the converted model's own, else runs/verification-<name>.
        card: Card that says how --onnx wants its pixels, a name of models/cards or a YAML file; by default the card
            that knows the file's SHA-256, or insightface's rule.
        pixels: How --onnx wants its pixels, such as "RGB, 0..1", see convert_fr.py.
        mean: Mean of the pixels that --onnx wants, see convert_fr.py.
        std: Standard deviation of the pixels that --onnx wants, see convert_fr.py.
        flip: Add the embedding of the mirrored face, as arcface_torch's evaluation does; twice the time.
        num_ranked: Pairs of each kind that rank the ways of scaling pixels, of which there are eight; 0 for none.
    """

    pairs: Path
    model: Path | None = None
    onnx: Path | None = None
    images: Path | None = None
    out: Path | None = None
    card: str = ""
    pixels: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flip: bool = False
    num_ranked: int = 300


@dataclasses.dataclass(frozen=True)
class FaceVerification(Result):
    """The content of verification.json, and whether the model recognises faces as well as such a model does."""

    record: dict[str, Any]
    is_passed: bool
    out: Path


def verify_fr(config: VerifyFr) -> FaceVerification:
    """Embeds both faces of every pair and reports how well their distance tells the same person from another."""
    if (config.model is None) == (config.onnx is None):
        raise InputError("Expected either --model or --onnx, received both or neither.")
    from mint_keras.audited import embedding
    from mint_keras.audited.convert import claims
    from mint_keras.auditing import pixel_ranking
    from mint_keras.data import pairs
    from mint_keras.statistics import verification

    table = pairs.read_pairs(config.pairs, config.images)
    if config.model is not None:
        model = embedding.open_model(config.model)
    else:
        assert config.onnx is not None  # noqa: S101 # one of the two is there
        model = embedding.open_onnx(config.onnx, config.card, config.pixels, config.mean, config.std)
    # Keras and ONNX Runtime give almost the same figures, and both may be wanted: who ran it is part of the identity.
    identity = {"model_sha256": model.sha256, "runtime": model.runtime}
    digest = formats.sha256_file(config.pairs)
    # A model that was trained here has a verification.json of its own training.
    is_converted = config.model is not None and (config.model / formats.PARITY).is_file()
    out = config.out or (config.model if is_converted else None) or Path("runs") / f"verification-{model.name}"
    embeddings = embedding.embed_all(model.embed, table.images, config.flip, model.framing)
    result = verification.verify(embeddings[table.first], embeddings[table.second], table.genuine, table.folds)
    ranked = pixel_ranking.rank(model, table, config.num_ranked)
    told = {"pairs_sha256": digest, "pairs": config.pairs.name, "flip": config.flip, "pixels": ranked}
    record = {**result, **identity, **told}
    if is_converted and out == config.model:
        formats.write_json(out / formats.VERIFICATION, record)
        claims.add_verification(out, record)
    else:
        manifest = formats.make_manifest(KIND, {**identity, "pairs": digest}, {"flip": config.flip})
        with formats.output_folder(out, manifest, config.overwrite):
            formats.write_json(out / formats.VERIFICATION, record)
    rates = ", ".join(
        f"{100 * value:.2f}% at FAR {key.removeprefix('tar_at_far_')}"
        for key, value in record.items()
        if key.startswith("tar_at_far_") and value is not None
    )
    lines = [
        f"{model.name} ({model.runtime}), {record['num_pairs']} pairs: accuracy {record['accuracy']:.4f} "
        f"+- {record['accuracy_std']:.4f}, AUC {record['auc']:.4f}, TAR {rates}",
        *pixel_ranking.describe(ranked),
        str(out / formats.VERIFICATION),
    ]
    is_recognised = record["accuracy"] >= claims.MIN_ACCURACY
    if not is_recognised:
        lines.append(
            f"Below {claims.MIN_ACCURACY}: not verified. Wrong scaling of pixels (--mean, --std, --card of "
            "convert_fr.py), faces that are not aligned, or a weak model are the usual reasons."
        )
    return FaceVerification("\n".join(lines), record, is_recognised and not ranked["is_wrong"], out)
