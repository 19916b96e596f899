import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from dqcodec import images
from dqcodec.errors import ImageError
from tests.conftest import synthetic

RGB = Image.fromarray(synthetic(20, 30))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_every_mode_becomes_three_channels_of_eight_bits(mode):
    if mode == "I;16":
        image = Image.fromarray((np.asarray(RGB.convert("L")).astype(np.uint16)) * 257)
    elif mode == "LAB":
        image = ImageCms.profileToProfile(RGB, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
                                          outputMode="LAB")
    else:
        image = RGB.convert(mode)
    picture = images.to_picture(image)
    assert picture.pixels.shape == (20, 30, 3) and picture.pixels.dtype == np.uint8
    assert (picture.alpha is not None) == mode.endswith("A")
    assert images.from_picture(picture).size == image.size


def test_16_bit_grey_keeps_its_tones_and_says_so():
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    picture = images.to_picture(Image.fromarray(values))
    assert np.abs(picture.pixels[..., 0] - values / 257.0).max() <= 0.5
    assert "16-bit" in picture.notes[0]


def test_grey_stays_grey_and_alpha_survives_unchanged():
    alpha = synthetic(20, 30)[..., 1]
    image = RGB.convert("L")
    image.putalpha(Image.fromarray(alpha))
    back = images.from_picture(images.to_picture(image))
    assert back.mode == "LA" and np.array_equal(np.asarray(back.getchannel("A")), alpha)


def test_palette_transparency_becomes_alpha():
    image = RGB.convert("P")
    image.info["transparency"] = image.getpixel((0, 0))
    assert images.to_picture(image).alpha[0, 0] == 0


def test_orientation_is_applied_and_leaves_the_exif():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    buffer = io.BytesIO()
    RGB.save(buffer, "JPEG", exif=exif)
    picture = images.to_picture(images.open_image(buffer.getvalue()))
    assert picture.pixels.shape == (30, 20, 3)
    kept = Image.Exif()
    kept.load(picture.exif)
    assert 0x0112 not in kept and kept[0x010F] == "Maker"


def test_first_frame_of_an_animation_with_a_note():
    buffer = io.BytesIO()
    RGB.save(buffer, "GIF", save_all=True, append_images=[RGB.rotate(180)])
    picture = images.to_picture(images.open_image(buffer.getvalue()))
    assert "first of 2 frames" in picture.notes[0]


def test_srgb_profile_is_implied_and_others_are_kept():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = RGB.copy()
    tagged.info["icc_profile"] = srgb
    assert images.to_picture(tagged).icc is None
    tagged.info["icc_profile"] = b"a profile of another space"
    assert images.to_picture(tagged).icc == b"a profile of another space"


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (20000, 3)])
def test_alpha_packs_without_loss(shape):
    alpha = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(images.unpack_alpha(images.pack_alpha(alpha), shape[1], shape[0]), alpha)


def test_alpha_of_another_size_or_broken_is_refused():
    packed = images.pack_alpha(np.zeros((5, 5), np.uint8))
    with pytest.raises(ImageError, match="alpha channel is 5x5"):
        images.unpack_alpha(packed, 6, 5)
    with pytest.raises(ImageError, match="broken"):
        images.unpack_alpha(packed[:20], 5, 5)


def test_unreadable_inputs_are_named_with_the_reason(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="text.png: not an image"):
        images.open_image(tmp_path / "text.png")
    with pytest.raises(ImageError, match="no such file"):
        images.open_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a folder"):
        images.open_image(tmp_path)
    buffer = io.BytesIO()
    RGB.save(buffer, "PNG")
    with pytest.raises(ImageError, match="standard input"):
        images.open_image(buffer.getvalue()[:-40])


def test_output_formats_are_checked_before_any_work():
    assert images.format_of("a.PNG") == "PNG" and images.format_of("-") == "PNG"
    assert images.format_of("/dev/null") == "PNG"
    with pytest.raises(ImageError, match="try .png"):
        images.format_of("a.xyz")
    with pytest.raises(ImageError, match="no alpha"):
        images.encode(RGB.convert("RGBA"), "JPEG")
