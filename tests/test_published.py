"""The published data sets, from small made trees in exactly their layout: counts, labels, groups, splits; and
everything that can be wrong with one."""

import hashlib
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from masktune.errors import DatasetError
from masktune.experiments.datasets import DATASETS, dataset_splits, load_dataset
from masktune.experiments.published_datasets import BACKGROUND_VARIANTS


def picture(path: Path, colour=(90, 90, 90), size=(60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def problems(*arguments, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(*arguments, **options)
    return str(caught.value)


def told(*arguments, **options) -> tuple:
    "A data set that opens, and what was said of it"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = load_dataset(*arguments, **options)
    return data, "\n".join(str(warning.message) for warning in found)


# Waterbirds: 40 birds; 19 of 20 training birds at home, half of the others


def waterbirds(root: Path) -> Path:
    rows, number = ["img_id,img_filename,y,split,place,place_filename"], 0
    for split, count, exceptions in ((0, 20, 1), (1, 8, 4), (2, 12, 6)):
        for i in range(count):
            y = i % 2
            place = 1 - y if i < exceptions else y
            file = f"{number % 200 + 1:03}.Some_Bird/Some_Bird_{number:04}.jpg"
            picture(root / file, (0, 200 * (1 - place), 200 * place))
            rows.append(f"{number},{file},{y},{split},{place},/o/ocean/{number}.jpg")
            number += 1
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


def test_waterbirds(tmp_path):
    root = waterbirds(tmp_path / "waterbird_complete95_forest2water2")
    for given in (root, root.parent):  # the folder itself, or the one the archive was unpacked in
        parts = {split: load_dataset("waterbirds", split, given, size=32) for split in ("train", "val", "test")}
        assert {split: len(data) for split, data in parts.items()} == {"train": 20, "val": 8, "test": 12}
    train = parts["train"]
    assert (
        train.classes == ["landbird", "waterbird"]
        and train.group_names[1] == "waterbird on land"
        and train.group_names[2] == "landbird on water"
    )
    assert train.groups.bincount(minlength=4).tolist() == [9, 0, 1, 10] and torch.equal(train.groups % 2, train.labels)
    # the landbird that stands on water is blue all over
    assert train[0].image.shape == (3, 32, 32) and train[0].image[2, 16, 16] > 150
    assert parts["test"].groups.bincount().tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "img_id,img_filename,y,split,place,",
            "img_id,img_filename,y,split,",
            "no column 'place': found img_id, img_filename, y, split",
        ),
        (",1,0,1,", ",2,0,1,", "y '2' is none of 0, 1"),
        (",0,0,0,", ",0,train,0,", "split 'train' is none of 0, 1, 2"),
        ("Some_Bird_0007.jpg", "Some_Bird_0070.jpg", "missing image: "),
    ],
)
def test_broken_waterbirds(tmp_path, old, new, message):
    listing = waterbirds(tmp_path) / "metadata.csv"
    assert old in listing.read_text()
    listing.write_text(listing.read_text().replace(old, new))
    assert message in problems("waterbirds", "train", tmp_path)


def test_swapped_waterbirds(tmp_path):
    listing = waterbirds(tmp_path) / "metadata.csv"
    lines = [line.split(",") for line in listing.read_text().splitlines()]
    for line in lines[1:]:
        line[3] = {"0": "2", "2": "0"}.get(line[3], line[3])
    listing.write_text("\n".join(map(",".join, lines)))
    data, said = told("waterbirds", "train", tmp_path)
    assert (
        len(data) == 12 and "the splits look swapped: place agrees with species in 50% of train and 95% of test" in said
    )


@pytest.mark.parametrize("exceptions", [0, 10])
def test_waterbirds_of_another_correlation_open(tmp_path, exceptions):
    listing = waterbirds(tmp_path) / "metadata.csv"
    lines = [line.split(",") for line in listing.read_text().splitlines()]
    for number, line in enumerate(lines[1:]):
        if line[3] == "0":
            line[4] = str(1 - int(line[2])) if number < exceptions else line[2]
    listing.write_text("\n".join(map(",".join, lines)))
    assert len(told("waterbirds", "train", tmp_path)[0]) == 20


def test_a_partition_without_val_opens_where_it_is_not_asked_for(tmp_path):
    root = celeba(tmp_path, "csv")
    partition = root / "list_eval_partition.csv"
    partition.write_text(partition.read_text().replace(",1\n", ",0\n"))
    data, said = told("celeba", "train", root)
    assert len(data) == 24 and "split val has no image" in said
    assert "split val has no image" in problems("celeba", "val", root)


def test_copies_in_two_splits_are_told(tmp_path):
    data, said = told("celeba", "train", celeba(tmp_path, "csv"), check=True)
    assert len(data) == 18 and "12 images are byte-for-byte copies of one in another split" in said


def test_a_wrong_tree_is_shown_beside_the_expected_one(tmp_path):
    picture(tmp_path / "birds" / "images" / "a.jpg")
    text = problems("waterbirds", "train", tmp_path / "birds")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "no metadata.csv" in text and f"expected found at {tmp_path / 'birds'}" in lines
    assert "metadata.csv images/" in lines and "001.Black_footed_Albatross/ a.jpg" in lines
    assert "(no such folder)" in problems("waterbirds", "train", tmp_path / "nowhere")


# CelebA: 30 faces, Kaggle's files and torchvision's


def celeba(root: Path, kind: str, nested: bool = False) -> Path:
    images = root / "img_align_celeba" / "img_align_celeba" if nested else root / "img_align_celeba"
    faces = [
        (f"{i + 1:06}.jpg", 1 if i % 3 == 0 else -1, 1 if i % 2 else -1, 0 if i < 18 else 1 if i < 24 else 2)
        for i in range(30)
    ]
    for name, *_ in faces:
        picture(images / name, size=(178, 218))
    if kind == "csv":
        (root / "list_attr_celeba.csv").write_text(
            "image_id,Bald,Blond_Hair,Male\n" + "\n".join(f"{n},-1,{b},{m}" for n, b, m, _ in faces)
        )
        (root / "list_eval_partition.csv").write_text(
            "image_id,partition\n" + "\n".join(f"{n},{p}" for n, *_, p in faces)
        )
    else:
        (root / "list_attr_celeba.txt").write_text(
            "30\nBald Blond_Hair Male \n" + "\n".join(f"{n} -1 {b:2} {m:2}" for n, b, m, _ in faces)
        )
        (root / "list_eval_partition.txt").write_text("\n".join(f"{n} {p}" for n, *_, p in faces))
    return root


@pytest.mark.parametrize("kind, nested", [("csv", True), ("csv", False), ("txt", False)])
def test_celeba(tmp_path, kind, nested):
    celeba(tmp_path / "celeba", kind, nested)
    parts = {split: load_dataset("celeba", split, tmp_path, size=32) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in parts.items()} == {"train": 18, "val": 6, "test": 6}
    train = parts["train"]
    assert train.labels.tolist() == [int(i % 3 == 0) for i in range(18)] and train.groups.tolist() == [
        2 * (i % 2) + (i % 3 == 0) for i in range(18)
    ]
    assert train.group_names == ["not blond female", "blond female", "not blond male", "blond male"] and train[
        0
    ].image.shape == (3, 32, 32)
    other = load_dataset("celeba", "train", tmp_path, target="Male", spurious="Blond_Hair")
    assert torch.equal(other.labels, train.groups // 2) and other.classes == ["not Male", "Male"]


def test_broken_celeba(tmp_path):
    root = celeba(tmp_path, "csv")
    assert "no attribute 'Blonde' in list_attr_celeba: found Bald, Blond_Hair, Male" in problems(
        "celeba", "train", root, target="Blonde"
    )
    partition = root / "list_eval_partition.csv"
    whole = partition.read_text()
    partition.write_text(whole.replace("000002.jpg,0", "000002.jpg,2"))
    data, said = told("celeba", "train", root)  # a partition of one's own
    assert len(data) == 17 and "this is not the official partition" in said
    partition.write_text(whole.replace("000002.jpg,0", "000002.jpg,7"))
    assert "000002.jpg has partition '7', none of 0, 1, 2" in problems("celeba", "train", root)
    partition.write_text(whole + "\n000031.jpg,2")
    assert "000031.jpg is in list_eval_partition and not in list_attr_celeba" in problems("celeba", "train", root)
    partition.write_text(whole)
    (root / "img_align_celeba" / "000030.jpg").write_bytes(b"")
    assert "empty image file" in problems("celeba", "train", root)  # of the test, found before training
    partition.unlink()
    assert "no list_eval_partition.csv or list_eval_partition.txt" in problems("celeba", "train", root)


# The Background Challenge: nine classes, two training images and one test image each


def background_challenge(root: Path, variants=BACKGROUND_VARIANTS, above="test") -> Path:
    names = ("dog", "bird", "vehicle", "reptile", "carnivore", "insect", "instrument", "primate", "fish")
    for number, name in enumerate(names):
        folder = f"{number:02}_{name}"
        for part, count in (("train", 3), ("val", 1)):
            for i in range(count):
                picture(root / part / folder / f"{i}.JPEG")
        for variant in variants:
            picture(root / above / variant / "val" / folder / "0.JPEG", (number * 20, 0, 0))
    return root


def test_background_challenge(tmp_path):
    background_challenge(tmp_path)
    train = load_dataset("background-challenge", "train", tmp_path, size=32)
    assert len(train) == 27 and train.labels.bincount().tolist() == [3] * 9 and train.group_names == []
    assert train.mean == (0.4717, 0.4499, 0.3837) and train.std == (0.26, 0.2516, 0.2575)
    assert dataset_splits("background-challenge", tmp_path) == BACKGROUND_VARIANTS
    for variant in BACKGROUND_VARIANTS:
        assert load_dataset("background-challenge", variant, tmp_path, size=32).labels.tolist() == list(range(9))


def test_a_background_challenge_with_some_variants(tmp_path):
    background_challenge(tmp_path, ("mixed_same", "mixed_rand"), above="bg_challenge")
    assert dataset_splits("background-challenge", tmp_path) == ("mixed_same", "mixed_rand")
    assert "no test variant 'only_fg'" in problems("background-challenge", "only_fg", tmp_path)


def test_broken_background_challenge(tmp_path):
    root = background_challenge(tmp_path, ("original",))
    picture(root / "train" / "09_tree" / "0.JPEG")
    assert "extra class folder" in problems("background-challenge", "train", root)
    (root / "train" / "09_tree" / "0.JPEG").unlink()
    (root / "train" / "09_tree").rmdir()
    (root / "val" / "03_reptile" / "0.JPEG").unlink()
    data, said = told("background-challenge", "val", root)
    assert len(data) == 8 and said.count("class 'reptile' has no image in split val") == 1
    picture(root / "val" / "03_reptile" / "0.JPEG")
    (root / "train").rename(root / "t")
    (root / "val").rename(root / "train")
    (root / "t").rename(root / "val")
    data, said = told("background-challenge", "train", root)
    assert len(data) == 9 and "the splits look swapped: train has 9 images, val 27" in said
    for file in (root / "train" / "05_insect").iterdir():
        file.unlink()
    assert "class 'insect' has no image in split train" in problems("background-challenge", "train", root)


# CIFAR-10 and SVHN: torchvision's own readers and checksums, on made files


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    generator = np.random.default_rng(0)

    def write(name, content):
        (base / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((base / name).read_bytes()).hexdigest()]

    def batch(count):
        return {
            "data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(count)],
        }

    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{i}", batch(20)) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch(30))])
    name, digest = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": digest})
    return tmp_path


def test_cifar10(cifar):
    parts = {split: load_dataset("cifar10", split, cifar) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in parts.items()} == {"train": 80, "val": 20, "test": 30}
    assert parts["train"].classes[3] == "cat" and parts["train"][0].image.shape == (3, 32, 32)
    first = pickle.loads((cifar / "cifar-10-batches-py" / "test_batch").read_bytes())["data"][0]
    # red plane, green plane, blue plane
    assert torch.equal(parts["test"][0].image.flatten(), torch.from_numpy(first))
    pixels = [{bytes(image.numpy().tobytes()) for image in data.images} for data in parts.values()]
    assert not pixels[0] & pixels[1] and torch.equal(load_dataset("cifar10", "val", cifar).images, parts["val"].images)
    (cifar / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"changed")
    text = problems("cifar10", "train", cifar)
    assert "not found or corrupted" in text and "data_batch_1 ... data_batch_5" in text


def svhn(root: Path, monkeypatch) -> Path:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    generator, lists = np.random.default_rng(0), {}
    for split, count in (("train", 50), ("test", 20)):
        path = root / f"{split}_32x32.mat"
        labels = np.array([i % 10 + 1 for i in range(count)], dtype=np.uint8)[:, None]  # SVHN writes 0 as 10
        savemat(path, {"X": generator.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels})
        lists[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", lists)
    return root


def test_svhn(tmp_path, monkeypatch):
    svhn(tmp_path, monkeypatch)
    parts = {split: load_dataset("svhn", split, tmp_path) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in parts.items()} == {"train": 40, "val": 10, "test": 20}
    assert parts["test"].labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    (tmp_path / "test_32x32.mat").unlink()
    assert "test_32x32.mat" in problems("svhn", "test", tmp_path)


# Cats vs Dogs: Kaggle's one folder, Microsoft's two


def test_cats_vs_dogs(tmp_path):
    for i in range(25):
        picture(tmp_path / "kaggle" / "train" / f"cat.{i}.jpg")
        picture(tmp_path / "kaggle" / "train" / f"dog.{i}.jpg")
        picture(tmp_path / "microsoft" / "PetImages" / "Cat" / f"{i}.jpg")
        picture(tmp_path / "microsoft" / "PetImages" / "Dog" / f"{i}.jpg")
    (tmp_path / "microsoft" / "PetImages" / "Cat" / "666.jpg").write_bytes(b"")
    (tmp_path / "microsoft" / "PetImages" / "Dog" / "11702.jpg").write_bytes(b"\xff\xd8broken")
    for layout in ("kaggle", "microsoft"):
        before = sorted(tmp_path.rglob("*"))
        parts = {
            split: load_dataset("cats-vs-dogs", split, tmp_path / layout, check=True)
            for split in ("train", "val", "test")
        }
        assert {split: len(data) for split, data in parts.items()} == {"train": 32, "val": 8, "test": 10}
        # nothing is moved
        assert (
            len({path for data in parts.values() for path in data.paths}) == 50
            and sorted(tmp_path.rglob("*")) == before
        )
        assert all(
            data.labels[i] == ("og" in str(data.paths[i].relative_to(tmp_path)))
            for data in parts.values()
            for i in range(len(data))
        )
        assert parts["train"][0].image.shape == (3, 64, 64)
    listing = tmp_path / "test.txt"
    listing.write_text("cat.3.jpg\ndog.7.jpg\n")
    tested = load_dataset("cats-vs-dogs", "test", tmp_path / "kaggle", test_list=listing)
    assert [path.name for path in tested.paths] == ["cat.3.jpg", "dog.7.jpg"]
    listing.write_text("cat.300.jpg\n")
    assert "names cat.300.jpg, which is not there" in problems(
        "cats-vs-dogs", "test", tmp_path / "kaggle", test_list=listing
    )
    (tmp_path / "microsoft" / "PetImages" / "Dog" / "3.jpg").write_bytes(b"\xff\xd8broken")
    assert "undecodable image" in problems("cats-vs-dogs", "train", tmp_path / "microsoft", check=True)
    for dog in (tmp_path / "kaggle" / "train").glob("dog.*.jpg"):
        dog.unlink()
    assert "no dog among 25 images" in problems("cats-vs-dogs", "train", tmp_path / "kaggle")


# Every recipe, end to end, on such trees


def listing(pets: Path) -> Path:
    (pets / "pets.csv").write_text(
        "path,label\n" + "\n".join(f"{label}/{i}.jpg,{label}" for label in ("cat", "dog") for i in range(20))
    )
    return pets / "pets.csv"


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_the_recipe_of_every_data_set_runs_end_to_end(name, tmp_path, monkeypatch, request):
    from masktune.cli import main

    made = {
        "biased-digits": lambda: None,
        "digit-scenes": lambda: None,
        "biased-mnist": lambda: request.getfixturevalue("make_mnist")(tmp_path / "data", 60, 30),
        "waterbirds": lambda: waterbirds(tmp_path / "data"),
        "celeba": lambda: celeba(tmp_path / "data", "csv"),
        "background-challenge": lambda: background_challenge(tmp_path / "data"),
        "cifar10": lambda: request.getfixturevalue("cifar"),
        "svhn": lambda: svhn(tmp_path, monkeypatch),
        "cats-vs-dogs": lambda: folder_of_pets(tmp_path / "data"),
        "folder": lambda: request.getfixturevalue("pets"),
        "csv": lambda: listing(request.getfixturevalue("pets")),
    }[name]()
    recipe = {"cifar10": "cifar10-selective", "svhn": "svhn-selective", "cats-vs-dogs": "cats-vs-dogs-selective"}.get(
        name, name
    )
    changes = ["settings.epochs=1", "settings.num_workers=0", "settings.device=cpu", "pretrained=false"]
    if name not in ("biased-digits", "digit-scenes"):
        changes += ["settings.batch_size=16"]
    if name in ("waterbirds", "celeba", "background-challenge", "folder", "csv"):
        changes += ["options.size=64"]
    words = ["run", recipe, "--out", str(tmp_path / "run"), *(word for change in changes for word in ("--set", change))]
    assert main(words + (["--root", str(made)] if made else [])) == 0
    held = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.json", "erm", "round-1", "metrics.json", "report.html"} <= held
    html = (tmp_path / "run" / "report.html").read_text()
    assert "accuracy lost without its own evidence" in html


def folder_of_pets(root: Path) -> Path:
    for i in range(20):
        picture(root / f"cat.{i}.jpg")
        picture(root / f"dog.{i}.jpg")
    return root


def test_several_rounds_from_the_command_line(tmp_path, capsys):
    from masktune.cli import main

    changes = ("settings.epochs=2", "settings.rounds=2", "options.shortcut=two-squares", "settings.device=cpu")
    assert (
        main(
            [
                "run",
                "biased-digits",
                "--out",
                str(tmp_path / "run"),
                *(word for change in changes for word in ("--set", change)),
            ]
        )
        == 0
    )
    assert "chosen on swapped validation images" in capsys.readouterr().out
    metrics, config = (json.loads((tmp_path / "run" / name).read_text()) for name in ("metrics.json", "config.json"))
    assert {"erm", "masktune", "round-1", "round-2"} == set(metrics) and metrics["masktune"] == metrics[
        f"round-{config['chosen_round']}"
    ]
    assert (tmp_path / "run" / "round-2" / "maps.safetensors").exists() and "Round by round" in (
        tmp_path / "run" / "report.html"
    ).read_text()
    before = metrics["masktune"]["test"]["average"]
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    # the chosen round comes back
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["masktune"]["test"]["average"] == before


def test_background_gap_is_printed(tmp_path, capsys):
    from masktune.cli import main

    background_challenge(tmp_path / "data", ("mixed_same", "mixed_rand"))
    changes = (
        "settings.epochs=1",
        "settings.num_workers=0",
        "settings.batch_size=9",
        "pretrained=false",
        "options.size=64",
        "model=resnet18",
        "settings.device=cpu",
    )
    words = ["run", "background-challenge", "--root", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main([*words, *(word for change in changes for word in ("--set", change))]) == 0
    assert "BG-gap, accuracy(mixed_same) - accuracy(mixed_rand): erm" in capsys.readouterr().out


def test_an_ablation_from_the_command_line(tmp_path, capsys):
    from masktune.cli import main

    words = [
        "ablate",
        "fill",
        "--seeds",
        "0-1",
        "--jobs",
        "2",
        "--set",
        "settings.epochs=1",
        "--set",
        "settings.device=cpu",
        "--out",
        str(tmp_path / "fill"),
    ]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "fill").iterdir() if path.name != ".lock"} == {
        "ablation.json",
        "table.txt",
        "rows.json",
        "test.png",
        "biased-test.png",
    }
    table = (tmp_path / "fill" / "table.txt").read_text()
    assert (
        all(fill in table for fill in ("zero", "mean", "blur", "noise"))
        and "over 2 seeds" in table
        and table.strip() in capsys.readouterr().out
    )
    rows = (tmp_path / "fill" / "rows.json").read_bytes()
    assert main(words) == 2 and "--resume" in capsys.readouterr().err  # it used to be replaced without a word
    assert (tmp_path / "fill" / "rows.json").read_bytes() == rows
    assert main([*words, "--resume"]) == 0 and (tmp_path / "fill" / "table.txt").read_text() == table
    assert main(["ablate", "rate", *words[2:], "--resume"]) == 2 and "axis fill" in capsys.readouterr().err


def test_an_ablation_that_is_stopped_keeps_the_seeds_that_are_done(tmp_path, monkeypatch, capsys):
    "It wrote nothing before the last of all trainings had ended"
    from masktune.cli import main
    from masktune.experiments import ablations

    real, asked = ablations.ablate_seed, []

    def stopped_at_one(recipe, axis, seed, root=None):
        if seed == 1 and not asked:
            asked.append(seed)
            raise KeyboardInterrupt
        return real(recipe, axis, seed, root)

    monkeypatch.setattr(ablations, "ablate_seed", stopped_at_one)
    words = ["ablate", "fill", "--seeds", "0-1", "--set", "settings.epochs=1", "--set", "settings.device=cpu"]
    words += ["--out", str(tmp_path / "fill")]
    assert main(words) == 130
    said = capsys.readouterr()
    assert "seed 0" in said.out and "--resume" in said.err
    assert {row["seed"] for row in json.loads((tmp_path / "fill" / "rows.json").read_text())} == {0}
    assert main([*words, "--resume"]) == 0
    assert "over 2 seeds" in capsys.readouterr().out


def test_what_measures_many_looks_where_single_runs_look(tmp_path, monkeypatch):
    "Of networks that are not the paper's the layer is measured: ablations and comparisons looked where structure says"
    from masktune.cli import main
    from masktune.experiments import ablations, compare_methods

    seen = []
    monkeypatch.setattr(ablations, "run_ablation", lambda recipe, *_: seen.append(recipe) or 1 / 0)
    monkeypatch.setattr(compare_methods, "compare_methods", lambda recipe, *_: seen.append(recipe) or 1 / 0)
    for words in (["ablate", "fill"], ["compare-methods", "biased-digits"]):
        for model in ("small-cnn", "mobilenet_v3_small"):
            with pytest.raises(ZeroDivisionError):
                main([*words, "--set", f"model={model}", "--out", str(tmp_path / f"{words[0]}-{model}")])
    assert [recipe.settings.get("layer") for recipe in seen] == [None, "auto", None, "auto"]


def test_several_rounds_step_by_step(tmp_path):
    from masktune.cli import main

    out = str(tmp_path / "run")
    assert (
        main(["erm", "--data", "biased-digits", "--out", out, "--epochs", "2", "--rounds", "2", "--device", "cpu"]) == 0
    )
    for step in ("saliency", "finetune", "evaluate"):
        assert main([step, out]) == 0
    config, metrics = (json.loads((tmp_path / "run" / name).read_text()) for name in ("config.json", "metrics.json"))
    assert config["chosen_round"] in (1, 2) and metrics["masktune"] == metrics[f"round-{config['chosen_round']}"]
