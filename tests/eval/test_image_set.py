import pytest

from dqcodec.errors import DataError
from dqcodec.eval import image_set

from .conftest import cat_photo


def test_kodak_is_recognised_by_its_pixels_and_only_when_complete(shared, tmp_path):
    kodak = shared / "data" / "kodak"
    assert image_set.collect(kodak).name == "kodak"
    two = tmp_path / "kodak-two"
    two.mkdir()
    for name in ("kodim01.png", "kodim02.png"):
        (two / name).write_bytes((kodak / name).read_bytes())
    assert image_set.collect(two).name == "kodak-two"


def test_kodak_that_is_not_there_is_an_error_that_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv(image_set.KODAK_VARIABLE, raising=False)
    with pytest.raises(DataError, match="r0k.us.*--data"):
        image_set.find_kodak(tmp_path / "nowhere")


def test_kodak_is_found_by_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(image_set.KODAK_VARIABLE, str(tmp_path))
    assert image_set.find_kodak() == tmp_path


def test_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="no images in it"):
        image_set.collect(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        image_set.collect(tmp_path / "nowhere")


def test_folder_of_nothing_but_broken_images_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="none of its 1 images can be read"):
        image_set.collect(tmp_path)


def test_same_stem_in_two_formats_gives_two_names(tmp_path):
    cat_photo(20, 20).save(tmp_path / "x.png")
    cat_photo(20, 20).save(tmp_path / "x.jpg")
    assert [image.name for image in image_set.collect(tmp_path).images] == ["x.jpg", "x.png"]
