"Data sets: the paper's construction on MNIST's own file format, and a user's images with everything that can be wrong with them."

import pytest
import torch
from PIL import Image

from masktune.data import DatasetError
from masktune.datasets import load_dataset


@pytest.fixture
def mnist(make_mnist, tmp_path):
    return make_mnist(tmp_path, 200, 50)


def is_red(image):
    return image[0, :4, :4].min() == 255 and image[1:, :4, :4].max() == 0


def test_biased_mnist_is_the_papers(mnist):
    train, val, test, biased = (load_dataset("biased-mnist", split, mnist) for split in ("train", "val", "test", "biased-test"))
    assert [len(d) for d in (train, val, test, biased)] == [160, 40, 50, 50]
    assert [sum(is_red(train[i].image) for i in range(len(train)) if train.labels[i] == c) for c in (0, 1)] == [79, 1]  # 99 % and 1 % of 80
    assert not any(is_red(test[i].image) for i in range(50))
    assert [is_red(biased[i].image) for i in range(50)] == biased.labels.bool().tolist()


@pytest.mark.parametrize("shortcut, groups", [("square", 4), ("background", 4), ("foreground", 4), ("two-squares", 8)])
def test_variants_keep_labels_and_name_their_groups(mnist, shortcut, groups):
    data = load_dataset("biased-mnist", "train", mnist, shortcut=shortcut)
    assert len(data.group_names) == groups and torch.equal(data.labels, load_dataset("biased-mnist", "train", mnist).labels)
    assert not torch.equal(data.images, load_dataset("biased-mnist", "train", mnist, shortcut="square").images) or shortcut == "square"


def test_splits_do_not_overlap_and_come_back():
    parts = [load_dataset("biased-digits", split, seed=7) for split in ("train", "val", "test")]
    grey = [{bytes(image[0, 5:].flatten().tolist()) for image in d.images} for d in parts]  # below the square
    assert sum(map(len, grey)) >= 1790 and not grey[0] & grey[1] and not grey[0] & grey[2]
    assert load_dataset("biased-digits", "train", seed=7).fingerprint == parts[0].fingerprint


def test_everything_wrong_with_a_folder_is_reported_at_once(pets):
    (pets / "bird").mkdir()
    (pets / "cat" / "0.jpg").write_bytes(b"not a picture")
    broken = pets / "dog" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (pets / "dog" / "copy.jpg").symlink_to(pets / "dog" / "5.jpg")
    with pytest.raises(DatasetError) as caught:
        load_dataset("folder", "train", pets, size=32)
    found = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for text in ("no image: " + str(pets / "bird"), str(pets / "cat" / "0.jpg"), str(broken), "duplicated path (2 times): " + str(pets / "dog" / "5.jpg")):
        assert text in found


def test_labels_that_training_does_not_know_are_reported(tmp_path):
    for part, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "c")):
        (tmp_path / part / label).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / part / label / f"{i}.png")
    with pytest.raises(DatasetError, match="label 'c' is not in the training split"):
        load_dataset("folder", "train", tmp_path)


def test_own_images_come_square_and_upright(pets):
    tall = Image.new("RGB", (40, 80), "red")
    tall.paste("blue", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    tall.save(pets / "cat" / "upside.png", exif=exif)
    data = load_dataset("folder", "train", pets, size=32, val_fraction=0.0, test_fraction=0.0)
    place = next(i for i, path in enumerate(data.paths) if path.name == "upside.png")
    image = data[place].image
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
    assert image[0, 2, 16] > 200 and image[2, -3, 16] > 200  # turned: red above, blue below
