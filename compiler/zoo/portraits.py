"""Portrait-like pictures with exact masks, drawn from a seed by arithmetic alone.

A picture is built from back to front on a canvas three times as fine as the result: a textured
background with clutter, one figure (torso, arms, neck, head, hair, hat, glasses), objects in front
of the figure, then lighting, blur and noise. The mask records which of the fine samples still show
the figure; a pixel of the result belongs to it where most of its nine samples do.

Outlines are simple shapes on coordinates that a smooth noise has bent, so that no two figures
share a contour. Every random number comes from `Generator.random` on PCG64, whose stream is the
same on every platform and in every numpy release.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
T = TypeVar("T")

SAMPLES = 3  # fine samples per pixel and axis; odd, so that no pixel is half and half
JPEG_QUALITY = 92

SKIN = ((0.96, 0.82, 0.71), (0.86, 0.66, 0.52), (0.68, 0.47, 0.34), (0.44, 0.28, 0.19))
HAIR = ((0.08, 0.06, 0.05), (0.30, 0.18, 0.10), (0.62, 0.40, 0.20), (0.84, 0.72, 0.46), (0.6,) * 3)


class _Dice:
    """Random choices that consume nothing but `Generator.random`."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def chance(self, probability: float) -> bool:
        return float(self._generator.random()) < probability

    def pick(self, values: Sequence[T]) -> T:
        return values[int(self._generator.random() * len(values))]

    def colour(self) -> Floats:
        return self._generator.random(3).astype(np.float32)

    def near(self, colour: Sequence[float] | Floats, spread: float) -> Floats:
        shift = (self._generator.random(3) - 0.5) * 2 * spread
        return np.asarray(np.clip(np.asarray(colour) + shift, 0, 1), np.float32)

    def grain(self, *shape: int) -> Floats:
        """Noise of mean 0 and standard deviation 1, bounded by ±3 (a sum of three uniforms)."""
        noise = 2 * self._generator.random((3, *shape)).sum(axis=0) - 3
        return np.asarray(noise, np.float32)

    def smooth(self, size: int, cells: int) -> Floats:
        """Noise in 0…1, shape (size, size), whose bumps are size / cells wide."""
        coarse = Image.fromarray(self._generator.random((cells, cells)).astype(np.float32))
        fine = coarse.resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(np.clip(np.asarray(fine), 0, 1), np.float32)


@dataclass(frozen=True)
class _Frame:
    """Coordinates of every fine sample, shape (size, size) each, y downwards."""

    x: Floats
    y: Floats

    @classmethod
    def of_picture(cls, size: int) -> "_Frame":
        """Coordinates from 0 to 1 over the picture."""
        line = ((np.arange(size) + 0.5) / size).astype(np.float32)
        x, y = np.meshgrid(line, line)
        return cls(x, y)

    def moved(self, x: float, y: float, *, scale: float = 1, angle: float = 0) -> "_Frame":
        """The same samples seen from (x, y), turned by `angle` radians, in units of `scale`."""
        cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        return _Frame(cos * dx + sin * dy, cos * dy - sin * dx)

    def bent(self, dice: _Dice, cells: int, strength: float) -> "_Frame":
        size = len(self.x)
        dx, dy = dice.smooth(size, cells) - 0.5, dice.smooth(size, cells) - 0.5
        return _Frame(self.x + strength * dx, self.y + strength * dy)

    def ellipse(self, x: float, y: float, width: float, height: float) -> Bools:
        """Ellipse around (x, y) with the given half axes."""
        distance = ((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2
        return np.asarray(distance <= 1)

    def box(self, x: float, y: float, width: float, height: float) -> Bools:
        """Upright rectangle around (x, y) with the given half sides."""
        return np.asarray((np.abs(self.x - x) <= width) & (np.abs(self.y - y) <= height))

    def limb(
        self, start: tuple[float, float], end: tuple[float, float], radii: tuple[float, float]
    ) -> Bools:
        """Everything near the line from start to end, whose radius runs between the two given."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        along = ((self.x - start[0]) * dx + (self.y - start[1]) * dy) / (dx * dx + dy * dy)
        along = np.clip(along, 0, 1)
        off = np.hypot(self.x - start[0] - along * dx, self.y - start[1] - along * dy)
        return np.asarray(off <= radii[0] + along * (radii[1] - radii[0]))


class _Canvas:
    """Picture and mask under construction, at `SAMPLES` times the final resolution."""

    def __init__(self, size: int) -> None:
        self.frame = _Frame.of_picture(size)
        self.picture = np.zeros((size, size, 3), np.float32)
        self.mask = np.zeros((size, size), np.bool_)

    def paint(self, where: Bools, paint: Floats, *, figure: bool) -> None:
        """Cover `where` with a colour (3,) or a texture (size, size, 3)."""
        self.picture[where] = paint if paint.ndim == 1 else paint[where]
        self.mask[where] = figure


def portrait(seed: int, size: int = 128) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one portrait.

    Args:
        seed: Chooses the picture; the same seed gives the same picture everywhere.
        size: Height and width of the result in pixels.

    Returns:
        The picture, RGB, shape (size, size, 3), and its mask, shape (size, size), 255 where the
        figure is seen and 0 elsewhere.
    """
    dice = _Dice(seed)
    canvas = _Canvas(size * SAMPLES)
    palette = [dice.colour() for _ in range(4)]
    _draw_background(canvas, dice, palette)
    _draw_figure(canvas, dice, palette)
    if dice.chance(0.4):
        _draw_occluder(canvas, dice, palette)
    _light(canvas, dice)
    picture = _reduce(canvas.picture, size)
    mask = _reduce(canvas.mask.astype(np.float32), size) > 0.5
    return _photograph(picture, dice), np.where(mask, 255, 0).astype(np.uint8)


def as_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Encode an RGB picture, shape (H, W, 3), the way the image files are stored."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_portraits(images: Path, seeds: Iterable[int], *, masks: Path | None = None) -> None:
    """Write one JPEG per seed into `images` and, if asked for, one PNG mask of the same stem.

    Args:
        images: Folder of the pictures; made if absent.
        seeds: Seed of each picture; its file is `portrait_<seed>`.
        masks: Folder of the masks (grey, 0 and 255); None writes no masks.
    """
    for folder in (images, masks):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture, mask = portrait(seed)
        (images / f"portrait_{seed:06d}.jpg").write_bytes(as_jpeg(picture))
        if masks is not None:
            Image.fromarray(mask).save(masks / f"portrait_{seed:06d}.png", optimize=True)


def _pattern(frame: _Frame, dice: _Dice) -> Floats:
    """Draw one of seven patterns; values in 0…1, shape (size, size)."""
    size = len(frame.x)
    turned = frame.moved(0.5, 0.5, angle=dice.between(0, np.pi))
    waves = dice.between(4, 40)
    match dice.pick(("plain", "gradient", "clouds", "speckle", "stripes", "checks", "dots")):
        case "plain":
            amount = np.zeros_like(frame.x)
        case "gradient":
            amount = turned.x + 0.5
        case "clouds":
            amount = 0.6 * dice.smooth(size, dice.pick((4, 6, 9))) + 0.4 * dice.smooth(size, 23)
        case "speckle":
            amount = dice.smooth(size, dice.pick((31, 48, 64)))
        case "stripes":
            amount = np.sin(turned.x * 2 * waves) > dice.between(-0.6, 0.6)
        case "checks":
            squares = np.sign(np.sin(turned.x * waves)) + np.sign(np.sin(turned.y * waves))
            amount = 0.5 + 0.25 * squares
        case _:
            amount = np.sin(turned.x * waves) * np.sin(turned.y * waves) > 0.4
    return np.asarray(np.clip(amount, 0, 1), np.float32)


def _texture(frame: _Frame, dice: _Dice, colours: Sequence[Floats]) -> Floats:
    """Mix two colours by a pattern; shape (size, size, 3)."""
    first, second = dice.pick(colours), dice.pick(colours)
    weight = _pattern(frame, dice) * dice.between(0.3, 1)
    rough = dice.between(0, 0.12) * (dice.smooth(len(frame.x), 64) - 0.5)
    return np.asarray(first + (second - first) * weight[..., None] + rough[..., None], np.float32)


def _draw_background(canvas: _Canvas, dice: _Dice, palette: list[Floats]) -> None:
    everywhere = np.ones_like(canvas.mask)
    canvas.paint(everywhere, _texture(canvas.frame, dice, palette), figure=False)
    for _ in range(int(dice.between(0, 13))):
        place = (dice.between(-0.1, 1.1), dice.between(-0.1, 1.1))
        frame = canvas.frame.bent(dice, 5, 0.1).moved(*place, angle=dice.between(0, np.pi))
        size = (dice.between(0.02, 0.2), dice.between(0.02, 0.35))
        shape = frame.ellipse if dice.chance(0.6) else frame.box
        # Colours of skin and hair must not give the figure away.
        lookalike = dice.pick((*SKIN, *HAIR)) if dice.chance(0.5) else dice.pick(palette)
        colours = [dice.near(lookalike, 0.06), dice.near(lookalike, 0.15)]
        canvas.paint(shape(0, 0, *size), _texture(canvas.frame, dice, colours), figure=False)


def _draw_figure(canvas: _Canvas, dice: _Dice, palette: list[Floats]) -> None:
    """Draw one person; the unit of the figure's own frame is the height of the head."""
    scale = dice.between(0.22, 0.48)
    frame = canvas.frame.bent(dice, 4, 0.06).bent(dice, 12, 0.02)
    # The origin is the middle of the head.
    body = frame.moved(
        dice.between(0.25, 0.75),
        dice.between(0.1, 0.3) + 0.45 * scale,
        scale=scale,
        angle=dice.between(-0.15, 0.15),
    )
    head = body.moved(dice.between(-0.08, 0.08), 0, angle=dice.between(-0.25, 0.25))
    skin = dice.near(dice.pick(SKIN), 0.05)
    hair = dice.near(dice.pick(HAIR), 0.06)
    # Clothes in the colours of the background make the outline hard to find.
    shared = palette if dice.chance(0.4) else [dice.colour() for _ in range(3)]
    clothes = [dice.near(colour, 0.08) for colour in shared]

    long_hair = dice.chance(0.4)
    if long_hair:
        _draw_long_hair(canvas, head, dice, hair)
    _draw_torso(canvas, body, dice, clothes, skin)
    _draw_head(canvas, head, dice, skin)
    _draw_hair(canvas, head, dice, hair)
    if dice.chance(0.25):
        _draw_hat(canvas, head, dice, clothes)
    if dice.chance(0.35):
        _draw_raised_arm(canvas, body, dice, skin, clothes)


def _shaded(frame: _Frame, dice: _Dice, colour: Floats, strength: float) -> Floats:
    """One colour under a soft light from one side, with a little unevenness."""
    light = frame.x * dice.between(-1, 1) + frame.y * dice.between(-0.5, 1)
    uneven = dice.smooth(len(frame.x), 24) - 0.5
    shade = 1 - strength * np.clip(light, -1, 1) + 0.2 * uneven
    return np.asarray(shade[..., None] * colour, np.float32)


def _strands(frame: _Frame, dice: _Dice, colour: Floats) -> Floats:
    wave = np.sin(frame.x * dice.between(25, 70) + 4 * np.sin(frame.y * dice.between(1, 5)))
    return np.asarray(colour * (1 + 0.13 * wave[..., None]), np.float32)


def _draw_long_hair(canvas: _Canvas, head: _Frame, dice: _Dice, hair: Floats) -> None:
    width, length = dice.between(0.46, 0.68), dice.between(0.5, 1.1)
    where = head.ellipse(0, -0.05, width, 0.56) | (
        head.box(0, length / 2, width * dice.between(0.8, 1), length / 2) & (head.y > -0.05)
    )
    canvas.paint(where, _strands(head, dice, hair), figure=True)


def _draw_torso(
    canvas: _Canvas, body: _Frame, dice: _Dice, clothes: list[Floats], skin: Floats
) -> None:
    top, drop = dice.between(0.68, 0.85), dice.between(0.05, 0.25)
    half, waist = dice.between(0.62, 1.0), dice.between(0.45, 0.95)
    shoulder = dice.between(0.16, 0.26)
    chest = top + drop + shoulder
    texture = _texture(body, dice, clothes)
    for side in (-1, 1):
        elbow = (side * (half + dice.between(-0.1, 0.35)), chest + dice.between(0.7, 1.3))
        hand = (elbow[0] * dice.between(0.3, 1.1), elbow[1] + dice.between(-0.5, 0.7))
        arm = _texture(body, dice, clothes) if dice.chance(0.3) else texture
        if dice.chance(0.3):
            arm = _shaded(body, dice, skin, 0.15)
        canvas.paint(body.limb(elbow, hand, (0.17, 0.12)), arm, figure=True)
        canvas.paint(body.limb((side * half, chest), elbow, (shoulder, 0.17)), arm, figure=True)
    slope = np.clip((body.y - top) / max(drop, 0.01), 0, 1)
    outline = 0.2 + slope * (half - 0.2) + np.clip(body.y - chest, 0, 1) * (waist - half)
    torso = (np.abs(body.x) <= outline) & (body.y >= top)
    for side in (-1, 1):
        torso |= body.ellipse(side * half, chest, shoulder, shoulder)
    canvas.paint(torso, texture, figure=True)
    neck = body.limb((0, 0.2), (0, top + 0.12), (dice.between(0.17, 0.22), 0.22))
    canvas.paint(neck, _shaded(body, dice, skin * np.float32(0.85), 0.1), figure=True)
    if dice.chance(0.5):  # open collar, or a tie
        depth = dice.between(0.2, 0.6)
        opening = (np.abs(body.x) <= 0.2 * (1 - (body.y - top) / depth)) & (body.y >= top)
        canvas.paint(opening & torso, dice.pick([*clothes, skin]), figure=True)


def _draw_head(canvas: _Canvas, head: _Frame, dice: _Dice, skin: Floats) -> None:
    width, turn = dice.between(0.34, 0.43), dice.between(-0.12, 0.12)
    face = _shaded(head, dice, skin, dice.between(0.1, 0.5))
    for side in (-1, 1):
        canvas.paint(head.ellipse(side * width, 0.02, 0.07, 0.12), face, figure=True)
    canvas.paint(head.ellipse(0, 0, width, 0.5), face, figure=True)
    canvas.paint(head.ellipse(0, 0.2, width * 0.85, 0.33), face, figure=True)
    dark, lips = skin * np.float32(0.3), dice.near(skin * (0.9, 0.55, 0.55), 0.05)
    for side in (-1, 1):
        eye = turn + side * 0.15
        canvas.paint(head.ellipse(eye, 0.0, 0.06, 0.03), dice.near((0.9,) * 3, 0.1), figure=True)
        canvas.paint(head.ellipse(eye, 0.0, 0.03, 0.03), dark, figure=True)
        canvas.paint(head.box(eye, -0.09, 0.08, 0.015), dark, figure=True)
    canvas.paint(head.ellipse(turn * 1.2, 0.12, 0.04, 0.09), skin * np.float32(0.8), figure=True)
    canvas.paint(head.ellipse(turn, 0.28, dice.between(0.07, 0.14), 0.03), lips, figure=True)
    if dice.chance(0.3):
        _draw_glasses(canvas, head, dice, turn)


def _draw_glasses(canvas: _Canvas, head: _Frame, dice: _Dice, turn: float) -> None:
    rim = dice.near((0.1, 0.1, 0.12), 0.1)
    opaque = dice.chance(0.4)
    for side in (-1, 1):
        x = turn + side * 0.16
        lens = head.ellipse(x, 0.01, 0.12, 0.1)
        inside = head.ellipse(x, 0.01, 0.1, 0.08)
        canvas.paint(lens if opaque else lens & ~inside, rim, figure=True)
    canvas.paint(head.box(turn, -0.01, 0.05, 0.015), rim, figure=True)


def _draw_hair(canvas: _Canvas, head: _Frame, dice: _Dice, hair: Floats) -> None:
    style = dice.pick(("cap", "cap", "side", "curls", "beard", "bald"))
    if style == "bald":
        return
    strands = _strands(head, dice, hair)
    crown = head.ellipse(0, -0.08, dice.between(0.4, 0.5), dice.between(0.48, 0.56))
    line = dice.between(-0.3, -0.12)
    if style == "side":
        fringe = head.y + dice.between(-0.6, 0.6) * head.x < line
    else:
        fringe = head.y < line + dice.between(-0.3, 0.8) * head.x**2
    where = crown & fringe
    if style == "curls":
        for _ in range(14):
            angle = dice.between(np.pi, 2 * np.pi)
            x, y = 0.42 * float(np.cos(angle)), 0.45 * float(np.sin(angle)) - 0.05
            radius = dice.between(0.08, 0.18)
            where |= head.ellipse(x, y, radius, radius)
    if style == "beard":
        mouth = head.ellipse(0, 0.28, 0.12, 0.05)
        where |= head.ellipse(0, 0.22, 0.38, 0.36) & (head.y > 0.2) & ~mouth
    canvas.paint(where, strands, figure=True)


def _draw_hat(canvas: _Canvas, head: _Frame, dice: _Dice, clothes: list[Floats]) -> None:
    felt = _texture(head, dice, clothes)
    brim = dice.between(0.4, 0.8)
    height = dice.between(0.2, 0.45)
    top = head.ellipse(0, -0.3, 0.45, height) & (head.y < -0.22)
    canvas.paint(top, felt, figure=True)
    canvas.paint(head.ellipse(dice.between(-0.15, 0.15), -0.24, brim, 0.06), felt, figure=True)


def _draw_raised_arm(
    canvas: _Canvas, body: _Frame, dice: _Dice, skin: Floats, clothes: list[Floats]
) -> None:
    side = dice.pick((-1, 1))
    shoulder = (side * 0.7, 1.05)
    elbow = (side * dice.between(0.9, 1.4), dice.between(0.9, 1.5))
    hand = (side * dice.between(0.3, 1.3), dice.between(-0.2, 0.6))
    sleeve = _texture(body, dice, clothes)
    bare = _shaded(body, dice, skin, 0.2)
    canvas.paint(body.limb(shoulder, elbow, (0.2, 0.16)), sleeve, figure=True)
    lower = bare if dice.chance(0.5) else sleeve
    canvas.paint(body.limb(elbow, hand, (0.15, 0.1)), lower, figure=True)
    canvas.paint(body.ellipse(*hand, 0.13, 0.16), bare, figure=True)


def _draw_occluder(canvas: _Canvas, dice: _Dice, palette: list[Floats]) -> None:
    """Put something in front of the figure: the samples it covers leave the mask."""
    frame = canvas.frame.bent(dice, 4, 0.1)
    paint = _texture(frame, dice, palette if dice.chance(0.5) else [dice.colour(), dice.colour()])
    kind = dice.pick(("table", "ball", "post", "leaves"))
    if kind == "table":
        where = frame.y + dice.between(-0.2, 0.2) * (frame.x - 0.5) > dice.between(0.75, 0.95)
    elif kind == "ball":
        radius = dice.between(0.06, 0.16)
        where = frame.ellipse(dice.between(0.1, 0.9), dice.between(0.5, 1), radius, radius)
    elif kind == "post":
        tilted = frame.moved(dice.between(0.1, 0.9), 0.5, angle=dice.between(-0.4, 0.4))
        where = np.abs(tilted.x) < dice.between(0.02, 0.06)
    else:
        where = np.zeros_like(canvas.mask)
        corner = dice.pick((0.0, 1.0))
        for _ in range(8):
            place = (corner + dice.between(-0.25, 0.25), dice.between(0.3, 1))
            leaf = frame.moved(*place, angle=dice.between(0, np.pi))
            where |= leaf.ellipse(0, 0, dice.between(0.02, 0.05), dice.between(0.08, 0.2))
    canvas.paint(where, paint, figure=False)


def _light(canvas: _Canvas, dice: _Dice) -> None:
    """Shade the whole scene: a gradient and blotches of shadow across figure and background."""
    frame = canvas.frame.moved(0.5, 0.5, angle=dice.between(0, 2 * np.pi))
    shade = 1 + dice.between(0, 0.7) * frame.x
    shade += dice.between(0, 0.6) * (dice.smooth(len(frame.x), 4) - 0.5)
    canvas.picture *= shade[..., None]


def _reduce(samples: Floats, size: int) -> Floats:
    """Average the fine samples of each pixel."""
    blocks = samples.reshape(size, SAMPLES, size, SAMPLES, *samples.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _photograph(picture: Floats, dice: _Dice) -> NDArray[np.uint8]:
    """Apply what a camera does: exposure, white balance, contrast, blur and noise."""
    contrast = dice.between(0.35, 1.0)
    balance = 1 + 0.12 * dice.grain(3) / 3
    exposed = np.clip(picture, 0, 1) ** dice.between(0.7, 1.5) * balance
    exposed = (exposed - 0.5) * contrast + 0.5 + dice.between(-0.5, 0.5) * (1 - contrast)
    levels = np.clip(exposed * 255, 0, 255).astype(np.uint8)
    blurred = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(dice.between(0, 1.5)))
    noise = dice.between(0, 12) * dice.grain(*picture.shape)
    return np.clip(np.asarray(blurred, np.float32) + noise, 0, 255).astype(np.uint8)
