"""Draws one face from the parameters of a person and of a scene, as polygons on 8-bit pixels.

Face coordinates: the origin lies between the eyes, x points right, y down, and the eyes are about one unit from it;
z points to the viewer, so that turning the head moves the nose against the outline of the face.
"""

import math

import cv2
import numpy as np

Colour = tuple[int, ...]  # red, green, blue
_Pair = tuple[float, float]

# cv2's fixed-point coordinates: sixteenths of a pixel. Polygons on 8-bit pixels are the same on every processor.
_SHIFT = 4
_CIRCLE = np.array([(math.cos(2 * math.pi * k / 32), math.sin(2 * math.pi * k / 32)) for k in range(32)])
# From left to right across a mouth, a brow or a fringe.
_HALF = np.linspace(-1.0, 1.0, 13)
_DOWN = np.array([0.0, 1.0])
SIZE = 112
_RAMP = np.linspace(-1.0, 1.0, SIZE, dtype=np.float32)

SKIN_TONES = ((255, 224, 196), (241, 194, 160), (224, 172, 125), (198, 134, 88), (141, 85, 54), (92, 58, 40))
HAIR_COLOURS = ((24, 20, 18), (58, 38, 26), (96, 62, 36), (140, 98, 54), (196, 160, 96), (150, 66, 34), (150, 148, 146))
IRIS_COLOURS = ((60, 36, 20), (98, 64, 34), (96, 110, 60), (70, 110, 150), (110, 130, 140))
HAIR_STYLES = ("bald", "short", "fringe", "parting", "long", "curly", "receding")


class Person:
    """What stays the same in all photos of a person; lengths in face units, see the module."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.random(32)  # all at once: a further trait takes a number of its own and changes no other

        def between(k: int, low: float, high: float) -> float:
            return float(low + (high - low) * u[k])

        place = float(u[4]) * (len(SKIN_TONES) - 1)
        low = min(int(place), len(SKIN_TONES) - 2)
        self.skin = _vary(_blend(SKIN_TONES[low], SKIN_TONES[low + 1], place - low), u[5:8], 8)
        self.hair = _vary(HAIR_COLOURS[int(u[0] * len(HAIR_COLOURS))], u[1:4], 24)
        self.iris = _vary(IRIS_COLOURS[int(u[8] * len(IRIS_COLOURS))], u[1:4], 20)
        self.hair_style = HAIR_STYLES[int(u[9] * len(HAIR_STYLES))]
        self.eye_distance = between(10, 0.86, 1.14)
        self.eye_size = between(11, 0.28, 0.44)
        self.eye_tilt = between(12, -0.10, 0.10)
        self.brow_height = between(13, 0.42, 0.66)
        self.brow_thickness = between(14, 0.05, 0.17)
        self.brow_tilt = between(15, -0.12, 0.12)
        self.nose_length = between(16, 0.90, 1.34)
        self.nose_width = between(17, 0.24, 0.50)
        self.mouth_height = between(18, 1.82, 2.32)
        self.mouth_width = between(19, 0.62, 1.04)
        self.lip_thickness = between(20, 0.10, 0.30)
        self.face_width = between(21, 1.72, 2.20)
        self.face_height = between(22, 2.95, 3.50)
        self.jaw = between(23, 0.55, 1.05)
        self.forehead = between(24, 1.55, 2.05)
        self.ear_size = between(25, 0.30, 0.55)
        # Below 0 there is none, so that most people have no beard.
        self.beard = max(0.0, between(26, -2.0, 0.8))
        self.moustache = max(0.0, between(27, -2.0, 0.9))
        self.wears_glasses = bool(u[28] < 0.2)
        self.glasses_size = between(29, 0.52, 0.74)
        self.mole = between(30, -1.5, 1.5), between(31, 0.5, 2.4)


class Scene:
    """What differs between two photos of a person: pose, expression, light, clothes and background.

    Angles are in radians, the rest is relative.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        u, n = rng.random(16), rng.standard_normal(4)
        coarse = rng.integers(0, 256, (2 + int(u[0] * 5), 2 + int(u[1] * 5), 3), dtype=np.uint8)
        base = rng.integers(20, 200) + rng.integers(0, 56, 3)
        self.background = (coarse * np.float32(0.25) + base * np.float32(0.75)).astype(np.uint8)
        self.yaw, self.pitch = float(0.28 * n[0]), float(0.14 * n[1])
        self.smile = float(u[2] ** 2)
        self.mouth_open = float(max(0.0, 1.6 * u[3] - 1.1))
        self.brow_raise = float(0.2 * u[4] - 0.06)
        self.eyes_closed = float(max(0.0, 2.2 * u[5] - 1.45))
        self.gaze = float(0.5 * n[2])
        self.light_x, self.light_y = float(0.45 * (2 * u[6] - 1)), float(0.25 * (2 * u[7] - 1.4))
        self.ambient = float(0.78 + 0.36 * u[8])
        self.hair_shift = float(0.08 * n[3])
        self.clothes = int(20 + 200 * u[9]), int(20 + 200 * u[10]), int(20 + 200 * u[11])
        self.jitter = rng.standard_normal((5, 2)) * 0.035


def landmarks(person: Person, scene: Scene) -> np.ndarray:
    """Returns eyes, nose tip and mouth corners after the pose, in face units, shape (5, 2)."""
    eye, mouth = person.eye_distance, person.mouth_width * (1 + 0.14 * scene.smile)
    corner = person.mouth_height - 0.12 * scene.smile
    points = np.array([(-eye, 0.0), (eye, 0.0), (0.0, person.nose_length), (-mouth, corner), (mouth, corner)])
    return _plane(_pose(points, np.array([0.12, 0.12, 0.75, 0.28, 0.28]), scene))


def draw(person: Person, scene: Scene, to_pixels: complex, origin: complex) -> np.ndarray:
    """Draws the face: RGB, shape (112, 112, 3), uint8.

    A complex factor rotates and scales face units to pixels; the face's origin lies at a pixel, as x + iy.
    """
    # Plain INTER_LINEAR may differ in the last bit between processors.
    image = cv2.resize(scene.background, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR_EXACT)
    pen = _Pen()
    _draw_body_and_skin(pen, person, scene)
    num_soft = len(pen.shapes)
    _draw_nose_and_mouth(pen, person, scene)
    _draw_eyes(pen, person, scene)
    _draw_hair(pen, person, scene)
    pen.ellipse(person.mole, (0.06, 0.06), _shade(person.skin, 0.4), 0.1)
    if person.wears_glasses:
        frame, size = _shade(person.hair, 0.5), person.glasses_size
        for side in (-1, 1):
            pen.line(_CIRCLE * (size, size * 0.8) + (side * person.eye_distance * 1.02, 0.08), frame, 2, 0.35, True)
            temple = [(side * (person.eye_distance + size), 0.0), (side * person.face_width, 0.0)]
            pen.line(np.array(temple), frame, 1, -0.2)
        gap = person.eye_distance * 1.02 - size
        pen.line(np.array([(-gap, 0.0), (gap, 0.0)]), frame, 2, 0.5)
    image = pen.paint(image, num_soft, scene, to_pixels, origin)
    light = np.float32(scene.ambient) + np.float32(scene.light_x) * _RAMP + np.float32(scene.light_y) * _RAMP[:, None]
    return np.clip(image * cv2.merge([light] * 3), 0, 255).astype(np.uint8)


class _Pen:
    """Takes shapes in face units, and paints them when all are known: NumPy poses fifty of them as fast as one."""

    def __init__(self) -> None:
        self.shapes: list[tuple[np.ndarray, float, Colour, int, bool]] = []

    def paint(self, image: np.ndarray, num_soft: int, scene: Scene, factor: complex, origin: complex) -> np.ndarray:
        lengths = [len(points) for points, *_ in self.shapes]
        depths = np.repeat([depth for _, depth, *_ in self.shapes], lengths)
        posed = _pose(np.concatenate([points for points, *_ in self.shapes]), depths, scene) * factor + origin
        pixels, end = np.rint(_plane(posed) * 2**_SHIFT).astype(np.int32), 0
        for number, (points, _, colour, thickness, closed) in enumerate(self.shapes):
            if number == num_soft:
                # Everything so far becomes soft shading; what follows keeps its edges.
                image = cv2.GaussianBlur(image, (9, 9), 2.0)
            start, end = end, end + len(points)
            if thickness:
                cv2.polylines(image, [pixels[start:end]], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
            else:
                cv2.fillPoly(image, [pixels[start:end]], colour, cv2.LINE_AA, _SHIFT)
        return image

    def fill(self, points: np.ndarray, colour: Colour, depth: float = 0.0) -> None:
        self.line(points, colour, 0, depth, True)

    def ellipse(self, centre: _Pair, radii: _Pair, colour: Colour, depth: float = 0.0) -> None:
        self.line(_CIRCLE * radii + centre, colour, 0, depth, True)

    def line(
        self, points: np.ndarray, colour: Colour, thickness: int = 1, depth: float = 0.0, closed: bool = False
    ) -> None:
        self.shapes.append((points, depth, colour, thickness, closed))


def _draw_body_and_skin(pen: _Pen, person: Person, scene: Scene) -> None:
    chin = person.face_height - 0.1
    if person.hair_style in ("long", "curly"):
        factor, length = (1.22, chin + 0.6) if person.hair_style == "long" else (1.32, 1.6)
        centre = (scene.hair_shift, (length - person.forehead) / 2)
        radii = (person.face_width * factor, (length + person.forehead) / 2 + 0.55)
        pen.ellipse(centre, radii, person.hair, -0.8)
    neck = [(-1.0, 1.8), (1.0, 1.8), (1.15, chin + 1.6), (-1.15, chin + 1.6)]
    pen.fill(np.array(neck), _shade(person.skin, 0.74), -0.6)
    pen.ellipse((0.0, chin + 2.5), (4.2, 1.75), scene.clothes, -0.6)
    for side in (-1, 1):
        centre = (side * person.face_width * 0.99, 0.35)
        pen.ellipse(centre, (person.ear_size * 0.6, person.ear_size * 1.25), _shade(person.skin, 0.88), -0.7)
    # An ellipse above, narrowing to the chin below; a strong jaw keeps its width longer on the way down.
    below = _CIRCLE[:, 1] > 0
    heights = np.where(below, person.face_height, person.forehead)
    narrowing = np.where(below, 1.0 - (1.0 - 0.62 * person.jaw) * _CIRCLE[:, 1] ** 2 * 0.55, 1.0)
    outline = np.array([_CIRCLE[:, 0] * person.face_width * narrowing, _CIRCLE[:, 1] * heights]).T
    pen.fill(outline, _shade(person.skin, 0.80), -0.25)
    pen.fill(outline * np.array([0.90, 0.93]) + np.array([0.0, 0.05]), _shade(person.skin, 0.93), -0.1)
    pen.fill(outline * np.array([0.74, 0.80]) + np.array([0.0, 0.12]), person.skin, 0.0)
    pen.ellipse((0.0, -person.forehead * 0.55), (0.9, 0.42), _shade(person.skin, 1.07), 0.1)
    for side in (-1, 1):
        pen.ellipse((side * 1.02, 1.22), (0.44, 0.36), _blend(person.skin, (224, 96, 84), 0.16), 0.15)
        pen.ellipse((side * person.eye_distance, -0.08), (0.60, 0.40), _shade(person.skin, 0.86), 0.05)
    if person.beard > 0:
        stubble = _blend(person.skin, person.hair, 0.35 + 0.6 * person.beard)
        jaw = outline[(outline[:, 1] > person.nose_length + 0.25)]
        arch = [_HALF * (person.face_width * 0.93), person.nose_length + 0.30 - 0.5 * _HALF**2 + 0.35]
        pen.fill(np.concatenate([jaw, np.array(arch).T]), stubble, -0.1)
    width, tip = person.nose_width, person.nose_length
    nose = [(-0.16, 0.0), (0.16, 0.0), (width, tip), (0.0, tip + 0.22), (-width, tip)]
    pen.fill(np.array(nose), _shade(person.skin, 0.92), 0.5)
    ridge = [(-0.08, 0.1), (0.08, 0.1), (0.14, tip - 0.1), (-0.14, tip - 0.1)]
    pen.fill(np.array(ridge), _shade(person.skin, 1.10), 0.62)


def _draw_nose_and_mouth(pen: _Pen, person: Person, scene: Scene) -> None:
    tip, width = person.nose_length, person.nose_width
    pen.line(_CIRCLE[1:16] * np.array([width, 0.16]) + np.array([0.0, tip + 0.06]), _shade(person.skin, 0.66), 1, 0.6)
    for side in (-1, 1):
        pen.ellipse((side * width * 0.52, tip + 0.10), (0.11, 0.06), _shade(person.skin, 0.42), 0.6)
        wing = [(side * width, tip - 0.16), (side * width * 1.16, tip + 0.02), (side * width * 0.95, tip + 0.14)]
        pen.line(np.array(wing), _shade(person.skin, 0.70), 1, 0.45)
    width, height = person.mouth_width * (1 + 0.14 * scene.smile), person.mouth_height
    lips = _blend(person.skin, (168, 52, 58), 0.48)
    bend, gap = -0.12 * scene.smile, 0.42 * scene.mouth_open
    arc = 1 - _HALF**2
    corner = height + bend
    line = np.array([_HALF * width, corner - bend * 1.9 * arc]).T
    upper = line - np.outer(arc * person.lip_thickness * (1 - 0.25 * np.abs(np.abs(_HALF) - 0.25)), _DOWN)
    low = line + np.outer(arc * gap, _DOWN)
    lower = low + np.outer(arc * person.lip_thickness * 1.25, _DOWN)
    pen.fill(np.concatenate([upper, line[::-1]]), _shade(lips, 0.88), 0.3)
    pen.fill(np.concatenate([low, lower[::-1]]), lips, 0.3)
    if gap > 0.05:
        pen.fill(np.concatenate([line, low[::-1]]), (58, 18, 22), 0.25)
        teeth = line + np.outer(arc * gap * 0.45, _DOWN)
        pen.fill(np.concatenate([line, teeth[::-1]])[2:-2], (236, 230, 220), 0.26)
    else:
        pen.line(line, _shade(lips, 0.5), 1, 0.3)
    if person.moustache > 0:
        top = line - np.outer(0.16 + arc * (0.16 + 0.22 * person.moustache), _DOWN)
        colour = _blend(person.skin, person.hair, 0.5 + 0.5 * person.moustache)
        pen.fill(np.concatenate([top, (upper + np.array([0.0, 0.02]))[::-1]]), colour, 0.34)


def _draw_eyes(pen: _Pen, person: Person, scene: Scene) -> None:
    opening = max(0.08, 0.62 * (1 - scene.eyes_closed))
    for side in (-1, 1):
        x, size = side * person.eye_distance, person.eye_size
        tilt = _DOWN * (-side * person.eye_tilt * _CIRCLE[:, :1])
        almond = _CIRCLE * np.array([size, size * opening]) + tilt + np.array([x, 0.0])
        pen.fill(almond, (238, 234, 230), 0.12)
        centre, radius = (x + 0.14 * size * scene.gaze, 0.0), size * 0.52
        iris_height = min(radius, size * opening)
        pen.ellipse(centre, (radius, iris_height), person.iris, 0.13)
        pen.ellipse(centre, (radius * 0.48, iris_height * 0.55), (12, 10, 10), 0.13)
        pen.ellipse((centre[0] + 0.08, -0.06), (0.05, 0.05), (250, 250, 250), 0.14)
        pen.line(almond[16:], _shade(person.skin, 0.30), 2 if size > 0.34 else 1, 0.13)
        pen.line(almond[1:16], _shade(person.skin, 0.62), 1, 0.13)
        fold = almond[17:32] - np.array([0.0, 0.13])
        pen.line(fold, _shade(person.skin, 0.72), 1, 0.10)
        x_brow = x + _HALF * 0.52
        y_brow = -person.brow_height - scene.brow_raise - 0.16 * (1 - _HALF**2) + side * person.brow_tilt * _HALF
        taper = person.brow_thickness * (1.1 - 0.6 * side * _HALF) * 0.8
        edges = [np.array([x_brow, y]).T for y in (y_brow, y_brow + taper)]
        brow = np.concatenate([edges[0], edges[1][::-1]])
        pen.fill(brow, _blend(person.skin, _shade(person.hair, 0.7), 0.85), 0.2)


def _draw_hair(pen: _Pen, person: Person, scene: Scene) -> None:
    if person.hair_style == "bald":
        return
    width, top, shift = person.face_width, -person.forehead, scene.hair_shift
    style = person.hair_style
    line = {"short": 0.74, "fringe": 0.50, "parting": 0.70, "curly": 0.66, "receding": 0.88}.get(style, 0.72)
    bow = {"fringe": -0.10, "receding": 0.10, "parting": 0.16}.get(style, 0.22)
    lean = 0.38 if person.hair_style == "parting" else 0.0
    inner_y = top * line - bow * (1 - _HALF**2) + lean * (_HALF + shift)
    inner = np.array([_HALF * width * 0.86, inner_y]).T
    volume = 0.62 if person.hair_style in ("curly", "long") else 0.42
    crown = _CIRCLE[16:] * np.array([width * 1.07, person.forehead + volume]) + np.array([shift, 0.05])
    side_right = np.array([(width * 1.04, 0.25), (width * 0.90, 0.12)])
    side_left = np.array([(-width * 0.90, 0.12), (-width * 1.04, 0.25)])
    pen.fill(np.concatenate([crown, side_right, inner[::-1], side_left]), person.hair, -0.1)
    if person.hair_style == "curly":
        for x, y in crown[::2] * np.array([0.98, 0.95]):
            pen.ellipse((float(x), float(y)), (0.42, 0.42), _shade(person.hair, 1.12), -0.1)
    for k in range(2, 11, 2):
        strand = np.array([crown[k + 2] * np.array([0.9, 0.92]), inner[k] * np.array([0.98, 1.12])])
        pen.line(strand, _shade(person.hair, 1.35 if k % 4 else 0.7), 1, -0.05)


def _pose(points: np.ndarray, depth: float | np.ndarray, scene: Scene) -> np.ndarray:
    """Returns points, (n, 2), after the pose, as x + iy, (n,)."""
    posed = np.empty(len(points), complex)
    posed.real = points[:, 0] * math.cos(scene.yaw) + depth * math.sin(scene.yaw)
    posed.imag = points[:, 1] * math.cos(scene.pitch) - depth * math.sin(scene.pitch)
    return posed


def _plane(numbers: np.ndarray) -> np.ndarray:
    return numbers.view(np.float64).reshape(-1, 2)


def _vary(colour: Colour, u: np.ndarray, amount: int) -> Colour:
    return tuple(min(max(c + int((2 * float(v) - 1) * amount), 0), 255) for c, v in zip(colour, u, strict=True))


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple([min(int(c * factor), 255) for c in colour])


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    return tuple([int(a + (b - a) * min(share, 1.0)) for a, b in zip(first, second, strict=True)])
