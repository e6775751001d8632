"""What has to be said before libraries load; whoever has said otherwise is left alone."""

import os
import sys
from pathlib import Path

_DEFAULTS = {
    # A small file may claim to be a huge image; what OpenCV cannot read we report.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(2**26),
    "OPENCV_LOG_LEVEL": "ERROR",
    # Notices would bury the one line that matters to the user.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray would report its use over the network, and asks for tokens that a Ray of one's own needs not.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}

# Scripts run from a clone, without installing the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ})
