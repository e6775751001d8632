"""Scripts run from a clone, without installing the package."""

import _clone  # noqa: F401
