"""Are two faces one photo? Rough pictures say who may be, and laying one on the other says who is.

Cosines of a face network cannot: they are as high for two photos of one person. A copy that was cut, turned or shifted
a little lies on its original again, and then agrees with it in the large and in the small.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple, Self

import cv2
import numpy as np

from mint_keras import vectors

ROUGH, FINE = 24, 56  # sides of the pictures that are searched and that are laid on each other, in pixels
# Rough pictures of a copy and its original have a cosine above this for one of `VIEWS`: 0.84 at least, of 13,000 copies
# of LFW faces, altered in 13 ways. Of 7,606 LFW photos 1,467 pairs of others have, the most alike of 29 million.
MIN_COSINE = 0.82
# Copies are nearer after the best small move: 0.977 at least of 3,900 altered photos of LFW and UTKFace, 0.915 of 3,337
# that were altered twice, 0.866 of drawn faces squeezed one way between black bars. The rest need not be laid on each
# other: most pairs of others that are above MIN_COSINE.
MIN_PLACED = 0.85
# Scale, and shift in rough pixels: of these a copy is as good as one, for it is near one of them. Faces that another
# detector found are wider or tighter; a part of a photo is larger and lies elsewhere, and so is what it is a part of.
_SHIFTS = (-0.34, 0.34)
VIEWS = ((1.0, 0.0, 0.0), (0.93, 0.0, 0.0), (1.07, 0.0, 0.0),
         *((scale, right, down) for scale in (0.95, 1.05) for right in _SHIFTS for down in _SHIFTS))  # fmt: skip
_MAX_FREQUENCY = 9  # of rough pictures, in half turns
_QUIET = 4.0  # grey levels: less is noise, and no contrast
# A little below what copies reach: on half of LFW's people one in a thousand agreed by less than 0.991, or 0.757 in
# detail; of other photos that are most alike one in a thousand agreed by more than 0.964 (scripts/measure_copies.py).
_MIN_WHOLE, _MIN_DETAIL = 0.98, 0.7
_HOPEFUL = 0.95  # one way, and the other may be better
_BLUR, _MARGIN = 5, 5  # pixels
_MIN_SHARED = 0.5  # of the pictures must lie on each other
_FEW = 8  # photos more of no contrast at all, so that a handful has a mean as well
# Of `details`, in one of `VIEWS`: 900 or more of 901 photos of LFW reach it with a copy, altered in 13 ways, blurred
# or shrunk to 24 pixels; so do 6 of 901 pairs of one person's photos, and none of two people's.
_ALIKE = 0.9
_FINEST, _COARSEST = 0.7, 3.0  # pixels
_ROWS = 1024  # compared with all at once: a folder of one person may hold everything
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)  # copies need no more


def moved(
    picture: np.ndarray, scale: float = 1.0, right: float = 0.0, down: float = 0.0, turn: float = 0.0
) -> np.ndarray:
    """Scales a picture about its middle, turns it by degrees, and shifts it by pixels; borders are mirrored."""
    height, width = picture.shape[:2]
    matrix = _placement(width, height, scale, right, down, turn)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _placement(width: int, height: int, scale: float, right: float, down: float, turn: float = 0.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
    matrix[:, 2] += (right, down)
    return matrix


def grey(faces: np.ndarray, side: int) -> np.ndarray:
    """Returns small grey pictures of RGB faces, uint8, from (n, height, width, 3) to (n, side, side)."""
    shrunk = [cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
              for face in faces]  # fmt: skip
    return np.stack(shrunk)


def details(rough: np.ndarray) -> np.ndarray:
    """Returns what rough pictures, (n, 24, 24), show besides light and shade: the same shape, float32."""
    seen = (picture.astype(np.float32) for picture in rough)
    return np.stack([cv2.GaussianBlur(one, (0, 0), _FINEST) - cv2.GaussianBlur(one, (0, 0), _COARSEST) for one in seen])


def distinct(rough: np.ndarray) -> np.ndarray:
    """Says which rough pictures of one person, (n, 24, 24), are no copies of an earlier one: shape (n,), bool.

    It is quicker than `is_copy`, and takes for copies also what is blurred, faded or a video's next picture.
    """
    seen, near = details(rough), np.zeros((len(rough), len(rough)), bool)
    ways = [vectors.unit_rows(way.reshape(len(rough), -1), np.float32) for way in (seen, seen[:, :, ::-1])]
    for view in VIEWS if len(rough) > 1 else ():
        rows = vectors.unit_rows(np.stack([moved(one, *view).ravel() for one in seen]), np.float32)
        for way, at in itertools.product(ways, range(0, len(rows), _ROWS)):
            near[at : at + _ROWS] |= rows[at : at + _ROWS] @ way.T >= _ALIKE
    near |= near.T
    is_distinct = np.ones(len(rough), bool)
    for row in range(1, len(rough)):
        is_distinct[row] = not (near[row, :row] & is_distinct[:row]).any()
    return is_distinct


class Scale(NamedTuple):
    """What rough pictures have in common, which would outweigh the rest: mean and spread of each frequency, (d,)."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, rough: np.ndarray) -> Self:
        """Takes it of a sample of rough pictures, (n, 24, 24)."""
        spectra = _spectra(rough)
        mean = spectra.sum(axis=0) / (len(rough) + _FEW)
        return cls(mean, np.sqrt(np.square(spectra - mean).mean(axis=0)) + np.float32(1e-6))

    def describe(self, rough: np.ndarray, views: Sequence[tuple[float, float, float]] = VIEWS[:1]) -> np.ndarray:
        """Returns what rough pictures, (n, 24, 24), are searched by: unit rows, (n, views, d), float32."""
        seen = (_spectra(np.stack([moved(picture, *view) for picture in rough]) if view != VIEWS[0] else rough)
                for view in views)  # fmt: skip
        return np.stack([vectors.unit_rows((one - self.mean) / self.spread, np.float32) for one in seen], axis=1)

    def ways(self, rough: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns rough pictures, (n, 24, 24), and them mirrored, each with what it is searched by, (n, d)."""
        return [(one, self.describe(one)[:, 0]) for one in (rough, rough[:, :, ::-1])]

    def planes(self, rough: np.ndarray) -> np.ndarray:
        """Returns what small moves make of rough pictures, to first order: orthonormal rows, (n, 7, d), float32."""
        along = np.linspace(-1, 1, ROUGH, dtype=np.float32)
        slopes = np.asarray(np.gradient(rough.astype(np.float32), axis=(1, 2)))
        moves = [_spectra(slope * weight) / self.spread for slope in slopes for weight in (1, along, along[:, None])]
        rows = np.stack([(_spectra(rough) - self.mean) / self.spread, *moves], axis=2)
        return np.linalg.qr(rows)[0].swapaxes(1, 2).astype(np.float32)


def _spectra(seen: np.ndarray) -> np.ndarray:
    from scipy.fft import dctn  # slow to load

    frequency = np.hypot(*np.meshgrid(np.arange(ROUGH), np.arange(ROUGH)))
    edge = np.sqrt(np.sin(np.pi * (np.arange(ROUGH) + 0.5) / ROUGH))  # what lies there is lost first
    level = seen - seen.mean((1, 2), keepdims=True, dtype=np.float32)
    level *= np.outer(edge, edge).astype(np.float32) / (level.std((1, 2), keepdims=True) + _QUIET)
    return dctn(level, axes=(1, 2), norm="ortho")[:, (frequency > 0) & (frequency <= _MAX_FREQUENCY)]


def is_copy(first: np.ndarray, second: np.ndarray) -> bool:
    """Says whether one picture is the other, perhaps mirrored; both grey, (56, 56), uint8."""
    whole, detail = agreement(first, second, _HOPEFUL)
    # Where the larger one is drawn smaller, detail is lost.
    if whole > _HOPEFUL and not (whole > _MIN_WHOLE and detail > _MIN_DETAIL):
        whole, detail = agreement(second, first, _HOPEFUL)
    return whole > _MIN_WHOLE and detail > _MIN_DETAIL


def agreement(first: np.ndarray, second: np.ndarray, least: float = -1.0) -> tuple[float, float]:
    """Lays one picture on the other, perhaps mirrored; returns the correlations of both, and of their fine detail.

    Detail is not looked at, and 0, where the whole does not correlate by more than `least`.
    """
    # Laying them on each other begins where they are most alike; from elsewhere it may end badly.
    placements, *maps = _views()
    ways = [second, np.ascontiguousarray(second[:, ::-1])]
    seen = np.stack([cv2.remap(other, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101) for other in ways])
    level = seen.reshape(len(ways) * len(VIEWS), -1).astype(np.float32)
    level -= level.mean(axis=1, keepdims=True)
    # Not by `@`, whose threads wait for one another, and whose sums depend on their number.
    alike = np.einsum("ij,j", level, first.ravel() - first.mean(dtype=np.float32))
    way, view = divmod(int((alike / (np.linalg.norm(level, axis=1) + 1)).argmax()), len(VIEWS))
    second, start = ways[way], cv2.invertAffineTransform(placements[view]).astype(np.float32)
    try:
        _, matrix = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, _STEPS, None, _BLUR)
    except cv2.error:  # it did not converge, or a picture is flat
        return 0.0, 0.0
    placed, inside = (
        cv2.warpAffine(picture, matrix, (FINE, FINE), flags=how | cv2.WARP_INVERSE_MAP)
        for picture, how in ((second, cv2.INTER_LINEAR), (np.ones_like(second), cv2.INTER_NEAREST))
    )
    shared = cv2.erode(inside, np.ones((_MARGIN, _MARGIN), np.uint8), borderValue=0) > 0
    if shared.mean() < _MIN_SHARED:
        return 0.0, 0.0
    pair = [picture.astype(np.float32) for picture in (first, placed)]
    if (whole := _correlation(*(picture[shared] for picture in pair))) <= least:
        return whole, 0.0
    details = [cv2.GaussianBlur(picture, (0, 0), 1) - cv2.GaussianBlur(picture, (0, 0), 4) for picture in pair]
    return whole, _correlation(*(picture[shared] for picture in details))


@functools.cache
def _views() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Returns the placements of `VIEWS` in fine pictures, and one map of `cv2.remap` that draws all below each other.

    To the bit as `cv2.warpAffine` would, whose own map this is: in pixels and 32nds of them.
    """
    placements = [_placement(FINE, FINE, scale, right * FINE / ROUGH, down * FINE / ROUGH)
                  for scale, right, down in VIEWS]  # fmt: skip
    back = np.stack([cv2.invertAffineTransform(matrix) for matrix in placements])[:, :, None, :]
    along = np.arange(FINE)
    rows = np.rint((back[..., 1] * along + back[..., 2]) * 1024).astype(int) + 16
    at = (np.rint(back[..., 0] * along * 1024).astype(int)[:, :, None] + rows[..., None]) // 32
    right, down = at.reshape(len(VIEWS), 2, -1).swapaxes(0, 1).reshape(2, -1, FINE)
    within = (down % 32 * 32 + right % 32).astype(np.uint16)
    return placements, np.stack([right // 32, down // 32], axis=2).astype(np.int16), within


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(vectors.cosines((first - first.mean())[None], (second - second.mean())[None])[0])
