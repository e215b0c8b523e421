"Masks from elsewhere: read in every form, framed as their images, hidden or spared; and one sentence for a bad form."

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from masktune.data import ArrayDataset, FileDataset
from masktune.errors import DatasetError, DatasetWarning
from masktune.experiments.datasets import load_dataset
from masktune.given_masks import read_marks, read_masks
from masktune.masking import MaskedDataset, hide

SIZE = (120, 90)  # width and height of a photograph
MARK = (30, 30, 50, 50)  # a square on each, in pixels of the file
pytestmark = pytest.mark.filterwarnings("ignore::masktune.errors.DatasetWarning")


def photograph(path, size=SIZE, mark=MARK):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (90, 140, 60))
    ImageDraw.Draw(image).rectangle((mark[0], mark[1], mark[2] - 1, mark[3] - 1), fill=(255, 0, 0))
    image.save(path)


def mask_file(path, size=SIZE, mark=MARK, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size)
    ImageDraw.Draw(image).rectangle((mark[0], mark[1], mark[2] - 1, mark[3] - 1), fill=value)
    image.save(path)


@pytest.fixture
def photos(tmp_path):
    for label in ("benign", "malignant"):
        for i in range(6):
            photograph(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def lesions(photos):
    return load_dataset("folder", "train", photos, size=64, check=False)


def red(images):
    "Where the square of each image is, as framed"
    return (images[:, 0] > 200) & (images[:, 1] < 70)


def stacked(dataset):
    return torch.stack([dataset[i].image for i in range(len(dataset))])


def names_of(dataset):
    return [f"{path.parent.name}/{path.name}" for path in dataset.paths]


def forms(lesions, photos, folder):
    "The same squares in every form"
    for name in names_of(lesions):
        mask_file((folder / name).with_suffix(".bmp"))
        mask_file(folder / "ending" / f"{name.removesuffix('.png')}_mask.tif", value=1)
    rows = [f"{name};{folder / name.replace('.png', '.bmp')};30 30 50 50" for name in names_of(lesions)]
    (folder / "marks.csv").write_text("\n".join(["Image;mask;pen", *rows, ""]))
    rows = [f"photos/{name},{a},30,{a + 10},50" for name in names_of(lesions) for a in (30, 40)]
    (photos.parent / "boxes.csv").write_text("\n".join(["path,xmin,ymin,xmax,ymax", *rows]))
    array = np.zeros((90, 120), dtype=bool)
    array[30:50, 30:50] = True
    return {
        "folder": str(folder),
        "folder, with _mask": folder / "ending",
        "csv of files": f"{folder / 'marks.csv'}:mask",
        "csv of boxes in a column": f"{folder / 'marks.csv'}:pen",
        "csv of boxes, one a line": photos.parent / "boxes.csv",
        "mapping of names": {name.removesuffix(".png"): MARK for name in names_of(lesions)},
        "mapping of positions": {i: [MARK] for i in range(len(lesions))},
        "list of boxes": [[(30, 30, 40, 50), (40, 30, 50, 50)]] * len(lesions),
        "list of arrays": [array] * len(lesions),
    }


def test_every_form_marks_the_same_pixels(lesions, photos, tmp_path):
    found = {name: read_masks(lesions, form) for name, form in forms(lesions, photos, tmp_path / "marks").items()}
    first = found["folder"]
    for name, masks in found.items():
        assert masks.fingerprint == first.fingerprint, name
    squares = red(stacked(lesions))
    differ = (first[range(len(lesions))] ^ squares).float().mean()
    assert squares.any() and differ < 0.01  # the image's edge is smoothed, the mask's is not


def test_a_part_of_a_data_set_and_one_kept_decoded_have_their_own_masks(lesions, photos, tmp_path):
    from masktune.cache import cached

    some = {i: MARK for i in (0, 3)}
    masks = read_masks(lesions, some)
    part = lesions.subset([3, 1]).subset([0])
    assert torch.equal(masks.check(part)[[0]], masks[[3]])
    assert read_masks(cached(lesions), {name: MARK for name in names_of(lesions)[:1]}).shares[0] > 0
    with pytest.raises(ValueError, match="these masks were given for photos/train"):
        masks.check(load_dataset("folder", "val", photos, size=64, check=False))


def test_masks_are_turned_as_the_camera_was(tmp_path):
    image = Image.new("RGB", SIZE, (0, 90, 0))
    ImageDraw.Draw(image).rectangle((30, 30, 49, 49), fill=(255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    data = FileDataset([tmp_path / "a.png"] * 2, [0, 1], ["a", "b"], resize=None, crop=None)
    place = red(stacked(data))[0].nonzero()
    top, left, bottom, right = *place.min(0).values.tolist(), *(place.max(0).values + 1).tolist()
    masks = read_masks(data, [[(left, top, right, bottom)]] * 2)
    assert torch.equal(masks[[0]], red(stacked(data))[:1])


def test_what_is_given_is_hidden_and_what_is_protected_never(lesions):
    marks = {name: MARK for name in names_of(lesions)}
    hidden = MaskedDataset(lesions, None, given=marks)
    before, after = red(stacked(lesions)), red(stacked(hidden))
    assert before.flatten(1).any(1).all() and after.float().mean() < 0.1 * before.float().mean()
    outside = ~read_masks(lesions, marks)[range(len(lesions))][:, None]
    assert torch.equal(stacked(hidden) * outside, stacked(lesions) * outside)
    spared = MaskedDataset(lesions, None, given=[[(0, 0, 119, 90)]] * len(lesions), protect=marks)
    assert torch.equal(red(stacked(spared)), before & red(stacked(spared))) and red(stacked(spared)).any()
    everything = torch.ones(2, 64, 64, dtype=torch.bool)
    left = read_marks(lesions, protect=marks).apply(everything, [4, 5])
    assert torch.equal(left, ~read_masks(lesions, marks)[[4, 5]])


def test_missing_masks_are_told_and_refused_when_asked(lesions):
    some = {names_of(lesions)[0]: MARK}
    with pytest.warns(DatasetWarning, match=r"7 of 8 images have no mask, nothing is marked on them"):
        masks = read_masks(lesions, some)
    assert (masks.shares > 0).tolist() == [True] + [False] * 7
    with pytest.raises(DatasetError, match="7 of 8 images have no mask: "):
        read_masks(lesions, some, missing="refuse")


def test_soft_empty_and_cut_off_masks_are_told(lesions, tmp_path):
    names = [name.removesuffix(".png") for name in names_of(lesions)]
    for name in names[3:]:
        mask_file(tmp_path / "marks" / f"{name}.png")
    soft = Image.new("L", SIZE, 3)
    ImageDraw.Draw(soft).rectangle((30, 30, 49, 49), fill=250)
    (tmp_path / "marks" / names[0]).parent.mkdir(exist_ok=True)
    soft.save(tmp_path / "marks" / f"{names[0]}.png")
    Image.new("L", SIZE).save(tmp_path / "marks" / f"{names[1]}.png")
    mask_file(tmp_path / "marks" / f"{names[2]}.png", mark=(0, 0, 4, 90))  # outside the centre crop
    with pytest.warns(DatasetWarning) as heard:
        masks = read_masks(lesions, tmp_path / "marks")
    said = " ".join(str(warning.message) for warning in heard)
    assert "1 of 8 masks hold other values than 0 and one more: what is 128 or more counts as marked" in said
    assert "1 of 8 masks mark nothing" in said and "1 of 8 masks mark only what framing cuts off" in said
    assert torch.equal(masks[[0]], masks[[3]])


def bad_folders(lesions, photos, folder):
    "Form -> what is said about it"
    names = names_of(lesions)
    first = names[0].removesuffix(".png")
    mask_file(folder / "size" / f"{first}.png", size=(64, 64))
    (folder / "broken" / first).parent.mkdir(parents=True)
    (folder / "broken" / f"{first}.png").write_bytes(b"no image")
    mask_file(folder / "classes" / f"{first}.png", value=1)
    image = Image.open(folder / "classes" / f"{first}.png")
    image.putpixel((0, 0), 2)
    image.save(folder / "classes" / f"{first}.png")
    mask_file(folder / "names" / "other.png")
    for suffix in (".png", "_mask.png"):
        mask_file(folder / "twice" / f"{first}{suffix}")
    shared = next(i for i in range(6) if {f"benign/{i}.png", f"malignant/{i}.png"} <= set(names))
    mask_file(folder / "flat" / f"{shared}.png")
    (folder / "nothing").mkdir()
    mask_file(folder / "blank" / f"{first}.png", value=0)
    (folder / "a.csv").write_text("file,label\n1.png,2\n")
    (folder / "b.csv").write_text("title,mask\n1.png,2.png\n")
    (folder / "c.csv").write_text(f"path,mask,boxes\n{names[0]},2.png,\n")
    (folder / "d.csv").write_text("path,mask\nelsewhere.png,2.png\n")
    (folder / "e.csv").write_text(f"path,x0,y0,x1,y1\n{names[0]},1,2,,4\n")
    (folder / "f.csv").write_text(f"path,mask\n{names[0]},gone.png\n")
    (folder / "g.csv").write_text(f"path,mask\n{names[0]},https://example.org/1.png\n")
    return {
        folder / "nowhere": "there is no such folder of mask images, and no such CSV",
        folder / "size": f"{folder / 'size' / first}.png is 64 x 64 pixels, its image 120 x 90: a mask has the size of "
        "the original file",
        folder / "broken": f"undecodable mask: {folder / 'broken' / first}.png (cannot identify image file",
        folder / "classes": "holds the values 0, 1, 2, all below 128: save what is marked as 255, all else as 0",
        folder / "names": "none of its 1 files is named as an image (such as other.png): expected ",
        folder / "twice": f"{photos / names[0]} has several masks (",
        folder / "flat": ".png fits several images (",
        folder / "nothing": f"no mask image below {folder / 'nothing'}",
        folder / "blank": "not one image is marked: every mask is missing, empty, or cut off by the framing",
        folder / "size" / f"{first}.png": "is one file and no CSV: give the folder that holds the mask images",
        folder / "a.csv": "no column of masks (mask, or x0, y0, x1, y1): found ['file', 'label'], name one as "
        "FILE.csv:COLUMN",
        folder / "b.csv": "no column that names images (path, image, file ...): found ['title', 'mask']",
        folder / "c.csv": "several columns that could hold masks: found ['path', 'mask', 'boxes'], name one as "
        "FILE.csv:COLUMN",
        f"{folder / 'c.csv'}:pen": "no column 'pen': found ['path', 'mask', 'boxes']",
        folder / "d.csv": "none of its 1 lines names an image of photos/train (8 images, 2 classes) (the first: "
        "elsewhere.png)",
        folder / "e.csv": "line 2: 1, 2, nothing, 4 is no box (x0, y0, x1, y1)",
        folder / "f.csv": f"missing mask: {folder / 'gone.png'}",
        folder / "g.csv": "line 2: https://example.org/1.png is an address: download the images, and list their files",
    }


def test_bad_files_of_masks_are_each_one_sentence(lesions, photos, tmp_path):
    for form, sentence in bad_folders(lesions, photos, tmp_path / "bad").items():
        with pytest.raises(DatasetError) as caught:
            read_masks(lesions, form)
        assert len(caught.value.problems) == 1 and sentence in caught.value.problems[0], (form, caught.value.problems)
        assert caught.value.where == f"masks in {form}"


BAD = [
    (lambda n: 3, "masks must be a folder, a CSV, a mapping, a list with one entry an image, or a tensor (N, H, W), "),
    (lambda n: [None] * 3, "3 masks for 8 images: give one entry an image, None for none"),
    (lambda n: [[(1, 2, 3)]] * n, "box (1, 2, 3) must be four numbers (x0, y0, x1, y1)"),
    (lambda n: [(5, 5, 5, 9)] * n, "box (5, 5, 5, 9) is empty: write (x0, y0, x1, y1) with x0 < x1 and y0 < y1"),
    (
        lambda n: [(0.1, 0.1, 0.5, 0.5)] * n,
        "covers less than a pixel: boxes are in pixels of the original file, not in",
    ),
    (lambda n: [(0, 0, 121, 9)] * n, "box (0, 0, 121, 9) leaves its image of 120 x 90 pixels"),
    (lambda n: [(0, 0, float("nan"), 9)] * n, "box (0, 0, nan, 9) must be four numbers (x0, y0, x1, y1)"),
    (lambda n: torch.zeros(n, 5, 5), "a mask of shape (5, 5) for an image of (90, 120) (height, width)"),
    (lambda n: {"elsewhere.png": MARK}, "none of its 1 names is an image of photos/train (8 images, 2 classes)"),
    (lambda n: {0: None}, "not one image is marked"),
    (lambda n: torch.zeros(n, 64, 64), "not one image is marked"),
]


@pytest.mark.parametrize("form, sentence", BAD, ids=[sentence[:40] for _, sentence in BAD])
def test_bad_forms_of_masks_are_each_one_sentence(form, sentence, lesions):
    with pytest.raises(DatasetError) as caught:
        read_masks(lesions, form(len(lesions)))
    assert sentence in caught.value.problems[0]


def test_masks_that_hide_whole_images_are_refused_and_may_protect(lesions):
    whole = torch.ones(len(lesions), 64, 64)
    with pytest.raises(ValueError, match=r"cover 8 of 8 images .* Are black and white exchanged\?"):
        MaskedDataset(lesions, None, given=whole)
    read_marks(lesions, protect=whole)


def test_images_in_memory_take_boxes_and_tensors_and_say_why_no_folder(tmp_path):
    data = ArrayDataset(torch.zeros(4, 3, 20, 20, dtype=torch.uint8), [0, 1, 0, 1], ["a", "b"])
    assert read_masks(data, [(0, 0, 5, 4)] * 4).shares.tolist() == [0.05] * 4
    with pytest.raises(DatasetError, match="does not come from files, so that masks by name find no image"):
        read_masks(data, tmp_path)


def test_normalised_floats_are_hidden_as_their_bytes_would_be():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=generator)
    mask = torch.rand(3, 16, 16, generator=generator) < 0.4
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    a, b = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    for kind in (torch.float32, torch.float16):
        floats = ((images / 255 - a) / b).to(kind)
        for fill in ("zero", "mean", "blur", "noise"):
            hidden = hide(floats, mask, fill, mean=mean, std=std)
            assert hidden.dtype == kind and torch.equal(
                hidden.masked_fill(mask[:, None], 0), floats.masked_fill(mask[:, None], 0)
            )
            back = (hidden.float() * b + a) * 255
            assert (back - hide(images, mask, fill).float()).abs().max() < (0.51 if kind == torch.float32 else 1.5)


def test_a_run_hides_what_is_given_and_spares_what_is_protected(digits, tmp_path):
    from masktune import MaskTune
    from masktune.models import build_model
    from masktune.report import write_report
    from masktune.runs import load_run, save_run

    train, val, test = (digits[split].subset(range(40)) for split in ("train", "val", "test"))
    corner, middle = (0, 0, 6, 6), (10, 10, 20, 20)
    options = {"device": "cpu", "progress": False, "epochs": 1, "cache": 0.0}
    marks = {"given": [[corner]] * 39 + [None], "protect": [[middle]] * 40}
    run = MaskTune(build_model("small-cnn", 2), source="given", **marks, **options).fit(train, val)
    masks = run.masked(train, 1).masks(range(40))
    assert run.rounds_[0].maps.source == "given" and masks[:39, :6, :6].all()
    assert not masks[:, 6:].any() and not masks[39].any()
    lax = run.branch(source="gradients", rule="quantile(q=0.1)").compute_maps(train).masked(train, 1).masks(range(40))
    assert lax[:39, :6, :6].all() and lax[:, 6:].any() and not lax[:, 10:20, 10:20].any()
    run.evaluate({"test": test})
    page = write_report(run, tmp_path / "report.html", train, {"test": test}).read_text(encoding="utf-8")
    assert "39 of 40 images marked" in page and "never hidden" in page
    folder = save_run(run, tmp_path / "run")
    again = load_run(folder, build_model("small-cnn", 2), **marks)
    assert torch.equal(again.masked(train, 1).masks(range(40)), masks)
    with pytest.raises(ValueError, match="this run was made with given=masks list, which a file cannot hold"):
        load_run(folder, build_model("small-cnn", 2)).masked(train, 1)


def test_the_command_takes_masks_and_refuses_bad_ones_in_a_line(photos, tmp_path, capsys):
    from masktune.cli import main
    from masktune.files import read_json

    for path in sorted(photos.rglob("*.png")):
        mask_file(tmp_path / "marks" / path.relative_to(photos))
    out = str(tmp_path / "run")
    begin = ["erm", "--data", "folder", "--root", str(photos), "--out", out, "--model", "small-cnn", "--no-pretrained"]
    begin += ["--option", "size=32", "--epochs", "1", "--batch-size", "4", "--device", "cpu", "--cache", "0"]
    assert main([*begin, "--given-masks", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "there is no such folder of mask images, and no such CSV" in said and "Traceback" not in said
    assert main([*begin, "--source", "given"]) == 2
    assert "source 'given' takes the masks themselves" in capsys.readouterr().err
    assert main([*begin, "--source", "given", "--given-masks", str(tmp_path / "marks")]) == 0
    assert read_json(tmp_path / "run" / "config.json")["settings"]["given"] == str(tmp_path / "marks")
    assert main(["saliency", out]) == 0 and main(["finetune", out, "--finetune-lr", "0.01"]) == 0
    assert main(["evaluate", out]) == 0
    assert "given of masks" in capsys.readouterr().out


BAD_SETTINGS = [
    ({"given": 3}, "given must be a folder of masks, a CSV, or the masks themselves, got 3"),
    ({"protect": True}, "protect must be a folder of masks, a CSV, or the masks themselves, got True"),
    ({"source": "given"}, "source 'given' takes the masks themselves: give given=, a folder of masks, a CSV, boxes"),
    (
        {"on_device": True, "protect": "marks"},
        "on_device makes masks without knowing which image it sees: leave it out, ",
    ),
]


@pytest.mark.parametrize("options, sentence", BAD_SETTINGS)
def test_bad_settings_of_masks_are_each_one_sentence(options, sentence):
    from masktune.settings import Settings

    with pytest.raises(ValueError) as caught:
        Settings(**options)
    assert str(caught.value).startswith(sentence)


def test_the_scrubber_shows_what_is_given_and_what_is_protected():
    from masktune.lab.scrubber import ThresholdScrubber
    from masktune.saliency import SaliencyMaps

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 20, 20), dtype=torch.uint8, generator=generator)
    data, ones = ArrayDataset(images, [0, 1] * 3, ["a", "b"]), torch.ones(6)
    maps = SaliencyMaps(torch.rand(6, 5, 5, generator=generator).half(), ones, ones.long(), ones, data=data.fingerprint)
    marks = {"given": [(0, 0, 4, 4)] * 5 + [None], "protect": [(2, 2, 12, 12)] * 6}
    scrubber = ThresholdScrubber(None, data, maps, "quantile(q=0.6)", **marks)
    wanted = MaskedDataset(data, maps, "quantile(q=0.6)", **marks).masks(scrubber.shown)
    assert torch.equal(scrubber.mask, wanted) and not wanted[:, 4:12, 4:12].any()
    pages = {image["index"]: image for image in scrubber.view.page["images"]}
    assert "given" not in pages[5] and len({image["protect"] for image in pages.values()}) == 1
    scrubber.close()
    with pytest.raises(DatasetError, match="3 masks for 6 images"):
        ThresholdScrubber(None, data, maps, given=[None] * 3)
