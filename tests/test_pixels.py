"""Pixels of a user's own images and masks: depths, palettes, channels, any two values."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.layouts import array, folder_of, open_source, pixels, png, rewrite


@pytest.fixture
def folder(in_tmp):
    """Ten grey images of 40 pixels with masks of 0 and 255, in a folder ``own``."""
    return folder_of(in_tmp / "own")


# Images


def test_images_of_16_bits_are_read_as_their_twins_of_8_bits(folder, tmp_path, tiny):
    shutil.copytree(folder, tmp_path / "twin")
    rewrite(folder / "images", array(lambda a: a.astype(np.uint16) * 257))
    (folder / "images" / "0.png").unlink()
    deep = pixels(tmp_path / "twin" / "images" / "0.png").astype(">u2") * 257
    Image.fromarray(deep.astype(">u2")).save(folder / "images" / "0.tif")
    white = np.full((40, 40), 65535, np.uint16)
    Image.fromarray(white).save(folder / "images" / "9.png")
    own, twin = open_source(tiny, "own"), open_source(tiny, "twin")
    for stem in "012345678":
        image, _ = own.read(stem)
        assert image.dtype == np.uint8
        assert (image == twin.read(stem)[0]).all()


def test_values_of_12_bits_in_16_have_one_scale_that_uses_the_whole_range(folder, tiny, caplog):
    caplog.set_level("INFO", "dicebench")
    rewrite(folder / "images", array(lambda a: a.astype(np.uint16) * 16))
    deep = {stem: pixels(folder / "images" / f"{stem}.png") for stem in "0123456789"}
    assert 2048 <= max(a.max() for a in deep.values()) < 4096
    own = open_source(tiny)
    for stem, values in deep.items():
        assert np.abs(own.read(stem)[0] - values * (255 / 4095)).max() <= 0.5
    assert "own/images/: values from 0 to 4095 are scaled to 8 bits" in caplog.messages


def colour_of_16_bits(path):
    import cv2

    cv2.imwrite(str(path), np.full((40, 40, 3), 4000, np.uint16))


def two_pages(path):
    pages = [Image.new("L", (40, 40), value) for value in (0, 9)]
    pages[0].save(path, "tiff", save_all=True, append_images=pages[1:])


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (40, 40)).save(path, "jpeg", exif=exif)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (
            lambda path: Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(path),
            r"the image has 16 bits, 0\.png has 8 bits; allowed: one depth",
        ),
        (lambda path: Image.new("F", (40, 40)).save(path, "tiff"), "floating point.*8 or 16 bits"),
        (lambda path: Image.new("I", (40, 40)).save(path, "tiff"), "grey, 32 bits.*8 or 16 bits"),
        (colour_of_16_bits, "the file has colours of 16 bits; allowed: colours of 8 bits"),
        (two_pages, "the file has 2 images; allowed: one image"),
        (turned, "the image has an EXIF orientation"),
        (lambda path: path.write_bytes(png(13_400, 13_400)), "more than 178956970 pixels; cut it"),
    ],
)
def test_an_image_that_has_no_clear_reading_is_refused_with_its_name(folder, tiny, write, words):
    write(folder / "images" / "3.png")
    with pytest.raises(ValueError, match=rf"own/images/3\.png: .*{words}"):
        open_source(tiny)


def test_grey_and_palette_images_are_colour_among_colour_images(folder, tiny):
    colour = Image.open(folder / "images" / "0.png").convert("RGB")
    colour.save(folder / "images" / "0.png")
    palette = Image.open(folder / "images" / "1.png").convert("P")
    palette.putpalette([v for i in range(256) for v in (i, 255 - i, 0)])
    palette.save(folder / "images" / "1.png")
    own = open_source(tiny)
    assert own.read("0")[0].shape == own.read("2")[0].shape == (40, 40, 3)
    assert (own.read("1")[0] == np.asarray(palette.convert("RGB"))).all()


# Masks


def palette_of(first, second):
    """A change of a mask to a palette image with these two colours."""

    def change(image):
        indices = Image.fromarray((np.asarray(image) > 0).astype(np.uint8)).convert("P")
        indices.putpalette([*first, *second, *[0] * 762])
        return indices

    return change


KINDS = {
    "1 bit": lambda image: image.convert("1"),
    "0 and 1": array(lambda a: a // 255),
    "0 and 128": array(lambda a: a // 255 * 128),
    "1 and 2": array(lambda a: a // 255 + 1),
    "0 and 65535": array(lambda a: a.astype(np.uint16) * 257),
    "grey palette": palette_of((0, 0, 0), (255, 255, 255)),
    "reversed palette": lambda image: palette_of((255,) * 3, (0,) * 3)(
        Image.fromarray(255 - np.asarray(image))
    ),
    "colour palette": palette_of((0, 0, 0), (128, 0, 0)),
    "RGB": lambda image: image.convert("RGB"),
    "LA": lambda image: image.convert("LA"),
    "RGBA": lambda image: image.convert("RGBA"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_two_values_are_background_and_foreground(folder, tmp_path, tiny, caplog, kind):
    caplog.set_level("INFO", "dicebench")
    shutil.copytree(folder, tmp_path / "twin")
    rewrite(folder / "masks", KINDS[kind])
    own, twin = open_source(tiny, "own"), open_source(tiny, "twin")
    for stem in "0123456789":
        assert (own.read(stem)[1]["masks"] == twin.read(stem)[1]["masks"]).all()
    values = {"0 and 1": (0, 1), "0 and 128": (0, 128), "1 and 2": (1, 2), "colour palette": (0, 1)}
    values["0 and 65535"] = 0, 65535
    lines = [line for line in caplog.messages if "as background" in line]
    words = "own/masks/: {} is read as background, {} as foreground"
    assert lines == ([words.format(*values[kind])] if kind in values else [])


@pytest.mark.parametrize("foreground", [1, 128, 255])
def test_an_empty_mask_is_background_and_a_full_one_foreground(folder, tiny, foreground):
    rewrite(folder / "masks", array(lambda a: a // 255 * np.uint8(foreground)))
    Image.new("L", (40, 40)).save(folder / "masks" / "0.png")
    Image.new("L", (40, 40), foreground).save(folder / "masks" / "1.png")
    own = open_source(tiny)
    assert not own.read("0")[1]["masks"].any()
    assert own.read("1")[1]["masks"].all()


def test_masks_that_are_all_empty_or_all_full_are_taken(folder, tiny):
    for value in (0, 1, 255):
        rewrite(folder / "masks", lambda image, value=value: Image.new("L", image.size, value))
        assert (open_source(tiny).read("0")[1]["masks"] == bool(value)).all()


def through_jpeg(path):
    Image.open(path).save(path, "jpeg")


def replace(change):
    return lambda path: change(Image.open(path).copy()).save(path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (replace(KINDS["0 and 1"]), r"mask values \[0, 1\]; allowed: 0 and 255$"),
        (
            replace(array(lambda a: a // 255 * np.arange(40, dtype=np.uint8))),
            r"mask values \[0, .*allowed: 0 and 255 \(ids of classes belong in labels/\)",
        ),
        (
            through_jpeg,
            r"mask values \[0, 1, .*allowed: 0 and 255 \(.* JPEG: set a threshold and save as PNG",
        ),
        (
            lambda path: Image.new("RGB", (40, 40), "red").save(path),
            r"the mask is colour \(mode RGB\) and its channels differ; allowed: one channel",
        ),
        (
            replace(lambda m: Image.merge("LA", (Image.new("L", m.size), m))),
            r"grey with transparency .* its channels differ",
        ),
        (lambda path: Image.new("F", (40, 40)).save(path, "tiff"), r"floating point \(mode F\)"),
    ],
)
def test_a_mask_of_other_values_than_the_others_is_refused(folder, tiny, write, words):
    write(folder / "masks" / "3.png")
    with pytest.raises(ValueError, match=rf"own/masks/3\.png: .*{words}"):
        open_source(tiny)


def test_masks_with_palettes_of_other_colours_are_refused(folder, tiny):
    rewrite(folder / "masks", palette_of((0, 0, 0), (128, 0, 0)))
    mask = Image.open(folder / "masks" / "3.png")
    mask.putpalette([128, 0, 0, 0, 0, 0])
    mask.save(folder / "masks" / "3.png")
    with pytest.raises(ValueError, match=r"masks/3\.png: index 0 of the palette .*\(128, 0, 0\)"):
        open_source(tiny)
