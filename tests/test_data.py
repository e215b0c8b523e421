"""Data sets: the paper's construction on MNIST's own file format, and a user's images with everything that can be
wrong with them."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import masktune.cache
import masktune.data
import masktune.files
import masktune.images
from masktune.cache import cached
from masktune.checks import check_images
from masktune.data import ArrayDataset, FileDataset
from masktune.errors import DatasetError, DatasetWarning
from masktune.experiments.datasets import dataset_splits, load_dataset
from masktune.images import make_augmentation, read_image
from masktune.pairs import PairsDataset


@pytest.fixture
def mnist(make_mnist, tmp_path):
    return make_mnist(tmp_path, 200, 50)


def is_red(image):
    return image[0, :4, :4].min() == 255 and image[1:, :4, :4].max() == 0


def test_biased_mnist_is_the_papers(mnist):
    train, val, test, biased = (
        load_dataset("biased-mnist", split, mnist) for split in ("train", "val", "test", "biased-test")
    )
    assert [len(d) for d in (train, val, test, biased)] == [160, 40, 50, 50]
    assert [sum(is_red(train[i].image) for i in range(len(train)) if train.labels[i] == c) for c in (0, 1)] == [
        79,
        1,
    ]  # 99 % and 1 % of 80
    assert not any(is_red(test[i].image) for i in range(50))
    assert [is_red(biased[i].image) for i in range(50)] == biased.labels.bool().tolist()


@pytest.mark.parametrize("shortcut, groups", [("square", 4), ("background", 4), ("foreground", 4), ("two-squares", 8)])
def test_variants_keep_labels_and_name_their_groups(mnist, shortcut, groups):
    data = load_dataset("biased-mnist", "train", mnist, shortcut=shortcut)
    assert len(data.group_names) == groups and torch.equal(
        data.labels, load_dataset("biased-mnist", "train", mnist).labels
    )
    assert (
        not torch.equal(data.images, load_dataset("biased-mnist", "train", mnist, shortcut="square").images)
        or shortcut == "square"
    )


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
    for text in (
        "no image: " + str(pets / "bird"),
        str(pets / "cat" / "0.jpg"),
        str(broken),
        "duplicated path (2 times): " + str(pets / "dog" / "5.jpg"),
    ):
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


# What files hold: depth, transparency, frames

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))
WHOLE = dict(resize=None, crop=None)


def grey(path, **options):
    return read_image(path, **WHOLE, **options)[0].float().numpy()


def saved(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    "suffix, kind", [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("jp2", "<u2"), ("pgm", "<u2")]
)
def test_sixteen_bits_keep_their_shades(tmp_path, suffix, kind):
    path = saved((RAMP * 65535).astype(kind), tmp_path / f"ramp.{suffix}")
    assert np.abs(grey(path) - RAMP * 255).max() <= 1


def test_eight_bits_are_what_they_were(tmp_path):
    path = saved((RAMP * 255).round().astype(np.uint8), tmp_path / "ramp.png")
    assert np.array_equal(grey(path), (RAMP * 255).round()) and np.array_equal(grey(path, window=(0, 4095)), grey(path))


def test_twelve_bits_in_sixteen_are_told_and_a_window_shows_them(tmp_path):
    path = saved((RAMP * 4095).astype(np.uint16), tmp_path / "scan.png")
    assert np.abs(grey(path, window=(0, 4095)) - RAMP * 255).max() <= 1
    assert grey(path, window=(1000, 1001)).min() == 0 and grey(path, window=(1000, 1001)).max() == 255
    told = check_images([path])
    assert [finding.refuses for finding in told] == [False] and "give window=(0, 4095)" in told[0]
    assert check_images([path], window=(0, 4095)) == []
    assert "no value lies within" in check_images([path], window=(10_000, 20_000))[0]


def packed_tiff(path, content, bits, tags=()):
    "A TIFF by hand, one strip of 64 x 48: Pillow writes none of 12 bits, signed, or with white as zero"
    import struct

    entries = [
        (256, 4, 64),
        (257, 4, 48),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 48),
        (279, 4, len(content)),
    ]
    entries = sorted({tag: (tag, kind, value) for tag, kind, value in [*entries, *tags]}.values())
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", tag, kind, 1) + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for tag, kind, value in entries
    )
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory + b"\0\0\0\0")
    return path


def test_tiffs_of_twelve_bits_fill_their_range(tmp_path):
    values = (RAMP * 4095).astype(np.uint16).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], 1).astype(
        np.uint8
    )
    assert np.abs(grey(packed_tiff(tmp_path / "scan.tif", packed.tobytes(), 12)) - RAMP * 255).max() <= 1


def test_white_as_zero_is_turned_at_sixteen_bits_as_at_eight(tmp_path):
    deep = packed_tiff(tmp_path / "deep.tif", (RAMP * 65535).astype("<u2").tobytes(), 16, [(262, 3, 0)])
    assert np.abs(grey(deep) - (1 - RAMP) * 255).max() <= 1


def test_values_without_a_range_are_refused_until_a_window_is_given(tmp_path):
    floats = saved(RAMP.astype(np.float32), tmp_path / "depth.tif")
    long = saved((RAMP * 70_000).astype(np.int32), tmp_path / "counts.tiff")
    signed = packed_tiff(tmp_path / "ct.tif", (RAMP * 2000 - 1000).astype("<i2").tobytes(), 16, [(339, 3, 2)])
    for path, window in ((floats, (0, 1)), (long, (0, 70_000)), (signed, (-1000, 1000))):
        with pytest.raises(DatasetError, match=r"give window=\(low, high\)"):
            read_image(path)
        assert [finding.refuses for finding in check_images([path])] == [True]
        assert np.abs(grey(path, window=window) - RAMP * 255).max() <= 1
    holes = saved(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32), tmp_path / "holes.tif")
    assert grey(holes, window=(0, 0.5))[:, -1].max() == 0


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0,), (0, 1, 2), "wide", (0, float("nan"))])
def test_a_window_that_is_none_is_refused_at_once(window):
    with pytest.raises(ValueError, match="window must be two numbers"):
        FileDataset([], [], ["a"], window=window)


def test_colour_of_sixteen_bits_and_a_window_exclude_each_other(tmp_path):
    path = tmp_path / "colour.png"
    path.write_bytes(sixteen_bit_colour())
    assert read_image(path, **WHOLE)[:, 0, 0].tolist() == [255, 128, 0]
    with pytest.raises(DatasetError, match="window= is for images of one channel"):
        read_image(path, window=(0, 4095))
    assert "one channel" in check_images([path], window=(0, 4095))[0]


def sixteen_bit_colour():
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">3H", 65535, 32896, 0) * 4
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * 4))
        + chunk(b"IEND", b"")
    )


def transparent(mode):
    "A disc that shows on a ground that is fully transparent and holds another colour"
    image = np.zeros((48, 64, 4), np.uint8)
    image[..., :3] = 0, 200, 0
    image[16:32, 16:48] = 200, 0, 0, 255
    image = Image.fromarray(image)
    if mode == "P":
        palette = Image.new("P", image.size, 0)
        palette.putpalette([0, 200, 0, 200, 0, 0])
        palette.paste(1, (16, 16, 48, 32))
        palette.info["transparency"] = 0
        return palette
    return image.convert(mode)


@pytest.mark.parametrize(
    "mode, suffix", [("RGBA", "png"), ("LA", "png"), ("P", "png"), ("P", "gif"), ("RGBA", "webp"), ("RGBA", "tif")]
)
def test_transparent_parts_show_the_background_and_no_hidden_colour(tmp_path, mode, suffix):
    image, path = transparent(mode), tmp_path / f"sticker.{suffix}"
    image.save(path, **({"transparency": 0} if mode == "P" else {"lossless": True} if suffix == "webp" else {}))
    assert read_image(path, **WHOLE)[:, 0, 0].tolist() == [255, 255, 255]
    assert read_image(path, **WHOLE, background="#102030")[:, 0, 0].tolist() == [16, 32, 48]
    assert read_image(path, **WHOLE)[0, 24, 24] != 255
    told = check_images([path])
    assert [finding.refuses for finding in told] == [False] and "transparent parts, shown on white" in told[0]


def test_half_transparent_parts_are_mixed_and_opaque_ones_are_not_told(tmp_path):
    saved(np.full((8, 8, 4), (255, 0, 0, 128), np.uint8), tmp_path / "half.png")
    assert read_image(tmp_path / "half.png", **WHOLE)[:, 0, 0].tolist() == [255, 127, 127]
    saved(np.full((8, 8, 4), 255, np.uint8), tmp_path / "opaque.png")
    assert check_images([tmp_path / "opaque.png"]) == []


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_of_several_frames_is_taken_and_told(tmp_path, suffix):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("white", "black", "black")]
    frames[0].save(tmp_path / f"film.{suffix}", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / f"film.{suffix}", **WHOLE).min() > 250
    told = check_images([tmp_path / f"film.{suffix}"])
    assert [finding.refuses for finding in told] == [False] and "the first is taken" in told[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_upright_whatever_their_format_and_depth(tmp_path, suffix, orientation):
    from PIL import ImageOps

    sources = [Image.new("RGB", (40, 24), "white")]
    sources[0].paste("black", (0, 0, 20, 12))
    if suffix in ("png", "tif"):
        sources.append(Image.fromarray((np.asarray(sources[0].convert("L")) * 257.0).astype(np.uint16)))
    for source in sources:
        exif = Image.Exif()
        exif[0x0112] = orientation
        source.save(tmp_path / f"turned.{suffix}", exif=exif)
        expected = sources[0].copy()
        expected.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(expected)).transpose(2, 0, 1)
        found = read_image(tmp_path / f"turned.{suffix}", **WHOLE).numpy()
        assert found.shape == expected.shape and ((found > 127) == (expected > 127)).mean() > 0.97


def test_four_inks_become_the_colours_pillow_sees(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    red = read_image(tmp_path / "red.jpg", **WHOLE)[:, 8, 8]
    assert red[0] > 240 and red[1:].max() < 15


def test_pairs_of_deep_images_keep_their_shades():
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    assert np.abs(PairsDataset([(deep, 0)], ["a"])[0].image[0].float().numpy() - RAMP * 255).max() <= 1
    assert PairsDataset([(transparent("RGBA"), 0)], ["a"], background="black")[0].image[:, 0, 0].tolist() == [0, 0, 0]


def test_the_smallest_images_and_capital_suffixes_are_read(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.PNG")
    Image.new("RGB", (1, 300), "red").save(tmp_path / "line.Png")
    for name in ("dot.PNG", "line.Png"):
        assert read_image(tmp_path / name).shape == (3, 224, 224)


def test_a_change_of_decoding_raises_its_version(tmp_path):
    saved((RAMP * 65535).astype(np.uint16), tmp_path / "deep.png")
    saved((RAMP * 4095).astype(np.uint16), tmp_path / "window.png")
    transparent("RGBA").save(tmp_path / "clear.png")
    transparent("P").save(tmp_path / "palette.gif", transparency=0)
    options = {"window.png": {"window": (0, 4095)}}
    pixels = b"".join(
        read_image(path, **WHOLE, **options.get(path.name, {})).numpy().tobytes() for path in sorted(tmp_path.iterdir())
    )
    known = {2: -4993267378069585025}
    assert known.get(masktune.images.DECODING) == masktune.images.digest(pixels), (
        "decoding has changed: raise masktune.images.DECODING and note its pixels here"
    )


# Fingerprints, labels, parts


@pytest.fixture
def pictures(tmp_path):
    "Six files of equal size"
    for i in range(6):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / f"{i}.bmp")
    return [tmp_path / f"{i}.bmp" for i in range(6)]


def files(paths, **options):
    return FileDataset(paths, [i % 2 for i in range(len(paths))], ["a", "b"], **({"resize": 20, "crop": 20} | options))


def test_an_overwritten_file_of_equal_size_is_another_data_set(pictures):
    before, dates = files(pictures).fingerprint, pictures[3].stat()
    Image.new("RGB", (20, 20), (99, 0, 0)).save(pictures[3])
    os.utime(pictures[3], ns=(dates.st_atime_ns, dates.st_mtime_ns))  # whoever copies with dates
    assert pictures[3].stat().st_size == dates.st_size and files(pictures).fingerprint != before


def test_a_data_set_moved_elsewhere_stays_itself(pictures, tmp_path):
    before = files(pictures).fingerprint
    (tmp_path / "other").mkdir()
    moved = [path.rename(tmp_path / "other" / f"renamed-{path.name}") for path in pictures]
    assert files(moved).fingerprint == before


def test_hashes_are_read_once_and_kept(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "cache"))
    whole = masktune.images.file_digests(pictures)
    monkeypatch.setattr(masktune.images.time, "time_ns", lambda: 2**62)  # much later: the files have settled
    masktune.images.file_digests(pictures)
    monkeypatch.setattr(masktune.images, "_read_digest", lambda path: pytest.fail(f"{path} was read again"))
    assert torch.equal(masktune.images.file_digests(pictures), whole)


def test_hashes_do_without_a_folder_to_keep_them(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "file"))
    assert len(masktune.images.file_digests(pictures).unique()) == 6


@pytest.mark.parametrize("options", [{"window": (0, 1)}, {"background": "black"}, {"resize": 24}, {"crop": 16}])
def test_what_decodes_otherwise_has_another_fingerprint(pictures, options):
    assert files(pictures, **options).fingerprint != files(pictures).fingerprint


def test_decoding_is_part_of_fingerprint_and_cache(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "cache"))
    first = cached(files(pictures))
    before = first.fingerprint
    monkeypatch.setattr(masktune.data, "DECODING", masktune.images.DECODING + 1)
    second = cached(files(pictures))
    assert first.images.path != second.images.path and before != second.fingerprint


def test_pairs_notice_any_changed_image():
    pairs = [(Image.new("RGB", (8, 8), (i, 0, 0)), i % 2) for i in range(100)]
    before = PairsDataset(pairs, ["a", "b"]).fingerprint
    assert PairsDataset(list(pairs), ["a", "b"]).fingerprint == before
    for position in range(100):
        changed = list(pairs)
        changed[position] = (Image.new("RGB", (8, 8), (position, 1, 0)), position % 2)
        assert PairsDataset(changed, ["a", "b"]).fingerprint != before, position


class Targets:
    "As torchvision's data sets are"

    targets, classes = list(range(10)), [f"class {i}" for i in range(10)]

    def __init__(self, target_transform=None):
        self.target_transform, self.asked = target_transform, 0

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.asked += 1
        label = self.targets[index]
        return Image.new("RGB", (8, 8)), self.target_transform(label) if self.target_transform else label


def test_target_transform_is_applied():
    from torch.utils.data import Subset

    def half(label):
        return int(label >= 5)

    expected = [half(i) for i in range(10)]
    assert PairsDataset(Targets(half)).labels.tolist() == expected and PairsDataset(Targets(half)).classes == ["0", "1"]
    assert PairsDataset(Targets(half), ["low", "high"]).classes == ["low", "high"]
    assert PairsDataset(Subset(Targets(half), [9, 0])).labels.tolist() == [1, 0]
    plain = PairsDataset(Subset(Targets(), [9, 0, 9]))
    assert plain.labels.tolist() == [9, 0, 9] and plain.classes == Targets.classes


def test_targets_that_pairs_contradict_are_not_believed():
    class Recoded(Targets):
        def __getitem__(self, index):
            return Image.new("RGB", (8, 8)), index % 2

    data = PairsDataset(Recoded())
    assert data.labels.tolist() == [0, 1] * 5 and data.classes == ["0", "1"]


@pytest.mark.parametrize(
    "labels", [[0, -1], [0, 2], [0, 0.5], [0, float("nan")], [[0, 2], [1, 0]], ["a", "b"], [0, None]]
)
def test_labels_that_are_no_class_are_refused_at_the_door(labels):
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"label|labels"):
        ArrayDataset(images, labels, ["a", "b"])
    with pytest.raises(ValueError, match=r"label|labels"):
        PairsDataset([(images[i], label) for i, label in enumerate(labels)], ["a", "b"])


def test_groups_below_unknown_are_refused():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert ArrayDataset(images, [0, 1], ["a", "b"], groups=[-1, 0], group_names=["x"]).groups.tolist() == [-1, 0]
    for groups in ([-2, 0], [0, 1], [0.5, 0]):
        with pytest.raises(ValueError, match="group"):
            ArrayDataset(images, [0, 1], ["a", "b"], groups=groups, group_names=["x"])


def test_a_part_knows_where_it_was_taken_from(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "cache"))
    array = ArrayDataset(
        torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 3, 8, 8).contiguous(), [0, 1] * 3, ["a", "b"]
    )
    pairs = PairsDataset([(array.images[i], i % 2) for i in range(6)], ["a", "b"])
    for data in (array, pairs, files(pictures), cached(files(pictures))):
        part = data.subset([4, -1, 2]).subset([1, 0])
        assert (
            part.origin(data.fingerprint).tolist() == [5, 4]
            and part.origin("another") is None
            and data.origin(data.fingerprint) is None
        )
        assert torch.equal(part.digests, data.digests[[5, 4]]) and len(pickle.loads(pickle.dumps(part))) == 2
        with pytest.raises(IndexError, match="no sample 6"):
            data.subset([0, 6])


def test_the_light_follows_the_images_device():
    lit = make_augmentation("crop-flip-colour", (8, 8)).transforms[-1](
        torch.zeros(3, 8, 8, dtype=torch.uint8, device="meta")
    )
    assert lit.device.type == "meta" and lit.shape == (3, 8, 8)


# A cache that keeps to itself


@pytest.fixture
def cache(tmp_path, monkeypatch):
    import weakref

    monkeypatch.setattr(masktune.cache, "_kept", weakref.WeakSet())  # what other tests still hold is not this one's
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


GIGABYTES = 6 * (3 * 20 * 20 + 1) / 1e9 + 1e-8  # what `files(pictures)` needs, in its file


def test_a_limit_that_fits_one_split_keeps_one(pictures, cache):
    train, val = files(pictures), files(pictures[::-1])
    kept = cached(train, limit=1.5 * GIGABYTES)
    assert kept is not train and cached(val, limit=1.5 * GIGABYTES) is val
    assert kept.images.path.exists() and cached(train, limit=1.5 * GIGABYTES) is not train


def aged(path):
    os.utime(path, (1, 1))
    return path


def test_files_of_others_go_only_when_idle_and_old_and_over_the_largest_limit(pictures, cache):
    others = cached(files(pictures), limit=3 * GIGABYTES)
    path, mine = aged(others.images.path), files(pictures[::-1])
    assert (
        masktune.cache._make_room(cache, others.images.whole, GIGABYTES) and path.exists()
    )  # a small limit empties nothing: 3 were set
    assert not masktune.cache._make_room(cache, 3 * others.images.whole, GIGABYTES) and path.exists()  # in use
    del others
    os.utime(path)
    assert (
        not masktune.cache._make_room(cache, int(2.5e9 * GIGABYTES), GIGABYTES) and path.exists()
    )  # idle, but used a moment ago
    aged(path)
    assert masktune.cache._make_room(cache, int(2.5e9 * GIGABYTES), GIGABYTES) and not path.exists()
    assert cached(mine, limit=1.5 * GIGABYTES) is not mine


def test_a_kept_data_set_is_the_one_it_keeps(pictures, cache):
    plain = files(pictures)
    kept = cached(plain)
    assert cached(kept) is kept and str(kept) == str(plain) and kept.fingerprint == plain.fingerprint
    assert all(torch.equal(sample.image, plain[sample.index].image) for sample in kept)
    part = kept.subset([5, 3])
    assert torch.equal(part[1].image, plain[3].image) and [sample.index for sample in part] == [0, 1]
    assert part.images.filled() == 6 and part.origin(plain.fingerprint).tolist() == [5, 3]
    assert torch.equal(pickle.loads(pickle.dumps(kept))[3].image, plain[3].image)  # as worker processes get it


def test_a_hash_folder_and_a_cache_lie_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "here"))
    assert masktune.images.cache_folder() == tmp_path / "here"
    monkeypatch.delenv("MASKTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert masktune.images.cache_folder() == tmp_path / "masktune"


def test_images_in_memory_are_bytes_of_three_channels():
    for images in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8).byte()):
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\) uint8"):
            ArrayDataset(images, [0, 1], ["a", "b"])
    for name in masktune.images.AUGMENTATIONS[1:]:
        changed = make_augmentation(name, (8, 8))(torch.zeros(3, 8, 8, dtype=torch.uint8))
        assert changed.shape == (3, 8, 8) and changed.dtype == torch.uint8, name


def test_a_transparent_image_of_one_channel_is_told(tmp_path):
    Image.new("LA", (20, 20), (90, 0)).save(tmp_path / "clear.png")
    Image.new("LA", (20, 20), (90, 255)).save(tmp_path / "opaque.png")
    assert [finding.refuses for finding in check_images([tmp_path / "clear.png"])] == [False]
    assert check_images([tmp_path / "opaque.png"]) == []


# Folders as people have them


def tree(root, *names, first=0):
    for number, name in enumerate(names, first):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (number % 256, number // 256, 7)).save(root / name)
    return root


def layout(*parts, count=4):
    return [f"{part}/{label}/{i}.png" for part in parts for label in ("cat", "dog") for i in range(count)]


NONE = dict(val_fraction=0, test_fraction=0)  # all images for training: too few to be divided


def told(*arguments, **options):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = load_dataset(*arguments, **options)
    return data, "\n".join(str(warning.message) for warning in found if issubclass(warning.category, DatasetWarning))


@pytest.mark.parametrize(
    "names",
    [
        ("training_set", "test_set"),
        ("Train", "Val"),
        ("train", "valid", "test"),
        ("Training", "Testing"),
        ("train", "dev"),
        ("train-images", "validation_images"),
    ],
)
def test_split_folders_are_known_by_their_many_names(tmp_path, names):
    data, _ = told("folder", "train", tree(tmp_path / "d", *layout(*names)), size=16, val_fraction=0.25)
    assert data.classes == ["cat", "dog"] and len(data) == (
        8 if len(names) == 3 or "test" not in names[1].lower() else 6
    )


@pytest.mark.parametrize(
    "names",
    [
        ("val", "test"),
        ("fold1", "fold2"),
        ("seg_train", "seg_test"),
        ("cat/train", "dog/train"),
        ("val", "valid", "train"),
    ],
)
def test_trees_that_can_be_read_in_two_ways_are_refused_and_shown(tmp_path, names):
    with pytest.raises(DatasetError) as caught:
        load_dataset("folder", "train", tree(tmp_path / "d", *layout(*names)))
    assert "found:" in str(caught.value) and f"{names[0].split('/')[0]}/" in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    data, _ = told(
        "folder",
        "train",
        tree(tmp_path / "d", *[f"{label}/{i}.png" for label in ("bus", "train") for i in range(8)]),
        size=16,
    )
    assert data.classes == ["bus", "train"]


def test_images_lie_at_any_depth_below_their_class(tmp_path):
    data, _ = told(
        "folder",
        "train",
        tree(tmp_path / "d", *[f"{label}/patient-{label}-{i}/x/{i}.png" for label in ("cat", "dog") for i in range(4)]),
        size=16,
        val_fraction=0,
        test_fraction=0,
    )
    assert data.labels.tolist() == [0] * 4 + [1] * 4


def test_what_systems_leave_behind_is_no_image(tmp_path):
    root = tree(
        tmp_path / "d",
        *layout("."),
        ".git/a.png",
        "__MACOSX/cat/._0.png",
        "cat/.ipynb_checkpoints/0.png",
        "dog/@eaDir/0.png",
        "cat/._1.png",
    )
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    data, said = told("folder", "train", root, size=16, val_fraction=0, test_fraction=0)
    assert data.classes == ["cat", "dog"] and len(data) == 8 and said == ""


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    tree(tmp_path / "store", *[f"kittens/{i}.png" for i in range(4)], first=50)
    root = tree(tmp_path / "d", *layout("."))
    (root / "cat" / "more").symlink_to(tmp_path / "store" / "kittens")
    (root / "dog" / "again").symlink_to(root / "dog")
    (root / "dog" / "above").symlink_to(root)
    with pytest.raises(DatasetError, match="duplicated path"):  # what a link names twice is said
        load_dataset("folder", "train", root)
    (root / "dog" / "above").unlink()
    data, _ = told("folder", "train", root, size=16, val_fraction=0, test_fraction=0)
    assert data.labels.bincount().tolist() == [8, 4]


def test_suffixes_pillow_reads_are_read_and_the_others_named(tmp_path):
    root = tree(tmp_path / "d", *layout("."))
    for number, (suffix, kind) in enumerate(
        {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "tga": "TGA", "JPG": "JPEG"}.items()
    ):
        Image.new("RGB", (20, 20), (number, 99, 99)).save(root / "cat" / f"x.{suffix}", kind)
    for name in ("notes.txt", "more.TXT", "boxes.xml"):
        (root / "dog" / name).write_text("x")
    data, said = told("folder", "train", root, size=16, val_fraction=0, test_fraction=0)
    assert data.labels.bincount().tolist() == [9, 4] and "2 .txt, 1 .xml" in said
    for suffix, advice in (("dcm", "pydicom"), ("heic", "register_heif_opener")):
        (root / "cat" / f"y.{suffix}").write_bytes(b"x")
        with pytest.raises(DatasetError, match=advice):
            load_dataset("folder", "train", root)
        (root / "cat" / f"y.{suffix}").unlink()


def test_images_outside_class_folders_are_told(tmp_path):
    _, said = told("folder", "train", tree(tmp_path / "d", *layout("."), "loose.png"), size=16, **NONE)
    assert "loose.png" in said
    root = tree(tmp_path / "e", *layout("train"), "test/1.png", "extra/2.png")
    _, said = told("folder", "train", root, size=16, **NONE)
    assert "extra, test" in said


def test_an_empty_split_folder_and_a_broken_one_are_reported_at_once(tmp_path):
    root = tree(tmp_path / "d", *layout("train"))
    (root / "test").mkdir()
    (root / "train" / "bird").mkdir()
    with pytest.raises(DatasetError) as caught:
        load_dataset("folder", "train", root)
    assert len(caught.value.problems) == 2 and "split folder with no class folder" in str(caught.value)


def test_copies_between_splits_refuse_and_within_one_table_are_told(tmp_path):
    root = tree(tmp_path / "d", *layout("train", "test"))
    (root / "test" / "dog" / "copy.png").write_bytes((root / "train" / "cat" / "1.png").read_bytes())
    with pytest.raises(DatasetError, match=r"byte-for-byte copies in (train and test|test and train)"):
        load_dataset("folder", "train", root)
    root = tree(tmp_path / "e", *layout("."))
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "1.png").read_bytes())
    assert "1 image is a byte-for-byte copy of another" in told("folder", "train", root, size=16, **NONE)[1]


def test_names_in_any_script_and_either_form_are_one_class(tmp_path):
    import unicodedata

    root = tree(
        tmp_path / "d",
        *[f"train/{unicodedata.normalize('NFC', 'café')}/{i}.png" for i in range(4)],
        *[f"train/猫/{i + 10}.png" for i in range(4)],
    )
    tree(
        root,
        *[f"val/{unicodedata.normalize('NFD', 'café')}/ü{i}.png" for i in range(4)],
        *[f"val/猫/{i}.png" for i in range(4)],
        first=100,
    )
    data, _ = told("folder", "val", root, size=16)
    assert data.classes == ["café", "猫"] and len(data) == 8


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    root, real = tree(tmp_path / "d", *layout(".")), os.listdir

    def refused(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", refused)
    monkeypatch.setattr(masktune.data.Path, "iterdir", lambda self: (self / name for name in refused(self)))
    with pytest.raises(DatasetError, match="dog: 1 problem\n  - this folder cannot be read"):
        load_dataset("folder", "train", root)


# CSVs, and the order of classes


def listing(root, labels, split=None, names=None):
    tree(root, *[f"{i}.png" for i in range(len(labels))])
    rows = [f"{i}.png,{label}" + (f",{split[i]}" if split else "") for i, label in enumerate(labels)]
    (root / "list.csv").write_text(
        "path,label" + (",split" if split else "") + "\n" + "\n".join(rows), encoding="utf-8"
    )
    return root / "list.csv"


def test_whole_numbers_in_a_csv_are_ordered_by_value(tmp_path):
    labels = [str(i) for i in range(12) for _ in range(2)]
    data, _ = told("csv", "train", listing(tmp_path, labels), size=16, val_fraction=0, test_fraction=0)
    assert data.classes == [str(i) for i in range(12)] and data.labels.tolist() == [int(label) for label in labels]


def test_classes_state_their_order_and_what_is_outside_is_refused(tmp_path):
    file = listing(tmp_path, ["dog", "cat", "bird", "bird"])
    data, _ = told("csv", "train", file, size=16, classes=["dog", "bird", "cat"], val_fraction=0, test_fraction=0)
    assert data.classes == ["dog", "bird", "cat"] and data.labels.tolist() == [0, 2, 1, 1]
    assert (
        told("csv", "train", file, size=16, classes="dog,bird,cat,fish", val_fraction=0, test_fraction=0)[0].classes[-1]
        == "fish"
    )
    with pytest.raises(DatasetError, match="label 'bird' is none of classes"):
        load_dataset("csv", "train", file, classes=["dog", "cat"])


def test_numbered_folders_keep_torchvisions_order_and_say_so(tmp_path):
    root = tree(tmp_path / "d", *[f"{label}/{label}-{i}.png" for label in (1, 2, 10) for i in range(2)])
    data, said = told("folder", "train", root, size=16, **NONE)
    assert data.classes == ["1", "10", "2"] and "classes= states another order" in said
    assert told("folder", "train", root, size=16, classes=["1", "2", "10"], **NONE)[0].classes == ["1", "2", "10"]


def test_labels_are_stripped_and_those_that_differ_in_capitals_told(tmp_path):
    data, said = told(
        "csv", "train", listing(tmp_path, ["cat", "cat ", " dog", "Dog"]), size=16, val_fraction=0, test_fraction=0
    )
    assert data.classes == ["Dog", "cat", "dog"] and "'Dog', 'dog': are they one?" in said


def test_one_image_is_spoken_of_in_the_singular(tmp_path):
    for number in (1, 2):
        Image.fromarray((RAMP * 4095).astype(np.uint16)).save(tmp_path / f"{number}.png")
    one, two = (check_images([tmp_path / f"{i}.png" for i in range(1, last + 1)])[-1] for last in (1, 2))
    assert one == (
        "1 image of 16 bits holds no value above 4095, so it comes out almost black: if its values are 12 bits, give "
        "window=(0, 4095)"
    )
    assert two.startswith("2 images of 16 bits hold no value above 4095, so they come out almost black: if their")


def test_window_and_background_reach_every_way_in(tmp_path):
    for label in ("a", "b"):
        for i in range(4):
            (tmp_path / "d" / label).mkdir(parents=True, exist_ok=True)
            saved(
                ((RAMP + i + (label == "a") * 10) * 100).astype(np.uint16), tmp_path / "d" / label / f"{label}{i}.png"
            )
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "\n".join(f"d/{label}/{label}{i}.png,{label}" for label in ("a", "b") for i in range(4))
    )
    for name, root in (("folder", tmp_path / "d"), ("csv", tmp_path / "list.csv")):
        data, _ = told(name, "train", root, size=16, window=[0, 2000], background="black", **NONE)
        assert (data.window, data.background) == ((0, 2000), "black") and data[0].image.max() > 100
        assert "come out almost black" in told(name, "train", root, size=16, **NONE)[1]


def as_listing(root):
    "A CSV of a folder of class folders"
    lines = sorted(f"{path.relative_to(root.parent).as_posix()},{path.parent.name}" for path in root.rglob("*.png"))
    (root.parent / "list.csv").write_text("\n".join(["path,label", *lines]))
    return root.parent / "list.csv"


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_random_splits_without_an_image_are_refused_before_anything_is_trained(tmp_path, name):
    root = tree(tmp_path / "d", *layout(".", count=2))
    root = root if name == "folder" else as_listing(root)
    for asked in ("train", "val", "test"):
        with pytest.raises(DatasetError, match=r"no image for split test: test_fraction=0\.15 of 4 images, each class"):
            load_dataset(name, asked, root, size=16)
    with pytest.raises(DatasetError, match=r"for split train: val_fraction=0\.9 and test_fraction=0\.05 of 4 images"):
        load_dataset(name, "train", root, size=16, val_fraction=0.9, test_fraction=0.05)
    data, _ = told(name, "train", root, size=16, **NONE)  # who asks for neither does without
    assert len(data) == 4
    data, _ = told(name, "val", root, size=16, val_fraction=0.5, test_fraction=0)
    assert len(data) == 2
    for asked, split in (("val", "val"), ("validation", "val"), ("test", "test")):
        with pytest.raises(DatasetError, match=f"split {split}: {split}_fraction=0 of 4 images.*: give a share above"):
            load_dataset(name, asked, root, size=16, **NONE)
    assert len(told(name, "held-out", root, size=16)[0]) == 4  # all of them: nothing is divided


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_a_class_with_too_few_images_for_a_random_split_is_told(tmp_path, name):
    root = tree(tmp_path / "d", *layout(".", count=20), "rare/1.png")
    root = root if name == "folder" else as_listing(root)
    _, said = told(name, "train", root, size=16)
    for part in ("val", "test"):
        assert f"no image of class rare in split {part}: too few for a share of them, drawn at random" in said
    assert "in split train" not in said
    assert "in split" not in told(name, "train", root, size=16, **NONE)[1]  # nothing is divided


def test_classes_that_are_one_number_are_told(tmp_path):
    for labels, names in ((["0", "0.0", "1", "1"], "'0', '0.0'"), (["01", "1", "2", "2"], "'01', '1'")):
        data, said = told("csv", "train", listing(tmp_path, labels), size=16, **NONE)
        assert len(data.classes) == 3 and f"classes that are the same number: {names}: are they one?" in said
    _, said = told("csv", "train", listing(tmp_path, ["1", "2", "v1", "v1.0"]), size=16, **NONE)
    assert said == ""
    large = ["10000000000000000", "10000000000000001", "x", "x"]  # two numbers, though no float tells them apart
    assert told("csv", "train", listing(tmp_path, large), size=16, **NONE)[1] == ""


def test_labels_that_say_unknown_are_told(tmp_path):
    def said(labels, **options):
        return told("csv", "train", listing(tmp_path, labels), size=16, **NONE, **options)[1]

    assert "class '-1' stands for an unknown label in many tables: leave such images out" in said(["0", "1", "-1", "0"])
    assert "classes 'NaN', 'n/a' stand for labels that are unknown" in said(["cat", "dog", "NaN", "n/a"])
    assert said(["-1", "1", "-1", "1"]) == "" and said(["-1", "+1", "-1", "+1"]) == ""  # two classes, as often written
    assert said(["0", "1", "-1", "1"], classes="-1,0,1") == ""


def test_a_hidden_folder_of_images_is_told(tmp_path):
    root = tree(tmp_path / "d", *layout("."), ".net/1.png", ".empty/x/2.png", ".git/a.png")
    data, said = told("folder", "train", root, size=16, **NONE)
    assert data.classes == ["cat", "dog"]
    assert said.endswith(f"hides it: {root / '.net'}: call it otherwise if it is a class")
    root = tree(tmp_path / "e", *layout("train"), "train/.net/1.png")
    assert str(root / "train" / ".net") in told("folder", "train", root, size=16, **NONE)[1]


def test_a_split_that_is_on_disk_opens_whatever_random_ones_would_hold(tmp_path):
    root = tree(tmp_path / "d", *layout("train", "test", count=2))
    assert len(told("folder", "test", root, size=16)[0]) == 4
    with pytest.raises(DatasetError, match=r"no image for split val: val_fraction=0\.15 of 4 images"):
        load_dataset("folder", "train", root, size=16)


def test_a_run_without_a_test_split_is_refused_before_it_trains(tmp_path, capsys):
    from masktune.cli import main

    root = tree(tmp_path / "d", *layout(".", count=8))
    words = ["--data", "folder", "--root", str(root), "--option", "size=16", "--option", "test_fraction=0"]
    assert main(["erm", "--out", str(tmp_path / "run"), *words, "--model", "small-cnn", "--device", "cpu"]) == 2
    assert "no image for split test: test_fraction=0 of 16 images" in capsys.readouterr().err
    assert not (tmp_path / "run" / "erm").exists()


def test_every_command_runs_on_train_and_val_alone(tmp_path, capsys):
    from masktune.cli import main

    root, out = tree(tmp_path / "d", *layout("train", "val", count=8)), str(tmp_path / "run")
    assert dataset_splits("folder", root) == ("validation",)
    settings = ["--epochs", "1", "--batch-size", "8", "--lr", "0.01", "--device", "cpu", "--num-workers", "0"]
    assert (
        main(
            [
                "erm",
                "--out",
                out,
                "--data",
                "folder",
                "--root",
                str(root),
                "--model",
                "small-cnn",
                "--no-pretrained",
                "--option",
                "size=28",
                *settings,
            ]
        )
        == 0
    )
    for step in ("saliency", "finetune", "evaluate", "selective", "report"):
        assert main([step, out]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").exists() and {"validation", "swapped-val"} <= set(
        masktune.files.read_json(tmp_path / "run" / "metrics.json")["erm"]
    )


def test_maps_of_other_positions_are_refused():
    from masktune.saliency import SaliencyMaps

    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 8, 8).contiguous()
    data = ArrayDataset(images, [0, 1] * 5, ["a", "b"])
    other = ArrayDataset(images + 100, [0, 1] * 5, ["a", "b"])
    ones = torch.ones(10)
    maps = SaliencyMaps(torch.rand(10, 2, 2).half(), ones, ones.long(), ones, data=data.fingerprint, dataset=str(data))
    assert len(maps.subset([7, -2], data.subset([7, 8])).check(data.subset([7, 8]))) == 2
    with pytest.raises(ValueError, match=r"\[0, 1, 2\] ..., are not those of"):
        maps.subset([0, 1, 2], data.subset([7, 8, 9]))
    with pytest.raises(ValueError, match="is neither"):
        maps.subset([0, 1, 2], other.subset([0, 1, 2]))
