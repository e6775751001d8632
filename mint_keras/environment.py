"""What has to be said to other libraries before they load; whoever has said otherwise is left alone."""

import os

_DEFAULTS = {
    # ONNX Runtime's wheel would look up a host that counts its users, and keep a database under ~/.cache.
    "ORT_DISABLE_TELEMETRY": "1",
    # A small file may claim to be a huge image: the limit is checked before decoding. What OpenCV cannot read we say.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(2**26),
    "OPENCV_LOG_LEVEL": "ERROR",
    # Notices would bury the one line that matters to the user.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray would report its use over the network, and asks for tokens that a Ray of one's own needs not.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}


def prepare() -> None:
    """Sets the environment of this process, and so of the workers that it starts."""
    os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ})
