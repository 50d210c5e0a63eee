from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compiler.errors import CalibrationError
from compiler.evaluate.pairs import (
    Pair,
    note_sizes,
    pair_files,
    pair_folders,
    pair_masks,
)


def write(folder: Path, *names: str, size: tuple[int, int] = (4, 4)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(folder / name)
    return folder


def names_of(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [(pair.image.name, pair.mask.name) for pair in pairs]


def test_images_meet_their_masks_by_stem(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "b.jpg", "a.jpg")
    masks = write(tmp_path / "masks", "a_matte.png", "b.png")
    assert pair_masks(images, masks) == (
        Pair(images / "a.jpg", masks / "a_matte.png"),
        Pair(images / "b.jpg", masks / "b.png"),
    )


@pytest.mark.parametrize("end", ["", "_mask", "_matte", "_gt", "_label", "_labels"])
def test_masks_may_end_in_what_they_are(end: str, tmp_path: Path) -> None:
    pairing = pair_folders(
        write(tmp_path / "images", "a.jpg"), write(tmp_path / "masks", f"a{end}.gif")
    )
    assert names_of(pairing.pairs) == [("a.jpg", f"a{end}.gif")]


def test_files_without_partner_are_listed_on_both_sides(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    masks = write(tmp_path / "masks", "b.png", "d.png")
    pairing = pair_folders(images, masks)
    assert names_of(pairing.pairs) == [("b.jpg", "b.png")]
    assert pairing.without_mask == (images / "a.jpg", images / "c.jpg")
    assert pairing.without_image == (masks / "d.png",)
    with pytest.raises(CalibrationError, match=r"2 image\(s\) have no mask: a.jpg, c.jpg"):
        pair_masks(images, masks)


def test_many_files_without_partner_are_counted(tmp_path: Path) -> None:
    images = write(tmp_path / "images", *(f"{i}.jpg" for i in range(8)))
    with pytest.raises(CalibrationError, match=r"8 .*: 0.jpg, .*, 4.jpg and 3 more"):
        pair_masks(images, write(tmp_path / "masks", "x.png"))


@pytest.mark.parametrize(
    ("pattern", "mask"),
    [
        ("{stem}_seg.png", "a_seg.png"),
        ("{stem}_seg", "a_seg.gif"),
        ("{stem}*", "a-person-0.png"),
        ("gt_{stem}", "gt_a.png"),
        ("*_{stem}.png", "set_7_a.png"),
    ],
)
def test_a_pattern_names_the_masks(pattern: str, mask: str, tmp_path: Path) -> None:
    pairing = pair_folders(
        write(tmp_path / "images", "a.jpg"), write(tmp_path / "masks", mask), pattern=pattern
    )
    assert names_of(pairing.pairs) == [("a.jpg", mask)]


def test_other_files_than_those_of_the_pattern_stay_alone(tmp_path: Path) -> None:
    masks = write(tmp_path / "masks", "a.png", "a_seg.png")
    images = write(tmp_path / "images", "a.jpg")
    pairing = pair_folders(images, masks, pattern="{stem}_seg.png")
    assert names_of(pairing.pairs) == [("a.jpg", "a_seg.png")]
    assert pairing.without_image == (masks / "a.png",)


def test_a_pattern_may_name_the_images_too(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "x_1_leftImg8bit.png", "odd.png")
    masks = write(tmp_path / "masks", "x_1_gtFine_labelIds.png", "x_1_gtFine_color.png")
    pairing = pair_folders(
        images, masks, pattern="{stem}_gtFine_labelIds", image_pattern="{stem}_leftImg8bit"
    )
    assert names_of(pairing.pairs) == [("x_1_leftImg8bit.png", "x_1_gtFine_labelIds.png")]
    assert pairing.without_mask == (images / "odd.png",)


def test_a_mask_belongs_to_the_image_with_the_longest_stem(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.jpg", "a_mask.jpg", "a_mask_2.jpg")
    masks = write(tmp_path / "masks", "a.png", "a_mask.png", "a_mask_2_gt.png")
    assert names_of(pair_folders(images, masks).pairs) == [
        ("a.jpg", "a.png"),
        ("a_mask.jpg", "a_mask.png"),
        ("a_mask_2.jpg", "a_mask_2_gt.png"),
    ]


def test_characters_that_mean_something_in_patterns_may_stand_in_names(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a[1].jpg", "a1.jpg", "b+.jpg")
    masks = write(tmp_path / "masks", "a[1].png", "a1.png", "b+.png")
    found = names_of(pair_folders(images, masks).pairs)
    assert sorted(found) == [("a1.jpg", "a1.png"), ("a[1].jpg", "a[1].png"), ("b+.jpg", "b+.png")]


def test_two_masks_of_an_image_are_an_error_that_names_both(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.jpg")
    masks = write(tmp_path / "masks", "a.png", "a_mask.png")
    with pytest.raises(
        CalibrationError, match=r"a\.jpg: two masks fit this image: a\.png and a_mask\.png"
    ):
        pair_folders(images, masks)


def test_two_images_of_a_mask_are_an_error_that_names_both(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.jpg", "a.png")
    with pytest.raises(
        CalibrationError, match=r"a\.gif: two images fit this mask: a\.jpg and a\.png"
    ):
        pair_folders(images, write(tmp_path / "masks", "a.gif"))


def test_images_and_masks_may_share_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, "a.png", "a_matte.png", "b.jpg", "b_mask.png", "c.jpg")
    pairing = pair_folders(folder, folder)
    assert names_of(pairing.pairs) == [("a.png", "a_matte.png"), ("b.jpg", "b_mask.png")]
    assert [path.name for path in pairing.without_mask] == ["c.jpg"]
    assert pairing.without_image == ()


def test_folders_that_hold_folders_are_paired_folder_by_folder(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "bern/1.jpg", "ulm/1.jpg", "ulm/2.jpg")
    masks = write(tmp_path / "masks", "bern/1.png", "ulm/1_gt.png", "jena/2.png")
    pairing = pair_folders(images, masks)
    found = [(str(pair.image.relative_to(images)), pair.mask.parent.name) for pair in pairing.pairs]
    assert found == [("bern/1.jpg", "bern"), ("ulm/1.jpg", "ulm")]
    assert pairing.without_mask == (images / "ulm/2.jpg",)
    assert pairing.without_image == (masks / "jena/2.png",)


def test_the_masks_below_the_images_are_no_images(tmp_path: Path) -> None:
    write(tmp_path, "images/a.jpg", "masks/a.png")
    pairing = pair_folders(tmp_path, tmp_path / "masks")
    # The root holds no picture itself, so its folders are searched, but for that of the masks.
    assert [path.name for path in pairing.without_mask] == ["a.jpg"]
    assert pair_folders(tmp_path / "images", tmp_path / "masks").without_mask == ()


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match=r"no such folder|no image in it"):
        pair_masks(tmp_path / name, tmp_path)


@pytest.mark.parametrize("which", ["pattern", "image_pattern"])
def test_a_pattern_says_where_the_stem_is(which: str, tmp_path: Path) -> None:
    images, masks = write(tmp_path / "images", "a.jpg"), write(tmp_path / "masks", "a.png")
    with pytest.raises(CalibrationError, match=r"pattern 'a\*': no {stem} in it"):
        pair_folders(images, masks, **{which: "a*"})


@given(st.sets(st.text("ab_", min_size=1, max_size=5), min_size=1, max_size=6), st.integers(0, 5))
def test_every_file_is_paired_or_alone_and_order_decides_nothing(stems: set[str], end: int) -> None:
    images = [Path(f"{stem}.jpg") for stem in sorted(stems)]
    suffix = ["", "_mask", "_gt", "-x", "_label", "_matte"][end]
    masks = [Path(f"{stem}{suffix}.png") for stem in sorted(stems)]
    try:
        pairing = pair_files(images, masks)
    except CalibrationError:
        with pytest.raises(CalibrationError):
            pair_files(images[::-1], masks[::-1])
        return
    back = pair_files(images[::-1], masks[::-1])
    assert set(back.pairs) == set(pairing.pairs)
    assert {pair.image for pair in pairing.pairs} | set(pairing.without_mask) == set(images)
    assert {pair.mask for pair in pairing.pairs} | set(pairing.without_image) == set(masks)
    if suffix == "":
        assert names_of(pairing.pairs) == [(f"{s}.jpg", f"{s}.png") for s in sorted(stems)]


def test_sizes_that_differ_are_noted_and_other_shapes_named(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg", size=(40, 30))
    write(tmp_path / "masks", "a.png", size=(40, 30))
    write(tmp_path / "masks", "b.png", size=(20, 15))
    masks = write(tmp_path / "masks", "c.png", size=(30, 40))
    first, second = note_sizes(pair_masks(images, masks))
    assert first == (
        "2 of 3 masks have another size than their image; image and mask are each resized to the "
        "network's size"
    )
    assert second.endswith("may belong to others: c.png")
    same = pair_masks(
        write(tmp_path / "one", "a.jpg", size=(4, 4)), write(tmp_path / "two", "a.png")
    )
    assert note_sizes(same) == ()


def test_a_file_that_is_no_picture_has_no_size(tmp_path: Path) -> None:
    image = write(tmp_path, "a.jpg") / "a.jpg"
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match=r"b\.png: not a readable image"):
        note_sizes([Pair(image, tmp_path / "b.png")])
