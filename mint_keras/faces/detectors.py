"""What finds faces: files (ONNX, TFLite, Keras) run by our code, insightface's packs by its own, or MediaPipe's.

SCRFD is what audited models' training crops were made with; MediaPipe's lies on the shelf, since it may be passed on.
"""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from mint_keras import formats, shelf
from mint_keras.borders import reading
from mint_keras.environment import hidden_notices
from mint_keras.faces import mediapipe, scrfd
from mint_keras.records import InputError

INSIGHTFACE = "insightface:"
PACKS = Path.home() / ".insightface" / "models"
# What files of SCRFD consist of, and their other exports may.
_OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "Div", "Flatten", "Floor",
    "Gather", "GlobalAveragePool", "Identity", "LeakyRelu", "MaxPool", "Mul", "PRelu", "ReduceMean", "Relu", "Reshape",
    "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Upsample",
}  # fmt: skip
Detector = Callable[[np.ndarray], scrfd.Detections]


def find_file(detector: str) -> Path:
    """Returns the file that a detector's name stands for; nothing is downloaded.

    The name is that of an SCRFD file (`.onnx`, or `.tflite` of a bundle), of a folder in which convert_fr.py wrote one,
    `insightface:buffalo_l` for an installed pack, or `mediapipe` for the shelf's (see `faces.mediapipe`), whose
    manifest stands for its files.

    Raises:
        InputError: if there is no such file, or the folder or pack holds no detector.
        RefusedError: if a model is not the one that its manifest describes.
    """
    if detector == mediapipe.NAME:
        folder = shelf.path(mediapipe.NAME)
        for name, expected in formats.read_json(folder / formats.MANIFEST)["files"].items():
            formats.check_sha256(folder / name, expected)
        return folder / formats.MANIFEST
    if not detector.startswith(INSIGHTFACE):
        path = Path(detector).expanduser()
        if path.is_dir():
            formats.read_checked_manifest(path, formats.FACE_DETECTOR, formats.MODEL)
            return path / formats.MODEL
        if not path.is_file():
            raise InputError(
                f"Expected {mediapipe.NAME}, an SCRFD file (.onnx) or insightface:PACK, received {detector}: not found."
            )
        return path
    name = detector.removeprefix(INSIGHTFACE)
    folder = Path(name) if Path(name).is_dir() else PACKS / name
    for path in sorted(folder.glob("*.onnx")):
        with contextlib.suppress(InputError):  # the pack's other models, which consist of other operators
            if len(open_session(path).get_outputs()) in scrfd.NUM_OUTPUTS:
                return path
    raise InputError(f"Expected insightface's pack {name} with a detector in {folder}, received none; get it by hand.")


def open_detector(detector: str, min_score: float = scrfd.MIN_SCORE) -> Detector:
    """Returns a function from a photo (RGB, uint8) to its faces of at least a score, by a name as `find_file` takes it.

    Files are run by our code, an insightface pack by insightface itself.

    Raises:
        InputError: if it is not SCRFD with landmarks.
    """
    path = find_file(detector)
    with reading(f"a {path.suffix.strip('.')} file of SCRFD with landmarks in {path}"):
        network = _network(path, detector, min_score)

    def detect(image: np.ndarray) -> scrfd.Detections:
        # What is none gives outputs of any shape, or fails when it runs.
        with reading(f"SCRFD with landmarks in {path}"):
            return network(image)

    return detect


def _network(path: Path, detector: str, min_score: float) -> Detector:
    if detector == mediapipe.NAME:
        return mediapipe.open_detector(path.parent, min_score)
    if path.name == formats.MODEL:
        with hidden_notices():
            import keras  # only those who convert a detector need it

        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        ordered = _ordered(model.output, path)

        def converted(canvas: np.ndarray) -> list[np.ndarray]:
            # Converted models take (x - 127.5) / 127.5, whatever their file wanted.
            outputs = model.predict_on_batch((canvas[None].astype(np.float32) - 127.5) / np.float32(127.5))
            return [outputs[name] for name in ordered]

        return lambda image: scrfd.detect(image, converted, model.input_shape[1], min_score)
    if detector.startswith(INSIGHTFACE):
        from insightface.model_zoo.scrfd import SCRFD

        session = open_session(path)
        _with_landmarks([entry.name for entry in session.get_outputs()], path)
        pack = SCRFD(session=session)

        def detect(image: np.ndarray) -> scrfd.Detections:
            # One size of input, as insightface has it: crops are to be equal to those of its own code.
            size = (scrfd.INPUT_SIZE, scrfd.INPUT_SIZE)
            boxes, landmarks = pack.detect(image[:, :, ::-1], input_size=size, det_thresh=min_score)
            return scrfd.Detections(boxes[:, :4], boxes[:, 4], landmarks)

        return detect
    network, side = litert_network(path) if path.suffix == ".tflite" else onnx_network(path)
    return lambda image: scrfd.detect(image, network, side, min_score)


def with_border(detector: Detector, border: float) -> Detector:
    """Returns a detector that sees photos in a black border, a share of their sides, to find faces that fill them."""

    def detect(image: np.ndarray) -> scrfd.Detections:
        above, beside = (round(border * side) for side in image.shape[:2])
        faces = detector(np.pad(image, ((above, above), (beside, beside), (0, 0))))
        shift = np.array([beside, above], np.float32)
        landmarks = None if faces.landmarks is None else faces.landmarks - shift
        return scrfd.Detections(faces.boxes - np.tile(shift, 2), faces.scores, landmarks)

    return detect if border else detector


def onnx_network(path: Path) -> tuple[scrfd.Network, int]:
    """Returns an ONNX file of SCRFD in the form that `scrfd.detect` takes, and the side of its input in pixels."""
    session = open_session(path)
    names = _with_landmarks([entry.name for entry in session.get_outputs()], path)
    entry = session.get_inputs()[0]
    side = entry.shape[2] if isinstance(entry.shape[2], int) else scrfd.INPUT_SIZE
    return lambda canvas: session.run(names, {entry.name: scrfd.to_blob(canvas)}), side


def litert_network(path: Path, threads: int = 1) -> tuple[scrfd.Network, int]:
    """Returns a TFLite file of SCRFD as `onnx_network` does, run on so many threads."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    run = interpreter.get_signature_runner()
    names = _ordered(run.get_output_details(), path)
    ((entry, details),) = run.get_input_details().items()

    def network(canvas: np.ndarray) -> list[np.ndarray]:
        assert interpreter  # noqa: S101 # kept alive
        pixels = canvas[None]
        if details["dtype"] != np.uint8:  # those of uint8 scale the pixels themselves
            pixels = (pixels.astype(np.float32) - 127.5) / np.float32(127.5)
        outputs = run(**{entry: pixels})
        return [outputs[name] for name in names]

    return network, int(details["shape"][1])


def _ordered(outputs: Iterable[str], path: Path) -> list[str]:
    """Returns the names of SCRFD's outputs in the network's order."""
    names = [f"{role}_{stride}" for role in scrfd.ROLES for stride in scrfd.STRIDES]
    return _with_landmarks([name for name in names if name in set(outputs)], path)


def _with_landmarks(names: list[str], path: Path) -> list[str]:
    if len(names) not in (9, 15):
        raise InputError(f"Expected SCRFD with landmarks (9 or 15 outputs), received {path} with {len(names)}.")
    return names


def open_session(path: Path):  # type: ignore[no-untyped-def] # onnxruntime has no types, and is imported only here
    """Returns an ONNX Runtime session of one thread; InputError without ONNX Runtime."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:  # on a laptop
        raise InputError(
            f"Expected ONNX Runtime to run {path}, received an environment without: leave --detector out (the one that "
            "comes along needs nothing), or pip install onnxruntime, or export a bundle with --detector."
        ) from error
    _check_operators(path)
    settings = onnxruntime.SessionOptions()
    # One thread: the work is spread over processes, and results do not depend on their number.
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    # Fatal errors only: the others come as exceptions, whose message is ours.
    settings.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        reason = " ".join(str(error).split())
        raise InputError(f"Expected a detector that ONNX Runtime runs, received {path}: {reason}") from error


def _check_operators(path: Path) -> None:
    """Refuses what no SCRFD file has: functions, loops and makers of constants, by which few bytes run for ever."""
    try:
        import onnx
    except ImportError:  # on a laptop, whose bundles have detectors of their own
        return
    with reading(f"a detector in {path}"):
        model = onnx.load(path, load_external_data=False)
        if odd := sorted({node.op_type for node in model.graph.node} - _OPERATORS | {f.name for f in model.functions}):
            raise InputError(f"Expected a detector of {sorted(_OPERATORS)}, received {path} with {odd[:9]}.")
