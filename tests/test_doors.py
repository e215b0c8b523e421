"""Every form in which people bring images comes through the door with its pixels, labels and names; what cannot be
taken is refused in one sentence before anything runs."""

import hashlib
import pickle
import random
import warnings

import datasets as hugging_face
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import masktune
from masktune.adapters import as_dataset
from masktune.data import ArrayDataset, FileDataset, ImageDataset
from masktune.errors import DatasetWarning
from masktune.evaluation import evaluate, predict
from masktune.finetune import MaskTune, finetune
from masktune.masking import MaskedDataset, Threshold
from masktune.models import Classifier, SmallCNN, as_classifier, model_fingerprint
from masktune.saliency import compute_saliency

COUNT, SIDE = 12, 28
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = [i % 3 for i in range(COUNT)]
NAMES = ["bird", "cat", "dog"]
WORDS = [NAMES[label] for label in LABELS]
TENSOR = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).contiguous()
PICTURES = [Image.fromarray(image) for image in PIXELS]
TO_FLOATS = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
FLOATS = torch.stack([TO_FLOATS(picture) for picture in PICTURES])


@pytest.fixture(autouse=True)
def quiet():
    "Notes are read where a test is about them"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        yield


@pytest.fixture(autouse=True)
def told_anew(monkeypatch):
    "What was said once in this process is said again"
    monkeypatch.setattr("masktune.errors._said", set())


def notes(call):
    "What is told while something is opened"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in caught if issubclass(one.category, DatasetWarning)]


def image_folder(root, transform=None):
    for label, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        for i in range(COUNT):
            if LABELS[i] == label:
                PICTURES[i].save(root / name / f"{i:02d}.png")
    return ImageFolder(root, transform)


class Pairs(Dataset):
    "Somebody's own data set"

    def __init__(self, make=lambda i: (PICTURES[i], LABELS[i]), count=COUNT, **said):
        self.make, self.count = make, count
        self.__dict__.update(said)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.make(index)


def rows(**more):
    return hugging_face.Dataset.from_dict(
        {"image": PICTURES, "label": LABELS, **more},
        features=hugging_face.Features(
            {
                "image": hugging_face.Image(),
                "label": hugging_face.ClassLabel(names=NAMES),
                **{name: hugging_face.Value("int64") for name in more},
            }
        ),
    )


def floats_of(examples):
    return {"pixel_values": [TO_FLOATS(image) for image in examples["image"]], "labels": examples["label"]}


def stacked(samples):
    "A collate function as image processors are used"
    return {
        "pixel_values": torch.stack([TO_FLOATS(s["image"]) for s in samples]),
        "labels": [s["label"] for s in samples],
    }


ONES = {"mean": MEAN, "std": STD}
FORMS = {  # name: what is given, options, and the names of its classes
    "PIL pairs": (lambda: Pairs(classes=NAMES), {}, NAMES),
    "a list of pairs": (lambda: list(zip(PICTURES, LABELS, strict=True)), {}, ["0", "1", "2"]),
    "names as labels": (lambda: list(zip(PICTURES, WORDS, strict=True)), {}, NAMES),
    "names in another order": (lambda: list(zip(PICTURES, WORDS, strict=True)), {"classes": NAMES[::-1]}, NAMES[::-1]),
    "arrays": (lambda: Pairs(lambda i: (PIXELS[i], LABELS[i])), {}, ["0", "1", "2"]),
    "tensors, labels as tensors": (lambda: Pairs(lambda i: (TENSOR[i], torch.tensor(LABELS[i]))), {}, ["0", "1", "2"]),
    "a third value": (lambda: Pairs(lambda i: (PICTURES[i], LABELS[i], "a patient")), {}, ["0", "1", "2"]),
    "images alone": (lambda: PICTURES, {"labels": WORDS}, NAMES),
    "one tensor": (lambda: TENSOR, {"labels": LABELS, "classes": NAMES}, NAMES),
    "one array": (lambda: PIXELS, {"labels": np.array(LABELS)}, ["0", "1", "2"]),
    "TensorDataset of bytes": (lambda: TensorDataset(TENSOR, torch.tensor(LABELS)), {}, ["0", "1", "2"]),
    "TensorDataset of floats": (lambda: TensorDataset(FLOATS, torch.tensor(LABELS)), ONES, ["0", "1", "2"]),
    "half precision": (lambda: TensorDataset((TENSOR / 255).double(), torch.tensor(LABELS)), {}, ["0", "1", "2"]),
    "floats up to 255": (lambda: TensorDataset(TENSOR.float(), torch.tensor(LABELS)), {}, ["0", "1", "2"]),
    "floats of a model's": (
        lambda: TensorDataset(FLOATS, torch.tensor(LABELS)),
        {"model": Classifier(SmallCNN(3), MEAN, STD)},
        ["0", "1", "2"],
    ),
    "floats of a transform": (
        lambda: Pairs(lambda i: (FLOATS[i], LABELS[i]), transform=TO_FLOATS),
        {},
        ["0", "1", "2"],
    ),
    "columns": (lambda: {"image": TENSOR, "label": LABELS}, {}, ["0", "1", "2"]),
    "rows": (lambda: [{"img": p, "target": w} for p, w in zip(PICTURES, WORDS, strict=True)], {}, NAMES),
    "rows of other names": (
        lambda: [{"scan": p, "finding": w} for p, w in zip(PICTURES, WORDS, strict=True)],
        {"image_column": "scan", "label_column": "finding"},
        NAMES,
    ),
    "a loader": (lambda: DataLoader(Pairs(classes=NAMES), batch_size=5), {}, NAMES),
    "a shuffled loader of floats": (
        lambda: DataLoader(TensorDataset(FLOATS, torch.tensor(LABELS)), batch_size=5, shuffle=True),
        ONES,
        ["0", "1", "2"],
    ),
    "a loader that collates": (lambda: DataLoader(rows(), batch_size=5, collate_fn=stacked), ONES, NAMES),
    "Hugging Face": (rows, {}, NAMES),
    "Hugging Face, torch": (lambda: rows().with_format("torch"), {}, NAMES),
    "Hugging Face, transformed": (lambda: rows().with_transform(floats_of), ONES, NAMES),
    "Hugging Face, a part": (lambda: rows().select(range(COUNT)), {}, NAMES),
    "a union": (
        lambda: ConcatDataset([Subset(Pairs(classes=NAMES), part) for part in (range(5), range(5, 12))]),
        {},
        NAMES,
    ),
    "a part of a part": (lambda: Subset(Subset(Pairs(classes=NAMES), range(COUNT)), list(range(COUNT))), {}, NAMES),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_pixels_and_labels(form):
    make, options, classes = FORMS[form]
    state, of_python, of_numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    data = as_dataset(make(), **options)
    assert isinstance(data, ImageDataset) and len(data) == COUNT
    assert all(torch.equal(data[i].image, TENSOR[i]) for i in range(COUNT))
    assert [NAMES[label] for label in LABELS] == [
        NAMES[int(c)] if c.isdigit() else c for c in (data.classes[label] for label in data.labels)
    ]
    assert data.classes == classes
    assert as_dataset(data) is data
    assert data.fingerprint == ArrayDataset(TENSOR, data.labels, classes).fingerprint
    assert torch.equal(torch.get_rng_state(), state) and random.getstate() == of_python
    assert np.random.get_state()[1].tolist() == of_numpy
    part = data.subset([4, 2])
    assert torch.equal(part[0].image, TENSOR[4]) and part.classes == classes


def test_image_folders_keep_names_whole_or_in_part(tmp_path):
    folder = image_folder(tmp_path / "plain")
    order = [i for label in range(3) for i in range(COUNT) if LABELS[i] == label]
    assert all(torch.equal(as_dataset(folder)[k].image, TENSOR[i]) for k, i in enumerate(order))
    part = as_dataset(Subset(Subset(folder, [11, 0, 5]), [2, 0]))
    assert part.classes == NAMES and part.labels.tolist() == [1, 2]
    assert torch.equal(part[1].image, TENSOR[order[11]])
    normalised = as_dataset(DataLoader(image_folder(tmp_path / "floats", TO_FLOATS), shuffle=True))
    assert normalised.classes == NAMES and torch.equal(normalised[0].image, TENSOR[order[0]])
    assert normalised.mean == pytest.approx(MEAN) and normalised.std == pytest.approx(STD)


def test_labels_are_read_without_decoding_where_a_data_set_tells_them():
    asked = []
    data = Pairs(
        lambda i: (asked.append(i), (PICTURES[i % COUNT], i % 3))[1], 3000, targets=[i % 3 for i in range(3000)]
    )
    assert len(as_dataset(data)) == 3000 and len(asked) < 60


def test_names_are_not_believed_where_labels_are_changed():
    def half(label):
        return int(label > 1)

    changed = Pairs(lambda i: (PICTURES[i], half(LABELS[i])), targets=LABELS, target_transform=half, classes=NAMES)
    for form in (changed, Subset(changed, range(COUNT)), ConcatDataset([changed, Subset(changed, [0])])):
        data = as_dataset(form)
        assert data.classes == ["0", "1"] and data.labels.tolist()[:COUNT] == [half(label) for label in LABELS]


def test_a_bare_network_gets_the_very_floats_that_the_loader_gave():
    seen = []

    class Network(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((2, 3))

    for floats, options in ((FLOATS, ONES), (TENSOR / 255, {}), (TENSOR.float(), {})):
        data = as_dataset(TensorDataset(floats, torch.tensor(LABELS)), **options)
        seen.clear()
        predict(as_classifier(Network(), data), data, progress=False)
        assert (torch.cat(seen) - floats).abs().max() < 1e-5 * max(float(floats.max()), 1)


def test_one_channel_is_shown_as_grey():
    grey = TENSOR[:, :1]
    for form in (grey, grey[:, 0], (grey - 0.5 * 255) / (0.25 * 255)):
        options = {"mean": 0.5, "std": 0.25} if form.is_floating_point() else {}
        data = as_dataset(form, labels=LABELS, **options)
        assert all(torch.equal(data[i].image, grey[i].expand(3, -1, -1)) for i in range(COUNT))
        assert len(data.mean) == len(data.std) == 3
    modes = as_dataset([(p.convert("L"), label) for p, label in zip(PICTURES, LABELS, strict=True)])
    assert modes[0].image.shape == (3, SIDE, SIDE)


def test_images_of_many_sizes_are_brought_to_one():
    many = [(picture.resize((20 + i, 40)), i % 2) for i, picture in enumerate(PICTURES)]
    for fit in ("crop", "pad", "stretch"):
        assert {tuple(image.shape) for image, *_ in as_dataset(many, size=32, fit=fit)} == {(3, 32, 32)}
    late = Pairs(lambda i: (PICTURES[0] if i != 7 else PICTURES[0].resize((9, 9)), i % 2), 40, targets=[0, 1] * 20)
    data = as_dataset(late)  # not among those that are looked at
    with pytest.raises(ValueError, match=r"images differ in size \(image 0 is 28 x 28, image 7 is 9 x 9\): give size="):
        data[7]


def test_parts_and_unions_of_ours_keep_groups_and_origins():
    ours = ArrayDataset(TENSOR, LABELS, NAMES, groups=LABELS, group_names=["x", "y", "z"], mean=MEAN, std=STD)
    part = as_dataset(Subset(ours, [7, 2, 5]))
    assert part.groups.tolist() == [1, 2, 2] and part.origin(ours.fingerprint).tolist() == [7, 2, 5]
    both = as_dataset(ConcatDataset([ours, part]))
    assert both.groups.tolist() == [*LABELS, 1, 2, 2] and both.mean == ours.mean and both.group_names == ["x", "y", "z"]
    assert torch.equal(both[COUNT + 1].image, TENSOR[2]) and torch.equal(both.subset([12])[0].image, TENSOR[7])
    assert as_dataset(DataLoader(ours, batch_size=4)) is ours
    assert as_dataset(Subset(both, [13])).groups.tolist() == [2]


def test_a_loaders_order_is_told_and_ignored_its_choice_is_kept():
    said = notes(lambda: as_dataset(DataLoader(Pairs(), shuffle=True)))
    assert said == [
        "Pairs: the loader's RandomSampler is ignored: every image comes once, in the data set's order: maps know an "
        "image by its position there"
    ]
    data = as_dataset(DataLoader(Pairs(classes=NAMES), sampler=SubsetRandomSampler([8, 3])))
    assert data.labels.tolist() == [2, 0] and torch.equal(data[0].image, TENSOR[8]) and data.classes == NAMES


def test_floats_say_how_they_were_brought_back():
    said = notes(lambda: as_dataset(TensorDataset(FLOATS, torch.tensor(LABELS)), **ONES))
    assert said == [
        "TensorDataset: normalised images are brought back to 0..255, exactly, by mean (0.485, 0.456, 0.406) and std "
        "(0.229, 0.224, 0.225), as you say; the model's input step normalises them again"
    ]
    smooth = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    said = notes(lambda: as_dataset((smooth - 0.5) / 0.5, labels=[0, 1, 0, 1], mean=0.5, std=0.5))
    assert "rounded to whole values" in said[0]


# every public call


def network():
    torch.manual_seed(0)
    return SmallCNN(3)


@pytest.mark.parametrize("form", ["a shuffled loader of floats", "Hugging Face", "names as labels", "columns"])
def test_every_entry_takes_it(form):
    make, options, _ = FORMS[form]
    model = Classifier(network(), options.get("mean", (0.0,) * 3), options.get("std", (1.0,) * 3))
    ours = as_dataset(make(), **options)
    quick = dict(device="cpu", progress=False)
    assert torch.equal(predict(model, make(), **quick), predict(model, ours, **quick))
    assert evaluate(model, make(), **quick).average == evaluate(model, ours, **quick).average
    maps = compute_saliency(model, make(), **quick)
    assert torch.equal(maps.maps, compute_saliency(model, ours, **quick).maps)
    maps.check(ours)
    result = finetune(model, make(), lr=0.01, val=make(), **quick)
    assert result.history[0]["val_accuracy"] >= 0


def test_masktune_goes_from_a_loader_to_a_report(tmp_path):
    loader = DataLoader(TensorDataset(FLOATS, torch.tensor(LABELS)), batch_size=4, shuffle=True)
    short = DataLoader(TensorDataset(FLOATS[:2], torch.tensor(LABELS[:2])))  # without an image of the last class
    model = Classifier(network(), MEAN, STD)
    run = MaskTune(model, epochs=1, lr=0.01, batch_size=4, device="cpu", progress=False).fit(loader, short)
    found = run.evaluate({"test": loader, "short": short})
    assert found["masktune"]["test"].average.count == COUNT and found["erm"]["short"].average.count == 2
    page = masktune.write_report(run, tmp_path / "report.html", as_dataset(loader, model=model), {"test": loader})
    assert page.stat().st_size > 10_000


def test_a_test_set_without_an_image_of_some_class_is_measured():
    found = evaluate(network(), [(PICTURES[0], 0), (PICTURES[1], 1)], device="cpu", progress=False)
    assert found.average.count == 2


def test_widgets_take_it():
    from masktune.lab.scrubber import ThresholdScrubber

    data = list(zip(PICTURES, WORDS, strict=True))
    panel = ThresholdScrubber(network(), data)
    assert panel.dataset.classes == NAMES


# what cannot be taken


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def jittered(index):
    return PICTURES[index].rotate(random.random() * 90), LABELS[index]


STREAM = (
    "{} is a stream: its images have no position, by which a map finds its image again. Give a data set with a length "
    "and data[i], or read the stream into a list first"
)
DIFFERENT = (
    "Pairs: images come out differently each time they are read ({}), and a map would not fit its image: leave the "
    "random part out of the data set's transform, and give it to the training as augment="
)
REFUSED = {  # what is given, options, the sentence
    "a stream": (lambda: Stream(), {}, STREAM.format("Stream")),
    "a loader of a stream": (lambda: DataLoader(Stream()), {}, STREAM.format("DataLoader")),
    "a generator": (lambda: (pair for pair in ()), {}, STREAM.format("generator")),
    "streamed rows": (lambda: rows().to_iterable_dataset(), {}, STREAM.format("IterableDataset")),
    "several splits": (
        lambda: hugging_face.DatasetDict({"train": rows(), "test": rows()}),
        {},
        "DatasetDict is several data sets by name (train, test): give one of them",
    ),
    "several loaders": (
        lambda: {"train": DataLoader(Pairs()), "test": DataLoader(Pairs())},
        {},
        "dict is several data sets by name (train, test): give one of them",
    ),
    "a size in words": (
        lambda: Pairs(),
        {"size": "big"},
        "size must be a whole number of pixels, from 1 on, got 'big'",
    ),
    "a path": (
        lambda: "photos",
        {},
        "'photos' is a path: open it with masktune.folders.open_folder('train', 'photos'), or open_csv",
    ),
    "nothing": (
        lambda: None,
        {},
        "NoneType is no data set: give what has a length and gives an image and a label for each position",
    ),
    "a model": (
        network,
        {},
        "SmallCNN is no data set: give what has a length and gives an image and a label for each position",
    ),
    "no image at all": (lambda: [], {}, "list is empty: it has no image"),
    "no labels": (lambda: PICTURES, {}, "list: a sample (Image) has no label: pass labels=, one for each image"),
    "labels too few": (lambda: PICTURES, {"labels": [0, 1]}, "list: 2 labels for 12 images"),
    "a label that is none": (
        lambda: Pairs(lambda i: (PICTURES[i], None if i == 3 else 0)),
        {},
        "Pairs: image 3 has no label: leave it out, or pass labels=, one for each image",
    ),
    "a negative label": (
        lambda: Pairs(lambda i: (PICTURES[i], -1 if i == 3 else 0)),
        {},
        "Pairs: label -1 of image 3 is below 0: count from 0, and leave out what has no label",
    ),
    "a label without a name": (
        lambda: Pairs(classes=NAMES[:2]),
        {},
        "Pairs: label 2 has no name (image 2): only 2 are given",
    ),
    "a label that is another word": (
        lambda: list(zip(PICTURES, WORDS, strict=True)),
        {"classes": ["bird", "cat"]},
        "list: label 'dog' of image 2 is none of classes=['bird', 'cat']",
    ),
    "words and numbers": (
        lambda: Pairs(lambda i: (PICTURES[i], "cat" if i == 3 else 0)),
        {},
        "Pairs: labels are names ('cat') and numbers (0): use one of them",
    ),
    "two classes for each image": (
        lambda: Pairs(lambda i: (PICTURES[i], torch.eye(3)[None])),
        {},
        "Pairs: a label is one class, by number or name; this one has shape (1, 3, 3)",
    ),
    "floats of nobody knows": (
        lambda: TensorDataset((FLOATS * 0 - 1), torch.tensor(LABELS)),
        {},
        "TensorDataset: images are floats from -1.00 to -1.00, and nothing says what normalised them: give mean= and "
        "std= of the normalisation",
    ),
    "floats of another normalisation": (
        lambda: TensorDataset(torch.full((2, 3, 8, 8), 4.0), torch.tensor([0, 1])),
        {"mean": 0.5, "std": 0.5},
        "TensorDataset: image 0: mean (0.5) and std (0.5) bring it to 2.50..2.50 instead of 0..1: they are not what "
        "normalised it",
    ),
    "floats that are none": (
        lambda: TensorDataset(torch.full((2, 3, 8, 8), torch.nan), torch.tensor([0, 1])),
        {"mean": 0.5, "std": 0.5},
        "TensorDataset: image 0: its values are not finite",
    ),
    "mean alone": (lambda: Pairs(), {"mean": MEAN}, "mean and std belong together: give both, or neither"),
    "two numbers for three channels": (
        lambda: Pairs(),
        {"mean": (0.5, 0.5), "std": (0.5, 0.5)},
        "mean and std must be one number, or three, each, std above 0: got (0.5, 0.5) and (0.5, 0.5)",
    ),
    "whole numbers of 64 bits": (
        lambda: TensorDataset(TENSOR.long(), torch.tensor(LABELS)),
        {},
        "TensorDataset: image 0: its values are int64: bring them to uint8, 0 to 255",
    ),
    "five channels": (
        lambda: TensorDataset(torch.zeros(2, 5, 8, 8, dtype=torch.uint8), torch.tensor([0, 1])),
        {},
        "TensorDataset: image 0: its shape is (5, 8, 8): an image is (H, W), (C, H, W) or (H, W, C), "
        "of 1 or 3 channels",
    ),
    "no images": (
        lambda: [("cat.jpg", 0), ("dog.jpg", 1)],
        {},
        "list: image 0 cannot be read (ValueError: it is a path: masktune.data.FileDataset(paths, labels, classes) "
        "reads files)",
    ),
    "many sizes": (
        lambda: [(picture.resize((20 + i, 40)), i % 2) for i, picture in enumerate(PICTURES)],
        {},
        "list: images differ in size (image 0 is 20 x 40, image 1 is 21 x 40): give size=, the side in pixels to bring "
        "them to, and fit= crop, pad or stretch",
    ),
    "an unknown fit": (lambda: Pairs(), {"fit": "squash"}, "unknown fit 'squash': known are crop, pad, stretch"),
    "random images": (lambda: Pairs(jittered), {}, DIFFERENT.format("image 0 did")),
    "a random transform": (
        lambda: Pairs(transform=v2.Compose([v2.RandomHorizontalFlip(0.01), TO_FLOATS])),
        {},
        DIFFERENT.format("RandomHorizontalFlip"),
    ),
    "two labels": (
        lambda: rows(fine_label=LABELS),
        {},
        "Dataset: columns label and fine_label could both hold the label: name one by label_column=",
    ),
    "no label column": (
        lambda: [{"image": PICTURES[0], "finding": 0}],
        {},
        "list: no column is known to hold the label (columns: finding): name it by label_column=",
    ),
    "a column that is not there": (
        lambda: [{"image": PICTURES[0], "finding": 0}],
        {"label_column": "findings"},
        "list: label_column='findings' is none of the columns: finding",
    ),
    "parts of other classes": (
        lambda: ConcatDataset([Pairs(classes=NAMES), Pairs(classes=NAMES[::-1])]),
        {},
        "the parts of a ConcatDataset name different classes (['bird', 'cat', 'dog'], ['dog', 'cat', 'bird']): pass "
        "classes= and labels=",
    ),
    "ours, changed": (
        lambda: ArrayDataset(TENSOR, LABELS, NAMES, name="pets"),
        {"size": 32},
        "pets (12 images, 3 classes) is a data set of masktune already: say size= where it is made",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_in_one_sentence(case):
    make, options, sentence = REFUSED[case]
    with pytest.raises(ValueError) as refusal:
        as_dataset(make(), **options)
    assert str(refusal.value) == sentence


# framing


def marked(path, size, mark=8):
    "A green image with a red mark in its upper left corner"
    image = Image.new("RGB", size, (20, 160, 60))
    image.paste((255, 0, 0), (0, 0, mark, mark))
    image.save(path)
    return path


def red(image):
    return int(((image[0].int() - image[1].int()) > 100).sum())


def test_a_mark_at_the_border_of_a_wide_photograph_survives_pad_and_stretch(tmp_path):
    path = marked(tmp_path / "wide.png", (120, 40))
    found = {fit: red(FileDataset([path], [0], ["a"], resize=64, crop=56, fit=fit)[0].image) for fit in
             ("crop", "pad", "stretch")}  # fmt: skip
    assert found["crop"] == 0  # what the crop does, and always did
    scale = {"pad": (56 / 120) ** 2, "stretch": 56 / 120 * 56 / 40}
    assert all(found[fit] >= 0.7 * 64 * share for fit, share in scale.items()), found
    padded = FileDataset([path], [0], ["a"], resize=64, crop=56, fit="pad")[0].image
    assert padded[:, :18].max() == 0 and padded[:, -18:].max() == 0 and padded[:, 20:36].max() > 0


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_square_in_the_corner_of_small_images_is_left_whole(tmp_path, fit):
    path = marked(tmp_path / "digit.png", (28, 28), 4)
    image = FileDataset([path], [0], ["a"], resize=32, crop=28, fit=fit)[0].image
    assert red(image) == 16 and torch.equal(image, torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1))


def test_fingerprints_and_kept_images_know_the_framing(tmp_path, monkeypatch):
    from masktune.cache import cached

    monkeypatch.setenv("MASKTUNE_CACHE", str(tmp_path / "cache"))
    path = marked(tmp_path / "wide.png", (120, 40))
    sets = [FileDataset([path], [0], ["a"], resize=64, crop=56, fit=fit) for fit in ("crop", "pad", "stretch")]
    assert len({data.fingerprint for data in sets}) == 3
    assert len({cached(data).images.path for data in sets}) == 3
    assert sets[1].subset([0]).fit == "pad"
    sha = hashlib.sha256(sets[0].labels.numpy().tobytes())
    sha.update(b"2:64:56:None:(255, 255, 255)\n" + sets[0].digests.numpy().tobytes())
    assert sets[0].fingerprint == sha.hexdigest()[:16]  # as versions without fit= made it
    whole = FileDataset([marked(tmp_path / "digit.png", (56, 56))], [0], ["a"], resize=64, crop=56)
    assert whole.fingerprint != FileDataset(whole.paths, [0], ["a"], resize=56, crop=56).fingerprint


def test_workers_can_read_it():
    for form in ("a list of pairs", "rows", "TensorDataset of floats", "a loader"):
        make, options, _ = FORMS[form]
        data = as_dataset(
            make() if form != "a loader" else DataLoader(list(zip(PICTURES, LABELS, strict=True))), **options
        )
        again = pickle.loads(pickle.dumps(data))
        assert torch.equal(again[3].image, TENSOR[3]) and again.fingerprint == data.fingerprint


def test_masks_paint_the_normalised_black():
    data = as_dataset(TensorDataset(FLOATS, torch.tensor(LABELS)), **ONES)
    quick = dict(device="cpu", progress=False)
    maps = compute_saliency(Classifier(network(), MEAN, STD), data, **quick)
    masked = MaskedDataset(data, maps, Threshold.parse("quantile(q=0.5)"), "zero")
    seen = []

    class Network(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((2, 3))

    predict(as_classifier(Network(), masked), masked, **quick)
    images, hidden = torch.cat(seen), torch.stack([masked[i].image for i in range(COUNT)]) != TENSOR
    black = (-torch.tensor(MEAN) / torch.tensor(STD))[None, :, None, None].expand_as(images)
    assert (
        hidden.any()
        and torch.allclose(images[hidden], black[hidden])
        and torch.allclose(images[~hidden], FLOATS[~hidden], atol=1e-5)
    )


def test_a_model_that_is_asked_stays_as_it_is():
    model = Classifier(network(), MEAN, STD)
    before = [(m.training, id(m)) for m in model.modules()], model_fingerprint(model)
    as_dataset(TensorDataset(FLOATS, torch.tensor(LABELS)), model=model)
    assert before == ([(m.training, id(m)) for m in model.modules()], model_fingerprint(model))


def test_a_network_of_one_channel_gets_the_very_floats_that_its_loader_gave():
    seen = []

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, images):
            seen.append(images)
            return self.head(self.features(images).relu().mean((2, 3)))

    floats = (TENSOR[:, :1] / 255 - 0.5) / 0.25
    data = as_dataset(DataLoader(TensorDataset(floats, torch.tensor(LABELS))), mean=0.5, std=0.25)
    model = as_classifier(Network(), data)
    seen.clear()
    predict(model, data, device="cpu", progress=False)
    assert (torch.cat(seen) - floats).abs().max() < 1e-6
    again = as_dataset(TensorDataset(floats, torch.tensor(LABELS)), model=model)
    assert torch.equal(again[5].image, data[5].image)
