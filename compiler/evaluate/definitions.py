"""Every segmentation metric by name, in one table.

Two families must not be mixed: figures of sums over the data set (`pooled`), and means of the
images' own figures (`of images`). The names m1 … m9, m4b and m12 are the published evaluation
scripts, word by word (`upstream`); each names the metric that corrects it, which is the one to use.
`METRICS` says who uses a script, how it reads outputs and masks, and what is wrong with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from compiler.evaluate import corrected, upstream
from compiler.evaluate.masks import See
from compiler.evaluate.metric import Metric
from compiler.evaluate.settings import Settings
from compiler.runner.manifest import Postprocessing

Reads: TypeAlias = Literal["bundle's rule", "argmax", "logit", "probability", "soft"]
"""How an output becomes a prediction: "soft" is a logit or probability that stays soft."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A row of the table.

    Args:
        id: Of the upstream definition, "M1" …: itself or the one that is corrected here.
        title: What is computed, in one line.
        family: "pooled": ratios of sums over the data set; "of images": means of the images' own
            ratios; "of batches": likewise of two images each.
        truth: How a mask becomes the truth.
        make: Settings -> metric.
        users: Who publishes figures of it.
        fault: What is wrong with it; "" for what is to be used.
        corrected: The metric to use instead; "" likewise.
        reads: How the output is read.
        classes: Number of classes where the settings name none; None: they must.
        ignore: Value of the masks that does not count, where the settings name none.
        labels: Names of the classes, where they are fixed.
        at_input: Whether upstream brings the output to the size of the network's input first, which
            `Settings.size` asks for.
    """

    id: str
    title: str
    family: Literal["pooled", "of images", "of batches"]
    truth: str
    make: Callable[[Settings], Metric]
    users: str = ""
    fault: str = ""
    corrected: str = ""
    reads: Reads = "bundle's rule"
    classes: int | None = None
    ignore: int | None = None
    labels: tuple[str, ...] = ()
    at_input: bool = False

    def unsuited(self, rule: Postprocessing) -> str:
        """Why the figures of a network with this rule mean nothing; "" if they may.

        Args:
            rule: Of the bundle's manifest.
        """
        kind = rule.kind
        if kind == "binary":
            kind_of_output = "probability" if rule.threshold else "logit"
            fits = self.reads in ("bundle's rule", "soft", kind_of_output)
        else:
            kind_of_output = kind
            fits = self.reads in ("bundle's rule", kind)
        wanted = "logit or probability" if self.reads == "soft" else self.reads
        return "" if fits else f"it reads {wanted} outputs; this network's are {kind_of_output}"


_NUMBERS: Final = "class numbers (palette or grey), nearest neighbour"
_MATTE: Final = "grey, bilinear, >= 125 is foreground"
_VOC: Final = "deeplab_v3, fcn (both), refinenet, unet bubbliiiing"
_FACE: Final = (
    "background skin nose eyeglass left_eye right_eye left_brow right_brow left_ear right_ear "
    "mouth upper_lip lower_lip hair hat earring necklace neck cloth"
)
_STREET: Final = (
    "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky "
    "person rider car truck bus train motorcycle bicycle"
)
_FOREGROUND: Final = ("background", "foreground")


def _pooled(figure: str, title: str) -> Definition:
    return Definition(
        id="M1",
        title=title,
        family="pooled",
        truth=_NUMBERS,
        make=partial(corrected.mean_iou, figure, figure),
        ignore=255,
        at_input=True,
    )


def _of_images(figure: str, title: str, of: str) -> Definition:
    return Definition(
        id=of,
        title=title,
        family="pooled" if figure.startswith("pooled") else "of images",
        truth=f"{_MATTE}; numbers above 0 where a mask holds class numbers",
        make=partial(corrected.foreground, figure, figure),
        classes=2,
        labels=_FOREGROUND,
    )


METRICS: Final[Mapping[str, Definition]] = MappingProxyType(
    {
        "mean_iou": _pooled(
            "mean_iou",
            "mean over the classes of their IoU: pixels in prediction and mask / in either",
        ),
        "pixel_accuracy": _pooled("pixel_accuracy", "share of the pixels whose class is right"),
        "mean_accuracy": _pooled(
            "mean_accuracy", "mean over the classes of the share of their pixels that is found"
        ),
        "frequency_weighted_iou": _pooled(
            "frequency_weighted_iou", "IoU of the classes, weighted by their pixels in the masks"
        ),
        "f1": _pooled(
            "f1",
            "mean over the classes of their Dice: 2 x pixels in both / (predicted + in the mask)",
        ),
        "cityscapes": Definition(
            id="M2",
            title="mean IoU of the 19 classes of Cityscapes",
            family="pooled",
            truth="label ids (grey), nearest neighbour, 34 ids to 19 classes, others ignored",
            make=corrected.cityscapes,
            classes=19,
            ignore=255,
            labels=tuple(_STREET.split()),
            at_input=True,
        ),
        "face_parsing": Definition(
            id="M3",
            title="mean IoU of the 19 classes of CelebAMask-HQ",
            family="pooled",
            truth=_NUMBERS,
            make=partial(corrected.mean_iou, "face_parsing", "mean_iou"),
            classes=19,
            labels=tuple(_FACE.split()),
        ),
        "carvana": Definition(
            id="M4",
            title="mean IoU of background and foreground",
            family="pooled",
            truth="nearest neighbour, every value above 0 is foreground",
            make=corrected.carvana,
            classes=2,
            labels=_FOREGROUND,
        ),
        "membrane": Definition(
            id="M5",
            title="mean IoU of background and foreground",
            family="pooled",
            truth="grey, nearest neighbour, >= 128 is foreground",
            make=corrected.membrane,
            classes=2,
            labels=_FOREGROUND,
        ),
        "foreground_iou": _of_images(
            "foreground_iou",
            "IoU of the foreground: pixels in prediction and mask / in either",
            "M6",
        ),
        "dice": _of_images(
            "dice",
            "Dice of the foreground: 2 x pixels in both / (predicted + in the mask)",
            "M7",
        ),
        "pooled_foreground_iou": _of_images(
            "pooled_foreground_iou", "foreground IoU of sums over the data set", "M6"
        ),
        "pooled_dice": _of_images("pooled_dice", "Dice of sums over the data set", "M7"),
        "person": Definition(
            id="M8",
            title="mean IoU of those of background and person that occur in an image",
            family="of images",
            truth="grey, bilinear, >= 128 is person",
            make=corrected.person,
            classes=2,
            labels=("background", "person"),
        ),
        "matting": Definition(
            id="M9",
            title="MAD, MSE, Grad and Conn of a matte, IoU at its middle",
            family="of images",
            truth="grey levels, averaged (INTER_AREA)",
            make=corrected.matting,
            reads="soft",
            classes=2,
            labels=_FOREGROUND,
        ),
        "soft_dice": Definition(
            id="M12",
            title="Dice of probabilities, of batches of two images",
            family="of batches",
            truth="grey / 255, bilinear, not thresholded",
            make=corrected.soft_dice,
            reads="soft",
        ),
        "m1": Definition(
            id="M1",
            title="mean IoU and pixAcc as the VOC scripts print them",
            family="pooled",
            truth="values as stored; Pillow's default filter, which blends grey masks",
            make=upstream.m1,
            users=_VOC,
            fault="pixAcc takes the argmax of logits cut to whole numbers; absent classes count as "
            "0; sums in float32 lose pixels above 2^24 of a class; grey masks are blended",
            corrected="mean_iou",
            reads="argmax",
            classes=21,
            ignore=255,
            at_input=True,
        ),
        "m2": Definition(
            id="M2",
            title="mean IoU as the Cityscapes scripts print it",
            family="pooled",
            truth="as cityscapes",
            make=upstream.m2,
            users="hrnet, stdc, bisenet coincheung",
            fault="absent classes count as 0; figures are of squashed labels at the network's size",
            corrected="cityscapes",
            reads="argmax",
            classes=19,
            ignore=255,
            labels=tuple(_STREET.split()),
            at_input=True,
        ),
        "m3": Definition(
            id="M3",
            title="mean IoU and F1 as the face parsing scripts print them",
            family="pooled",
            truth="class numbers (grey), nearest neighbour, others dropped",
            make=upstream.m3,
            users="bisenet zllrunning, parsenet",
            fault="F1 is NaN as soon as one class has no prediction or no true positive; images "
            "that raise an error are skipped in silence; unknown values are dropped",
            corrected="face_parsing",
            reads="argmax",
            classes=19,
            labels=tuple(_FACE.split()),
        ),
        "m4": Definition(
            id="M4",
            title="mean IoU as the Carvana script prints it",
            family="pooled",
            truth="values as stored, 0 and 1 are the classes, others dropped",
            make=upstream.m4,
            users="unet milesial",
            fault="masks with 0 and 255 lose their foreground: the mean IoU becomes that of the "
            "background alone",
            corrected="carvana",
            reads="argmax",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m4b": Definition(
            id="M4b",
            title="Dice as the original UNet project prints it",
            family="of images",
            truth="nearest neighbour, every value above 0 is foreground",
            make=upstream.m4b,
            users="unet milesial (fp32 row of its table)",
            fault="stands in a column called MIoU beside rows of m4; two empty sets count as 1",
            corrected="dice",
            reads="argmax",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m5": Definition(
            id="M5",
            title="mean IoU as the membrane script prints it",
            family="pooled",
            truth="grey, bicubic, every value above 0 is foreground",
            make=upstream.m5,
            users="unet keras",
            fault="the threshold 0.5 meets levels 0 … 255: blurred edges become foreground",
            corrected="membrane",
            reads="probability",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m6": Definition(
            id="M6",
            title="foreground IoU as the portrait script prints it",
            family="of images",
            truth=_MATTE,
            make=upstream.m6,
            users="unet3p, unet3p_deepsupervision",
            fault="one image without foreground in prediction and mask makes the mean NaN; the "
            "table calls it MIoU",
            corrected="foreground_iou",
            reads="logit",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m7": Definition(
            id="M7",
            title="foreground IoU and Dice as the DSB2018 scripts print them",
            family="of images",
            truth=_MATTE,
            make=upstream.m7,
            users="unetpp, r2u_net",
            fault="one image without foreground in prediction and mask makes the means NaN; the "
            "table calls the IoU MIoU",
            corrected="foreground_iou",
            reads="probability",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m8": Definition(
            id="M8",
            title="mean IoU of two classes as the person scripts print it",
            family="of images",
            truth="grey, bilinear, every value above 0 is person",
            make=upstream.m8,
            users="human_seg (all six)",
            fault="an absent person counts as 0, so that a perfect empty image has 0.5; blurred "
            "edges become person; images that raise an error are skipped in silence",
            corrected="person",
            reads="argmax",
            classes=2,
            labels=("background", "person"),
        ),
        "m9": Definition(
            id="M9",
            title="errors of a matte as the MODNet script prints them",
            family="of images",
            truth="grey levels, averaged (INTER_AREA)",
            make=upstream.m9,
            users="modnet",
            fault="the prediction is cut to 8 bits, half a level too dark on average",
            corrected="matting",
            reads="probability",
            classes=2,
            labels=_FOREGROUND,
        ),
        "m12": Definition(
            id="M12",
            title="soft Dice as MindSpore's UNet3+ logs it",
            family="of batches",
            truth="grey / 255, not thresholded",
            make=upstream.m12,
            users="MindSpore UNet3+ (as Dice and as Accuracy)",
            fault="the sigmoid of a logit of exactly 0 is 0; an odd last image is dropped; images "
            "and masks are paired in the order of two unsorted lists",
            corrected="soft_dice",
            reads="soft",
        ),
    }
)


def new_metric(name: str, settings: Settings) -> Metric:
    """A metric of the table.

    Args:
        name: A key of `METRICS`.
        settings: What the table leaves open, or is to be replaced.

    Raises:
        ValueError: There is no such metric, or it needs the number of classes.
    """
    if name not in METRICS:
        raise ValueError(f"no metric {name!r}; there are {', '.join(METRICS)}")
    row = METRICS[name]
    classes = row.classes if settings.classes is None else settings.classes
    ignore = row.ignore if settings.ignore is None else settings.ignore
    return row.make(replace(settings, classes=classes, ignore=ignore))


def mean_iou_metric(
    rule: Postprocessing, classes: int, ignore: int | None, see: See | None = None
) -> Metric:
    """`mean_iou`, where nothing is ignored unless `ignore` says so; see `Settings`."""
    return corrected.mean_iou("mean_iou", "mean_iou", Settings(rule, classes, ignore, see=see))


def foreground_metric(figure: str, rule: Postprocessing, see: See | None = None) -> Metric:
    """`foreground_iou` or `dice`; see `Settings`."""
    return new_metric(figure, Settings(rule, see=see))
