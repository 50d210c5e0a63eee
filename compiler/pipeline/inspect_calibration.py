"""Look at calibration data: files, pixels, what preprocessing makes of them, what the network says.

Files are streamed: of each only a few hundred bytes are kept, so that a set may be of any size.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from calibration.channels import Channels, Doubt, Order, Scaling, doubt_normalization
from calibration.dataset import DatasetError, Sample, find_files, find_samples
from calibration.picture import examine, read_header
from calibration.survey import Entry, find_copies
from compiler.config.model import BuildConfig
from compiler.config.paths import resolve_input
from compiler.errors import CalibrationError
from compiler.page.contents import Thumbnail
from compiler.pipeline.alternatives import is_bgr
from compiler.pipeline.cache import StageCache, default_folder
from compiler.pipeline.calibration_set import (
    ChannelFigures,
    Inspection,
    Unusable,
    doubt_findings,
    file_findings,
    lint_findings,
    network_findings,
)
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.lint_preprocessing import LEAST_CERTAINTY, Lint, lint_preprocessing
from compiler.pipeline.pictures import open_thumbnails
from compiler.pipeline.prepare import Prepared, prepare
from compiler.pipeline.record import inputs_of
from compiler.pipeline.samples import (
    Feeds,
    Input,
    Samples,
    declared_inputs,
    find_build_samples,
    image_loader,
)
from compiler.pipeline.spread import spread
from compiler.pipeline.watch_growth import reads_levels, watch_growth
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import CHANNEL_SWAPS
from compiler.preprocess.ops import CustomFunc, CvtColor, DecodeImage, Normalize

THUMBNAILS: Final = 60
"""Most pictures on a sheet, whatever the size of the set."""
EDGE: Final = 128
"""Pixels along the longer edge of a thumbnail."""


def inspect_folder(folder: Path, *, progress: Report | None = None) -> Inspection:
    """Look at all images of a folder, without a build file.

    Args:
        folder: Searched recursively; or a .txt list of paths.
        progress: Called as progress(stage, done, total).

    Raises:
        CalibrationError: There are no images.
    """
    try:
        samples = find_samples(folder, suffix=None, count=len(find_files(folder, suffix=None)))
    except DatasetError as error:
        fix = "name a folder of images, or a .txt file with one path per line"
        raise CalibrationError(error.what, where=error.where, fix=fix) from error
    survey = _Survey(DecodeImage(), None)
    survey.look_at(samples, Clock(progress))
    return survey.inspection(folder.resolve().name, folder, len(samples))


def inspect_build(
    config: BuildConfig,
    *,
    network: bool = True,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Inspection:
    """Look at the calibration data of a build file: exactly the files that a build observes.

    Args:
        config: The build file, of any precision.
        network: Whether to run the network; else its model file may be absent.
        allow_custom_code: Whether a CustomFunc of the build file may run its Python code.
        progress: Called as progress(stage, done, total).

    Raises:
        CalibrationError: There is no calibration data, or preprocessing does not fit the network.
        BuildFileError: The model file does not exist.
        GraphError: The network cannot be read or run.
    """
    clock = Clock(progress)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepared = _prepare(config, work, clock) if network else None
        inputs = inputs_of(prepared.interface) if prepared else declared_inputs(config)
        samples, chain = calibration_samples(config, inputs, allow_custom_code=allow_custom_code)
        survey = _survey(config, inputs, samples, chain, allow_custom_code)
        survey.look_at(samples.calibration, clock)
        source = data_folder(config)
        found = survey.inspection(config.name, source, _candidates(config, source))
        notes = [*(chain.notes if chain else ()), *(chain.warnings() if chain else ())]
        raw = prepared is not None and reads_levels(prepared.interface)
        lint = None
        if prepared is not None and chain is not None and found.entries:
            with clock.stage("preprocessing"):
                lint = lint_preprocessing(config, allow_custom_code=allow_custom_code)
            notes += lint.notes
        doubts = _doubts(survey, config, chain, raw)
        if _finds_scale(lint):  # the network's own word for it is the more exact one
            doubts = tuple(doubt for doubt in doubts if doubt.kind != "scale")
        findings = [*found.findings, *doubt_findings(doubts, confirmed=_confirms(lint))]
        findings += lint_findings(lint)
        if prepared is not None and found.entries:
            usable = {entry.name for entry in found.entries}
            kept = tuple(one for one in samples.calibration if one.name in usable)
            with clock.stage("observe", len(kept)) as step:
                watched = watch_growth(
                    prepared, config.backend, replace(samples, calibration=kept), work, step
                )
            if not watched.tensors:
                notes.append("no layer would run on integers, so that no tensor is observed")
            findings += network_findings(watched, len(kept))
            found = replace(found, watched=watched)
    return replace(
        found,
        channels=channel_order(chain) or "",
        lint=lint,
        findings=tuple(sorted(findings, key=lambda one: not one.fault)),
        notes=tuple(notes),
    )


def calibration_samples(
    config: BuildConfig, inputs: Sequence[Input], *, allow_custom_code: bool
) -> tuple[Samples, Chain | None]:
    """The files that a build observes the network with, and the preprocessing of images.

    Raises:
        CalibrationError: There are none.
    """
    samples, chain = find_build_samples(
        config, inputs, held_out=0, needed=True, allow_custom_code=allow_custom_code
    )
    if samples is None:
        raise CalibrationError(
            "there is no calibration data",
            where=f"{config.name}: dataset.path",
            fix="name a folder of images or arrays",
        )
    return samples, chain


def data_folder(config: BuildConfig) -> Path:
    """Where `calibration_samples` come from.

    Raises:
        BuildFileError: There is no such folder.
    """
    path = config.dataset.path if config.dataset else None
    return resolve_input(path or "", config.base_dir, where=f"{config.name}: dataset.path")


def channel_order(chain: Chain | None) -> Order | None:
    """Order of the channels where they are normalized, as far as swaps decide it."""
    if chain is None or any(isinstance(op, CustomFunc) for op in chain.ops):
        return None
    codes = [op.constant for op in chain.ops if isinstance(op, CvtColor)]
    if not all(code in CHANNEL_SWAPS for code in codes):
        return None
    return "BGR" if is_bgr(chain.ops) else "RGB"


def make_thumbnails(found: Inspection) -> tuple[Thumbnail, ...]:
    """Small pictures: of the files that findings name, then of others, evenly spread."""
    names = [entry.name for entry in found.entries if entry.bits is not None]
    named = {file for one in found.findings for file in one.files}
    first = [name for name in names if name in named][:THUMBNAILS]
    others = spread([name for name in names if name not in named], THUMBNAILS - len(first))
    base = found.folder if found.folder.is_dir() else found.folder.parent
    return tuple(open_thumbnails(((name, base / name) for name in (*first, *others)), EDGE))


@dataclass(slots=True)
class _Survey:
    """Entries and statistics, file by file.

    Args:
        decode: Of images; None for arrays.
        load: What a build makes of a file; None where there is no build file.
    """

    decode: DecodeImage | None
    load: Callable[[Path], Feeds] | None
    entries: list[Entry] = field(default_factory=list)
    unusable: list[Unusable] = field(default_factory=list)
    pixels: Channels = field(default_factory=Channels)
    received: Channels = field(default_factory=Channels)

    def look_at(self, samples: Sequence[Sample], clock: Clock) -> None:
        """Add files, one by one."""
        with clock.stage("files", len(samples)) as step:
            for done, sample in enumerate(samples, start=1):
                try:
                    self.entries.append(self._entry(sample))
                except CalibrationError as error:
                    self.unusable.append(Unusable(sample.name, error.what, error.fix))
                step(done)

    def inspection(self, name: str, folder: Path, found: int) -> Inspection:
        """What was seen so far."""
        copies = find_copies(self.entries)
        return Inspection(
            name=name,
            folder=folder.resolve(),
            found=found,
            looked_at=len(self.entries) + len(self.unusable),
            entries=tuple(self.entries),
            unusable=tuple(self.unusable),
            copies=copies,
            pixels=_figures(self.pixels),
            received=_figures(self.received),
            channels="",
            watched=None,
            lint=None,
            findings=tuple(file_findings(self.entries, self.unusable, copies)),
            notes=(),
        )

    def _entry(self, sample: Sample) -> Entry:
        """Look at one file.

        Raises:
            CalibrationError: It cannot be used.
        """
        feeds = self.load(sample.path) if self.load else {}
        _check_values(feeds, sample)
        if self.decode is None:
            return _array_entry(sample, feeds)
        pixels = self.decode(sample.path)
        for tensor in feeds.values():
            self.received.add_tensor(tensor)
        picture, header = examine(pixels), read_header(sample.path.read_bytes())
        self.pixels.add_counts(picture.counts)
        return Entry(
            sample.name,
            header.format,
            header.mode,
            f"{header.width}×{header.height}",
            sample.sha256,
            picture.digest,
            picture.tone,
            picture.bits,
        )


def _check_values(feeds: Feeds, sample: Sample) -> None:
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CalibrationError(
                f"'{name}' holds values that are NaN or infinite",
                where=str(sample.path),
                fix="write it again from finite values, or remove it",
            )


def _array_entry(sample: Sample, feeds: Feeds) -> Entry:
    digest = sha256()
    for name, array in feeds.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    flat = all(array.min() == array.max() for array in feeds.values() if array.size)
    return Entry(
        sample.name,
        sample.path.suffix.lower().removeprefix("."),
        ", ".join(str(array.dtype) for array in feeds.values()),
        ", ".join("×".join(map(str, array.shape)) for array in feeds.values()),
        sample.sha256,
        digest.hexdigest(),
        "constant" if flat else None,
    )


def _survey(
    config: BuildConfig,
    inputs: Sequence[Input],
    samples: Samples,
    chain: Chain | None,
    allow_custom_code: bool,
) -> _Survey:
    """Images are seen as the first layer of the trained network sees them: normalized floats."""
    if chain is None or config.dataset is None:
        return _Survey(None, samples.load)
    whole = Chain(config.dataset.process_ops, chain.shape, allow_custom_code=allow_custom_code)
    decode = next((op for op in whole.ops if isinstance(op, DecodeImage)), DecodeImage())
    # Bytes, which a network reads that normalizes by itself, would not hold the result.
    return _Survey(decode, image_loader(whole, replace(inputs[0], dtype=np.dtype(np.float32))))


def _prepare(config: BuildConfig, work: Path, clock: Clock) -> Prepared:
    """The network of an int8 build, whatever the precision of the build file."""
    backend = config.backend.model_copy(update={"dtype": "int8"})
    int8 = config.model_copy(update={"backend": backend})
    return prepare(int8, StageCache(default_folder()), work, clock)


def _candidates(config: BuildConfig, folder: Path) -> int:
    dataset = config.dataset
    arrays = dataset is None or not dataset.process_ops
    return len(
        find_files(folder, suffix=dataset.sampler.suffix if dataset else None, arrays=arrays)
    )


def _figures(channels: Channels) -> ChannelFigures | None:
    return ChannelFigures(channels.mean(), channels.deviation()) if channels.images else None


def _doubts(
    survey: _Survey, config: BuildConfig, chain: Chain | None, raw: bool
) -> tuple[Doubt, ...]:
    """What statistics say against the preprocessing of images."""
    if chain is None or config.dataset is None or not survey.entries:
        return ()
    steps = [
        Scaling(
            op.mean if op.applies_mean_std else None,
            op.std if op.applies_mean_std else None,
            bool(op.div255),
        )
        for op in config.dataset.process_ops
        if isinstance(op, Normalize)
    ]
    return doubt_normalization(
        survey.pixels,
        survey.received,
        steps,
        order=channel_order(chain),
        reads_levels=raw,
    )


def _finds_scale(lint: Lint | None) -> bool:
    """Whether the network would rather have values of another scale."""
    if lint is None:
        return False
    found = {one.alternative for one in lint.findings}
    return any(one.kind == "values" and one.alternative in found for one in lint.trials)


def _confirms(lint: Lint | None) -> bool:
    """Whether the network tells things apart, other scales were tried, and none suits it better."""
    if lint is None or lint.findings or not any(one.kind == "values" for one in lint.trials):
        return False
    now = lint.trials[0]
    return now.points is not None or (now.certainty or 0.0) >= LEAST_CERTAINTY
