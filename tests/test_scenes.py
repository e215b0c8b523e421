"""Composed scenes: groups, splits that share no file, true masks, the same bytes, and everything that can be wrong;
Waterbirds from made trees."""

import csv
import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

import masktune.experiments.marks as marks
import masktune.experiments.scenes as scenes
from masktune.cli import main
from masktune.errors import DatasetError
from masktune.experiments.cutouts import split_sources
from masktune.experiments.datasets import load_dataset
from masktune.experiments.marks import MARKS, draw_mark, find_font
from masktune.experiments.scenes import compose_scenes, open_scenes, scene_masks
from masktune.experiments.waterbirds import compose_waterbirds

SMALL = dict(counts=(40, 20, 24), size=32, progress=False)


def noise(path: Path, seed: int, size=(48, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def cut_out(path: Path, seed: int, alpha: bool = True) -> Image.Image:
    "A patch of noise, round or square, on nothing; its mask is returned"
    generator = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8))
    mask = Image.new("L", (40, 40))
    draw = ImageDraw.Draw(mask)
    (draw.ellipse if seed % 2 else draw.rectangle)([6, 8, 32, 30], fill=255)
    if alpha:
        image.putalpha(mask)
    image.save(path)
    return mask


@pytest.fixture
def sources(tmp_path):
    "Two classes of eight cut-outs, two kinds of eight backgrounds"
    for number, (name, kind) in enumerate((("apple", "forest"), ("brick", "street"))):
        for i in range(8):
            cut_out(tmp_path / "objects" / name / f"{i}.png", 100 * number + i)
            noise(tmp_path / "backgrounds" / kind / f"{i}.jpg", 1000 + 100 * number + i)
    return (
        {name: tmp_path / "objects" / name for name in ("apple", "brick")},
        {kind: tmp_path / "backgrounds" / kind for kind in ("forest", "street")},
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "scenes.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is promised of a set


def test_groups_follow_the_correlation_of_each_split(sources, tmp_path):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, correlation=0.9, val_correlation=0.6, **SMALL)
    counted = Counter((row["split"], row["group"]) for row in rows_of(tmp_path / "a"))
    assert counted["train", "apple on forest"] == 18 and counted["train", "apple on street"] == 2
    assert counted["train", "brick on street"] == 18 and counted["train", "brick on forest"] == 2
    assert counted["val", "apple on forest"] == 6 and counted["val", "apple on street"] == 4
    assert {count for (split, _), count in counted.items() if split == "test"} == {6}
    assert json.loads((tmp_path / "a" / "scenes.json").read_text())["groups"]["val"]["apple on forest"] == 6


def test_three_classes_on_three_kinds(sources, tmp_path):
    objects, backgrounds = sources
    for i in range(6):
        cut_out(tmp_path / "objects" / "cup" / f"{i}.png", 700 + i)
        noise(tmp_path / "backgrounds" / "sea" / f"{i}.png", 1700 + i)
    objects, backgrounds = (
        objects | {"cup": tmp_path / "objects" / "cup"},
        backgrounds | {"sea": tmp_path / "backgrounds" / "sea"},
    )
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, correlation=0.8, counts=(30, 9, 27), size=32)
    counted = Counter((row["split"], row["group"]) for row in rows_of(tmp_path / "a"))
    assert (
        counted["train", "cup on sea"] == 8
        and counted["train", "cup on forest"] == 1
        and counted["test", "cup on sea"] == 3
    )
    assert len([key for key in counted if key[0] == "test"]) == 9


@pytest.mark.parametrize("mark", [None, "sticker"])
def test_no_split_shows_a_file_of_another(sources, tmp_path, mark):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, mark=mark, **SMALL)
    rows = rows_of(tmp_path / "a")
    for column in ("object", "background"):
        used = {split: {row[column] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
        assert all(used.values())
        assert not used["train"] & used["test"] and not used["train"] & used["val"] and not used["val"] & used["test"]


@pytest.mark.parametrize("count", range(3, 40))
def test_splits_of_any_number_share_nothing_and_lose_nothing(count):
    parts = split_sources(count, (0.6, 0.15, 0.25), seed=count)
    assert sorted(i for part in parts.values() for i in part) == list(range(count)) and all(parts.values())


def test_a_picture_in_several_sizes_is_used_once(sources, tmp_path):
    objects, backgrounds = sources
    noise(backgrounds["forest"] / "0.jpg", 5, (64, 64))
    wallpaper = Image.open(backgrounds["forest"] / "0.jpg")
    wallpaper.resize((128, 128), Image.Resampling.NEAREST).save(
        backgrounds["forest"] / "copy.png"
    )  # looks the same, under another name
    for size in ("640x480", "1920x1080"):  # two crops of one picture, named after their sizes
        noise(backgrounds["forest"] / "hills" / f"{size}.png", int(size[:3]), (64 if size[0] == "6" else 96, 48))
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    said = json.loads((tmp_path / "a" / "scenes.json").read_text())["backgrounds"]["forest"]
    assert said["files"] == 11 and said["copies_left_out"] == 2 and said["train"] + said["val"] + said["test"] == 9
    used = {row["background"] for row in rows_of(tmp_path / "a")}
    assert "forest/0.jpg" not in used and "forest/hills/640x480.png" not in used


def test_a_mirror_image_is_no_other_object(sources, tmp_path):
    "Objects are drawn mirrored half of the time: in training and in the test, the two would be the same picture"
    objects, backgrounds = sources
    image = Image.open(objects["apple"] / "0.png")
    soft = image.resize((8, 8), Image.Resampling.BOX).resize((96, 96), Image.Resampling.BICUBIC)  # as photographs are
    soft.save(objects["apple"] / "0.png")
    ImageOps.mirror(soft).save(objects["apple"] / "0_mirror.png")
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    said = json.loads((tmp_path / "a" / "scenes.json").read_text())["objects"]["apple"]
    assert (said["files"], said["copies_left_out"]) == (9, 1)
    assert not {"apple/0.png", "apple/0_mirror.png"} <= {row["object"] for row in rows_of(tmp_path / "a")}


def test_the_same_seed_gives_the_same_bytes(sources, tmp_path):
    objects, backgrounds = sources
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        compose_scenes(
            objects, tmp_path / name, backgrounds=backgrounds, mark="text", place="random", seed=seed, **SMALL
        )
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_two_sets_that_differ_in_their_mark_differ_where_it_lies(sources, tmp_path):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, mark="sticker", **SMALL)
    compose_scenes(objects, tmp_path / "b", backgrounds=backgrounds, mark="ruler", correlation=0.5, **SMALL)
    for split in ("train", "test"):
        either = scene_masks(split, tmp_path / "a") | scene_masks(split, tmp_path / "b")
        a, b = (torch.stack([sample.image for sample in open_scenes(split, tmp_path / name)]) for name in "ab")
        changed = (a.int() - b.int()).abs().amax(1) > 128  # soft edges lie outside the mask, and change less
        assert either.any() and changed.any() and not (changed & ~either).any()


def test_the_list_opens_as_any_other(sources, tmp_path):
    objects, backgrounds = sources
    listing = compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, mark="frame", **SMALL)
    data, whole = load_dataset("csv", "train", listing, size=32), open_scenes("train", listing)
    assert len(data) == 40 and data.classes == ["apple", "brick"] and torch.equal(data.groups, whole.groups)
    assert data.group_names == ["apple with frame", "apple without frame", "brick with frame", "brick without frame"]
    framed = [i for i in range(40) if data.group_names[data.groups[i]] == "apple with frame"]
    assert len(framed) == 19 and all(
        data[i].image[:, 0].float().mean() < 60 for i in framed
    )  # still there after the centre crop
    assert scene_masks("train", listing, size=64).shape == (40, 64, 64)
    assert not scene_masks("train", listing)[[i for i in range(40) if i not in framed and data.labels[i] == 0]].any()


def test_jpeg_files(sources, tmp_path):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, format="jpeg", **SMALL)
    names = [row["path"] for row in rows_of(tmp_path / "a")]
    assert all(name.endswith(".jpg") for name in names) and Image.open(tmp_path / "a" / names[0]).format == "JPEG"


def test_images_with_a_folder_of_masks_are_cut_out_alike(sources, tmp_path):
    objects, backgrounds = sources
    for i in range(8):
        mask = cut_out(tmp_path / "plain" / "apple" / f"{i}.png", i, alpha=False)
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / f"{i}.png")
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    given = {"apple": tmp_path / "plain" / "apple", "brick": objects["brick"]}
    compose_scenes(given, tmp_path / "b", backgrounds=backgrounds, masks={"apple": tmp_path / "masks"}, **SMALL)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert {k: v for k, v in a.items() if k.endswith(".png")} == {k: v for k, v in b.items() if k.endswith(".png")}
    (tmp_path / "masks" / "5.png").unlink()
    with pytest.raises(DatasetError, match=r"no mask 5\.png in .*masks for .*apple/5\.png"):
        compose_scenes(given, tmp_path / "c", backgrounds=backgrounds, masks={"apple": tmp_path / "masks"}, **SMALL)


def test_the_true_mask_of_a_background_is_all_but_the_object(tmp_path, sources):
    objects, _ = sources
    for kind, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        for i in range(3):
            path = tmp_path / kind / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (40, 40), tuple(max(value - 20 * i, 0) for value in colour)).save(path)
    compose_scenes(objects, tmp_path / "a", backgrounds={"red": tmp_path / "red", "blue": tmp_path / "blue"}, **SMALL)
    data, masks = open_scenes("train", tmp_path / "a"), scene_masks("train", tmp_path / "a")
    for sample in data:
        behind = sample.image[:, masks[sample.index]].float()
        channel = 0 if data.group_names[sample.group].endswith("red") else 2
        assert 0.3 < masks[sample.index].float().mean() < 0.95
        assert behind[channel].median() > 200 and behind[2 - channel].median() < 10


@pytest.mark.parametrize("name, split", [("validation", "val"), ("Test", "test"), ("held-out", "val")])
def test_masks_are_found_by_every_name_of_a_split(sources, tmp_path, name, split):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    masks = scene_masks(name, tmp_path / "a")
    assert masks.any() and torch.equal(masks, scene_masks(split, tmp_path / "a"))
    assert len(open_scenes(name, tmp_path / "a")) == len(masks)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sources_of_16_bits_come_out_as_those_of_8(tmp_path, suffix):
    from masktune.experiments.cutouts import Source, cut_out, upright

    grey = np.random.default_rng(0).integers(0, 256, (20, 24), np.uint8)
    grey[0, :2] = 0, 255
    alpha = np.zeros((20, 24), np.uint8)
    alpha[4:12, 6:20] = 255
    for name, pixels in (("grey", grey), ("alpha", alpha)):
        Image.fromarray(pixels).save(tmp_path / f"{name}8.{suffix}")
        Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / f"{name}16.{suffix}")
        Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / f"{name}8in16.{suffix}")
    whole = cut_out(Source(tmp_path / f"grey8.{suffix}", "grey", tmp_path / f"alpha8.{suffix}"))
    assert whole.size == (14, 8)
    for bits in ("16", "8in16"):
        image = upright(tmp_path / f"grey{bits}.{suffix}")
        assert image.mode == "RGB" and (np.asarray(image) == grey[..., None]).all()
        found = cut_out(Source(tmp_path / f"grey{bits}.{suffix}", "grey", tmp_path / f"alpha{bits}.{suffix}"))
        assert found.tobytes() == whole.tobytes()
    dark = np.where(alpha, 30000, 200).astype(np.uint16)  # the edge of a mask lies at half, not at 255 of 65535
    Image.fromarray(dark).save(tmp_path / f"dark.{suffix}")
    with pytest.raises(ValueError, match="no object in"):
        cut_out(Source(tmp_path / f"grey16.{suffix}", "grey", tmp_path / f"dark.{suffix}"))


def test_a_source_that_does_not_say_what_is_white_is_refused(tmp_path):
    from masktune.experiments.cutouts import upright

    Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)).save(tmp_path / "floats.tif")
    with pytest.raises(ValueError, match=r"floats\.tif \(floats, or whole numbers.*convert it to 8 bits"):
        upright(tmp_path / "floats.tif")


# Marks


@pytest.mark.parametrize("kind", MARKS)
def test_a_stronger_mark_changes_more(kind):
    image = Image.fromarray(np.random.default_rng(0).integers(60, 200, (64, 80, 3), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = [draw_mark(image, kind, strength) for strength in (0.1, 0.4, 1.0)]
    changes = [np.abs(np.asarray(marked).astype(int) - np.asarray(image).astype(int)).mean() for marked, _ in drawn]
    assert 0 < changes[0] < changes[1] < changes[2]
    everywhere = kind in ("colour-cast", "blur", "jpeg")
    assert all((mask is None) == everywhere for _, mask in drawn) and drawn[0][0].size == (80, 64)
    if not everywhere:
        assert all((mask == drawn[0][1]).all() for _, mask in drawn) and 0 < drawn[0][1].mean() < 0.6


@pytest.mark.parametrize("place", marks.PLACES)
def test_a_mark_lies_in_its_place_and_inside_the_centre_crop(place):
    x, y = marks.PLACES[place]
    rows, columns = np.nonzero(draw_mark(Image.new("RGB", (112, 112)), "sticker", place=place)[1])
    assert abs(rows.mean() - (20 + 72 * y)) < 2.5 and abs(columns.mean() - (20 + 72 * x)) < 2.5
    assert (
        min(rows.min(), columns.min()) >= 7 and max(rows.max(), columns.max()) < 105
    )  # 6.25 % of 112 pixels are cut off


def test_the_watermark_is_where_imagenet_w_has_it():
    mask = draw_mark(Image.new("RGB", (224, 224)), "watermark")[1]
    rows, columns = np.nonzero(mask)
    assert (
        0.4 * 224 - 1 <= rows.min() and rows.max() < 0.4 * 224 + 1.6 * 36
    )  # a line of 36 pixels that begins at 0.4 of the height
    assert columns.min() < 12 and 200 < columns.max() < 224  # six characters from 0.01 of the width on


def test_no_font_for_the_watermark_is_said_and_written(sources, tmp_path, monkeypatch):
    objects, backgrounds = sources
    monkeypatch.setattr(marks, "_cjk_fonts", lambda: [])
    marks._find_font.cache_clear()
    with pytest.warns(
        UserWarning, match=r"watermark drawn with strokes: no font found here has these characters.*font="
    ):
        compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, mark="watermark", **SMALL)
    said = json.loads((tmp_path / "a" / "scenes.json").read_text())["mark"]
    assert said["letters"].startswith("strokes") and said["text"] == "捷径捷径捷径" and said["strength"] == 0.5
    with pytest.raises(ValueError, match="no font found here has the letters of '犬': name one with font"):
        compose_scenes(objects, tmp_path / "b", backgrounds=backgrounds, mark="text", text="犬", **SMALL)
    assert not (tmp_path / "b").exists()
    marks._find_font.cache_clear()


def test_a_given_font_is_used_or_refused(tmp_path):
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    assert find_font("shortcut", font) == str(font)
    with pytest.raises(ValueError, match="lacks letters of '捷径'"):
        find_font("捷径", font)
    plain = Image.new("RGB", (96, 96))
    assert (draw_mark(plain, "text", text="shortcut", font=font)[0].tobytes()) != draw_mark(
        plain, "text", text="shortcut"
    )[0].tobytes()


# What can be wrong: one sentence, and nothing is written


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(mark="stickr"), "unknown mark 'stickr': did you mean 'sticker'"),
        (dict(mark="sticker", strength=0), "the strength of a mark must be above 0 and at most 1, got 0"),
        (dict(mark="sticker", strength=1.01), "the strength of a mark must be above 0 and at most 1, got 1.01"),
        (dict(mark="sticker", strength="strong"), "the strength of a mark must be above 0 and at most 1, got 'strong'"),
        (dict(mark="sticker", mark_size=2), "the size of a mark must be above 0 and at most 1, got 2"),
        (dict(mark="sticker", place=(0.5,)), "or two shares in 0..1, got"),
        (dict(mark="sticker", place="middle"), "unknown place 'middle'"),
        (dict(mark="blur", place="centre"), "a blur mark has no place to choose"),
        (dict(mark="jpeg", mark_size=0.2), "a jpeg mark has no size to choose"),
        (dict(mark="sticker", text="a"), "a sticker mark has no text and no font to choose"),
        (dict(place="centre"), "place is of a mark, and no mark was asked for"),
        (dict(correlation=0.4), r"correlation must be from 0.5 \(no shortcut among 2\) to 1, got 0.4"),
        (dict(val_correlation=1.2), "val_correlation must be from 0.5"),
        (dict(counts=(10, 5)), "counts must be three whole numbers above 0"),
        (dict(counts=(10, 5, 0)), "counts must be three whole numbers above 0"),
        (dict(counts=(10, 1, 10)), "every split needs an image of each of 2 classes"),
        (dict(size=8), "size must be a whole number of at least 16 pixels, got 8"),
        (
            dict(size=64),
            r"background .*0\.jpg is 48 x 40 pixels, smaller than the scene \(64\): give a larger one or a smaller "
            r"size",
        ),
        (dict(object_size=(0.9, 0.5)), "object_size must be two shares"),
        (dict(source_shares=(0.5, 0.5, 0.5)), "source_shares must be three shares above 0 that sum to 1"),
        (dict(seed=-1), "seed must be a whole number of at least 0 and at most 4,294,967,295, got -1"),
        (dict(format="gif"), "unknown format 'gif'"),
        (dict(masks={"pear": "x"}), "unknown class with masks 'pear'"),
        (dict(masks={"apple": "nowhere"}), "there is no folder of masks nowhere"),
        (dict(backgrounds={}), "backgrounds must name at least 2, got none"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(sources, tmp_path, options, message):
    objects, backgrounds = sources
    with pytest.raises(ValueError, match=message):
        compose_scenes(objects, tmp_path / "out", **{"backgrounds": backgrounds, **SMALL, **options})
    assert {path.name for path in tmp_path.iterdir()} == {"objects", "backgrounds"}


def test_broken_sources_are_named_all_at_once(sources, tmp_path):
    objects, backgrounds = sources
    noise(objects["apple"] / "whole.png", 1)
    (objects["apple"] / "broken.png").write_bytes(b"not a picture")
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(objects["apple"] / "empty.png")
    (tmp_path / "none").mkdir()
    for i in range(2):
        cut_out(tmp_path / "few" / f"{i}.png", 40 + i)
    with pytest.raises(DatasetError) as caught:
        objects |= {"none": tmp_path / "none", "few": tmp_path / "few", "gone": tmp_path / "gone"}
        compose_scenes(objects, tmp_path / "out", backgrounds=backgrounds, **SMALL)
    text = "\n".join(caught.value.problems)
    assert (
        f"no transparency in {objects['apple'] / 'whole.png'}: give an RGBA cut-out, or a mask of the same name" in text
    )
    assert "cannot be decoded as an image" in text and "all of it is transparent" in text
    assert f"no cut-out in {tmp_path / 'none'} (none)" in text and f"there is no folder {tmp_path / 'gone'}" in text
    assert (
        f"2 cut-outs in {tmp_path / 'few'} (few), copies left out: at least 3 are needed, so that the splits share "
        "none" in text
    )
    assert not (tmp_path / "out").exists()


def test_a_file_of_two_classes_is_refused(sources, tmp_path):
    objects, backgrounds = sources
    with pytest.raises(DatasetError, match="is named as apple and as pear: give each its own folder"):
        compose_scenes(objects | {"pear": objects["apple"]}, tmp_path / "out", backgrounds=backgrounds, **SMALL)


@pytest.mark.parametrize("name", ["a/b", "", " a", ".hidden", "a,b"])
def test_a_name_that_can_be_no_folder_is_refused(sources, tmp_path, name):
    objects, backgrounds = sources
    with pytest.raises(ValueError, match="can be no name"):
        compose_scenes(
            {"apple": objects["apple"], name: objects["brick"]}, tmp_path / "out", backgrounds=backgrounds, **SMALL
        )


def test_a_set_is_written_whole_or_not_at_all(sources, tmp_path, monkeypatch):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    before, draw = contents(tmp_path / "a"), scenes._draw_scene

    def stops(scene, *rest):
        if scene.number == 7:
            raise KeyboardInterrupt
        return draw(scene, *rest)

    monkeypatch.setattr(scenes, "_draw_scene", stops)
    for name in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            compose_scenes(objects, tmp_path / name, backgrounds=backgrounds, seed=9, overwrite=True, **SMALL)
    assert contents(tmp_path / "a") == before and {path.name for path in tmp_path.iterdir()} == {
        "a",
        "objects",
        "backgrounds",
    }


def test_a_folder_is_replaced_only_when_asked_for_and_composed(sources, tmp_path):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    with pytest.raises(ValueError, match="holds composed scenes already: add overwrite"):
        compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, overwrite=True, **SMALL | {"counts": (4, 4, 4)})
    assert len(rows_of(tmp_path / "a")) == 12
    with pytest.raises(ValueError, match="holds something else than composed scenes"):
        compose_scenes(objects, objects["apple"], backgrounds=backgrounds, overwrite=True, **SMALL)
    assert len(list(objects["apple"].iterdir())) == 8


@pytest.mark.parametrize("name", ["notes.txt", "run/erm/last.safetensors", "images/train/apple/mine.png", ".hidden"])
def test_overwriting_refuses_what_it_has_not_composed(sources, tmp_path, name):
    objects, backgrounds = sources
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, **SMALL)
    (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a" / name).write_text("mine")
    (tmp_path / "a" / ".DS_Store").touch()  # of a system: no reason to refuse
    before = contents(tmp_path / "a")
    with pytest.raises(ValueError, match=f"overwriting would remove it: {name}. Move it away, or name another folder"):
        compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, overwrite=True, **SMALL | {"seed": 9})
    assert contents(tmp_path / "a") == before
    (tmp_path / "a" / name).unlink()
    compose_scenes(objects, tmp_path / "a", backgrounds=backgrounds, overwrite=True, **SMALL | {"seed": 9})
    assert contents(tmp_path / "a") != before


def test_overwriting_waterbirds_refuses_what_it_has_not_composed(tmp_path):
    cub, places = made_cub(tmp_path / "CUB_200_2011"), made_places(tmp_path / "places", "data_large/{letter}/{name}")
    compose_waterbirds(cub, places, tmp_path / "out")
    compose_waterbirds(cub, places, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / SPECIES[0] / "mine.jpg").touch()
    with pytest.raises(ValueError, match=r"overwriting would remove it: 001.Laysan_Albatross/mine.jpg"):
        compose_waterbirds(cub, places, tmp_path / "out", overwrite=True)


# Waterbirds, from small made trees of the published layouts

SPECIES = ("001.Laysan_Albatross", "002.Least_Tern", "003.Painted_Bunting", "004.Western_Wood_Pewee")


def made_cub(root: Path, count: int = 80, segmentations: Path | None = None) -> Path:
    images, labels, parts = [], [], []
    for i in range(count):
        species = SPECIES[i % 4]
        file = f"{species}/{species[4:]}_{i:04}_{i}.jpg"
        noise(root / "images" / file, i, (20, 16))
        mask = ((segmentations or root / "segmentations") / file).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        bird = Image.new("L", (20, 16))
        ImageDraw.Draw(bird).rectangle([5, 4, 14, 11], fill=255)
        bird.save(mask)
        images.append(f"{i + 1} {file}")
        labels.append(f"{i + 1} {i % 4 + 1}")
        parts.append(f"{i + 1} {int(i < count // 2)}")
    for name, lines in (("images", images), ("image_class_labels", labels), ("train_test_split", parts)):
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def made_places(root: Path, form: str, count: int = 30) -> Path:
    for name, colour in (
        ("bamboo_forest", (0, 200, 0)),
        ("forest/broadleaf", (0, 180, 0)),
        ("ocean", (0, 0, 200)),
        ("lake/natural", (0, 0, 180)),
    ):
        folder = root / form.format(letter=name[0], name=name, dashed=name.replace("/", "-"))
        folder.mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (30, 30 if i % 2 else 12), colour).save(folder / f"Places365_{i:08}.jpg")
    return root


@pytest.mark.parametrize(
    "form",
    ["data_large/{letter}/{name}", "data_256/{letter}/{name}", "places365_standard/train/{dashed}", "train/{dashed}"],
)
def test_waterbirds_from_every_layout_of_places(tmp_path, form):
    cub, places = made_cub(tmp_path / "CUB_200_2011"), made_places(tmp_path / "places", form)
    compose_waterbirds(cub, places, tmp_path / "waterbirds")
    with open(tmp_path / "waterbirds" / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["img_id", "img_filename", "y", "split", "place", "place_filename"]  # as published
    assert Counter(row["split"] for row in rows) == {"0": 32, "1": 8, "2": 40}
    assert all((int(row["img_id"]) > 40) == (row["split"] == "2") for row in rows)  # CUB's official test split tests
    assert len({row["place_filename"] for row in rows}) == 80  # each photograph of a place is used once
    assert {row["place_filename"].split("/")[2] for row in rows if row["place"] == "1"} == {"ocean", "lake"}
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "waterbirds" / row["img_filename"]).convert("RGB"))
        own = 2 if row["place"] == "1" else 1
        assert pixels.shape == (16, 20, 3)
        assert pixels[0, 0, own] > 130 and pixels[0, 0, 3 - own] < 60  # JPEG smears the bird's colours a little


def test_waterbirds_opens_with_the_package_reader(tmp_path):
    cub, places = made_cub(tmp_path / "CUB_200_2011"), made_places(tmp_path / "places", "data_large/{letter}/{name}")
    compose_waterbirds(tmp_path, places, tmp_path / "waterbirds", seed=1)  # the folder above is found too
    train, val, test = (
        load_dataset("waterbirds", split, tmp_path / "waterbirds", size=16, check=True)
        for split in ("train", "val", "test")
    )
    assert test.groups.bincount(minlength=4).tolist() == [5, 15, 5, 15]  # the published fault: pewees are water birds
    assert ((train.groups // 2) == train.labels).sum() >= 30 and len(val) == 8
    compose_waterbirds(cub, places, tmp_path / "corrected", corrected=True)
    assert load_dataset("waterbirds", "test", tmp_path / "corrected", size=16).groups.bincount().tolist() == [
        10,
        10,
        10,
        10,
    ]
    compose_waterbirds(cub, places, tmp_path / "again", seed=1)
    a, b = contents(tmp_path / "waterbirds"), contents(tmp_path / "again")
    assert {k: v for k, v in a.items() if k != "scenes.json"} == {k: v for k, v in b.items() if k != "scenes.json"}


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda cub, places: (cub / "images.txt").unlink(), "no images.txt: name the folder CUB_200_2011"),
        (lambda cub, places: (cub / "train_test_split.txt").unlink(), "cannot read train_test_split.txt"),
        (lambda cub, places: (cub / "train_test_split.txt").write_text("1 1\n2 3\n"), "0 or 1 in train_test_split.txt"),
        (
            lambda cub, places: (cub / "images.txt").write_text("1 a b\n"),
            "images.txt, line 1: expected a number and a value",
        ),
        (lambda cub, places: (cub / "segmentations").rename(cub / "masks"), "no segmentations at .*segmentations.tgz"),
        (lambda cub, places: next((cub / "segmentations").rglob("*_0007_7.png")).unlink(), "missing: .*_0007_7.png"),
        (
            lambda cub, places: next((cub / "images").rglob("*_0007_7.jpg")).write_bytes(b"x"),
            "cannot be decoded as an image: .*_0007_7.jpg",
        ),
        (
            lambda cub, places: noise(next((cub / "images").rglob("*_0007_7.jpg")), 1, (9, 9)),
            "is 20 x 16 pixels, its image 9 x 9",
        ),
        (lambda cub, places: (places / "data_large" / "o").rename(places / "o2"), "no folder o/ocean"),
        (
            lambda cub, places: [f.unlink() for f in (places / "data_large" / "o" / "ocean").iterdir()],
            "30 photographs of water .* for 4. birds: each is used once",
        ),
    ],
)
def test_what_waterbirds_lacks_is_named_before_anything_is_written(tmp_path, harm, message):
    cub, places = made_cub(tmp_path / "CUB_200_2011"), made_places(tmp_path / "places", "data_large/{letter}/{name}")
    harm(cub, places)
    with pytest.raises(DatasetError, match=message):
        compose_waterbirds(cub, places, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"CUB_200_2011", "places"}


# From the command line


def test_composed_waterbirds_runs_its_recipe_end_to_end(tmp_path, capsys):
    cub = made_cub(tmp_path / "CUB_200_2011", segmentations=tmp_path / "segmentations")
    places = made_places(tmp_path / "places", "places365_standard/train/{dashed}")
    words = [
        "datasets",
        "compose",
        "waterbirds",
        "--cub",
        str(cub),
        "--places",
        str(places),
        "--out",
        str(tmp_path / "birds"),
    ]
    assert main(words) == 2 and "--segmentations" in capsys.readouterr().err and not (tmp_path / "birds").exists()
    assert main([*words, "--segmentations", str(tmp_path / "segmentations")]) == 0
    out = capsys.readouterr().out
    assert "test  5 landbird on land, 5 landbird on water, 15 waterbird on land, 15 waterbird on water" in out
    assert f"Next: masktune run waterbirds --root {tmp_path / 'birds'}" in out
    changes = ["settings.epochs=1", "settings.num_workers=0", "settings.device=cpu", "settings.batch_size=16"]
    changes += ["pretrained=false", "options.size=28", "model=small-cnn"]
    run = ["run", "waterbirds", "--root", str(tmp_path / "birds"), "--out", str(tmp_path / "run")]
    assert main(run + [word for change in changes for word in ("--set", change)]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["masktune"]["test"]["groups"]) == {
        f"{bird} on {place}" for bird in ("landbird", "waterbird") for place in ("land", "water")
    }


def test_scenes_from_the_command_line(sources, tmp_path, capsys):
    objects, backgrounds = sources
    named = {"--objects": objects, "--backgrounds": backgrounds}
    words = ["datasets", "compose", "fruit"]
    for option, folders in named.items():
        words += [option, *(f"{name}={folder}" for name, folder in folders.items())]
    words += ["--mark", "sticker", "--strength", "0.8", "--correlation", "0.98", "--counts", "100", "20", "40"]
    words += ["--size", "32", "--seed", "5", "--out", str(tmp_path / "fruit")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "train 49 apple with sticker, 1 apple without sticker, 1 brick with sticker, 49 brick without sticker" in out
    listing = tmp_path / "fruit" / "scenes.csv"
    assert f"masktune erm --data csv --root {listing} --option size=32 --out fruit-run" in out
    assert main(words) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert json.loads((tmp_path / "fruit" / "scenes.json").read_text())["mark"]["strength"] == 0.8


@pytest.mark.parametrize(
    "line, message",
    [
        ("datasets compose", "masktune datasets compose NEW: name the set to make"),
        ("datasets compose fruit", "--objects is missing"),
        ("datasets compose fruit --objects apple", "--objects 'apple': write NAME=FOLDER"),
        ("datasets compose fruit --objects a=x a=y", "--objects: a is named twice"),
        ("datasets compose fruit --objects a=x b=y --cub z", "--cub is no option of composing fruit"),
        ("datasets compose waterbirds --cub z", "--places is missing"),
        (
            "datasets compose waterbirds --cub z --places y --mark sticker",
            "--mark is no option of composing waterbirds",
        ),
        ("datasets waterbirds --size 3", "--size belongs to masktune datasets compose"),
        ("datasets waterbirds birds", "birds belongs to masktune datasets compose"),
    ],
)
def test_a_line_that_composes_nothing_says_why(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_recipes_carry_what_was_verified_and_the_reruns_that_were_less_kind():
    from masktune.experiments.recipes import RECIPES, recipe_to_yaml, recipes_table

    rows = recipes_table().splitlines()
    for name, published, rerun in (
        ("waterbirds", ("86.4 ± 1.9", "93.0 ± 0.7", "not comparable with the standard one"), "28.4 -> 45.7"),
        ("celeba", ("78.0 ± 1.2", "91.3 ± 0.1"), "32.6 -> 37.7"),
        ("background-challenge", (), "12.99 -> 12.54"),
    ):
        at = next(i for i, row in enumerate(rows) if row.startswith(f"| `{name}` |"))
        assert all(figure in rows[at] for figure in published) and rerun in rows[at + 1]
        assert "run again by" in rows[at + 1] and rerun in recipe_to_yaml(RECIPES[name])
