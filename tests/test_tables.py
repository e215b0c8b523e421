"""CSVs as people have them are read; what is wrong with one is said in a line that names the file and the line, and
the command never ends in a traceback."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from masktune.cli import main
from masktune.errors import DatasetError, DatasetWarning
from masktune.experiments.datasets import load_dataset
from masktune.folders import open_csv, open_folder, own_test_splits

NONE = dict(val_fraction=0, test_fraction=0, size=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Two classes, three images each"
    root = tmp_path_factory.mktemp("photos")
    for number, label in enumerate(("cat", "dog")):
        (root / label).mkdir()
        for i in range(3):
            Image.new("RGB", (24, 16), (90 * number, 80 * i, 40)).save(root / label / f"{i}.png")
    return root


def lines(separator=",", head=("path", "label"), files="cat/0.png cat/1.png dog/0.png dog/1.png", end="\n"):
    rows = [head, *((file, file[:3]) for file in files.split())]
    return end.join(separator.join(row) for row in rows) + end


BACKSLASHES = lines().replace("/", "\\")
INDEXED = "\n".join(f"{i - 1 if i else ''},{line}" for i, line in enumerate(lines().splitlines()))
BY_R = "\n".join(f'"{i}",{line}' if i else line for i, line in enumerate(lines().splitlines()))
READ = {  # what the file holds, options
    "UTF-8": (lines().encode(), {}),
    "UTF-8 with a mark": (lines().encode("utf-8-sig"), {}),
    "UTF-16": (lines().encode("utf-16"), {}),
    "UTF-16, tabs": (lines("\t").encode("utf-16"), {}),
    "UTF-16 without a mark": (lines().encode("utf-16-le"), {}),
    "UTF-16, big-endian": (lines().encode("utf-16-be"), {}),
    "UTF-32": (lines().encode("utf-32"), {}),
    "semicolons": (lines(";").encode(), {}),
    "tabs": (lines("\t").encode(), {}),
    "bars": (lines("|").encode(), {}),
    "a separator stated": (lines("^").encode(), {"separator": "^"}),
    "a tab by name": (lines("\t").encode(), {"separator": "tab"}),
    "sep= before the head": (b"sep=;\n" + lines(";").encode(), {}),
    "Windows' line ends": (lines(end="\r\n").encode(), {}),
    "an old Macintosh's": (lines(end="\r").encode(), {}),
    "empty lines": (b"\n\n" + lines().encode() + b"\n\n  \n", {}),
    "a line of separators": (lines().encode() + b",\n", {}),
    "an index": (INDEXED.encode(), {}),
    "an index without a head": (BY_R.encode(), {}),
    "backslashes": (BACKSLASHES.encode(), {}),
    "spaces around": (lines(" , ").encode(), {}),
    "other columns": (lines(",1,", ("path,site", "label")).replace("site,1,", "site,").encode(), {}),
    "Path and Class": (lines(head=("Path", "Class")).encode(), {}),
    "filename and target": (lines(head=("filename", "target")).encode(), {}),
    "image and label": (lines(head=("image", "label")).encode(), {}),
    "Image Path and Category": (lines(head=("Image Path", "Category")).encode(), {}),
    "names of one's own": (
        lines(head=("scan", "finding")).encode(),
        {"path_column": "scan", "label_column": "finding"},
    ),
}


@pytest.mark.parametrize("case", READ)
def test_csvs_are_read_whatever_wrote_them(photos, case):
    content, options = READ[case]
    file = photos / "list.csv"
    file.write_bytes(content)
    data = open_csv("train", file, **NONE, **options)
    assert [path.relative_to(photos).as_posix() for path in data.paths] == lines().replace(",", " ").split()[2::2]
    assert data.classes == ["cat", "dog"] and data.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(data[3].image, open_folder("train", photos, **NONE)[4].image)


def test_windows_1252_is_read_and_said(photos):
    file = photos / "list.csv"
    file.write_bytes(lines().replace(",cat", ",café").replace(",dog", ",Männchen").encode("cp1252"))
    with pytest.warns(DatasetWarning, match=r"not UTF-8, and read as Windows-1252 \(cp1252\): encoding= names another"):
        assert open_csv("train", file, **NONE).classes == ["Männchen", "café"]
    file.write_bytes(lines().replace(",cat", ",кот").encode("cp1251"))
    assert open_csv("train", file, encoding="cp1251", **NONE).classes == ["dog", "кот"]


def test_a_tilde_is_home(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    (photos / "list.csv").write_text(lines().replace("cat/0", "~/cat/0"))
    assert len(open_csv("train", "~/list.csv", **NONE)) == 4
    assert len(open_folder("train", "~", **NONE)) == 6
    assert len(open_csv("train", photos / "list.csv", images="~", **NONE)) == 4


def test_groups_and_splits_may_have_other_names(photos):
    rows = [
        "Path,Label,part,place",
        *(f"{c}/{i}.png,{c},{'val' if i == 2 else 'train'},in" for c in ("cat", "dog") for i in (0, 1, 2)),
    ]
    (photos / "list.csv").write_text("\n".join(rows))
    options = dict(split_column="part", group_column="place")
    data = open_csv("val", photos / "list.csv", size=16, **options)
    assert len(data) == 2 and data.group_names == ["in"]
    assert own_test_splits("csv", photos / "list.csv", **options) == ("validation",)


HEAD = "csv at list.csv: 1 problem\n  - "
BAD = {  # what the file holds, options, the sentence
    "empty": (b"", {}, HEAD + "is empty: expected a line of column names, path and label among them"),
    "blank": (b"\n \n", {}, HEAD + "is empty: expected a line of column names, path and label among them"),
    "a workbook": (
        b"PK\x03\x04" + bytes(50),
        {},
        HEAD + "is a ZIP archive or an Excel workbook, no text: save the table as CSV",
    ),
    "a zero byte": (
        b"path,label\na.png,ca\0t\n",
        {},
        HEAD + "line 2: holds a zero byte: is this a table saved as text?",
    ),
    "no such byte": (
        b"path,label\ncat/0.png,\x81\n",
        {},
        HEAD + "line 2: byte 0x81 is no cp1252: save the file as UTF-8, or name its encoding by encoding=",
    ),
    "not the encoding stated": (
        lines().replace(",dog", ",dög").encode("cp1252"),
        {"encoding": "utf-8"},
        HEAD + "line 4: byte 0xf6 is no utf-8: save the file as UTF-8, or name its encoding by encoding=",
    ),
    "an unknown encoding": (
        lines().encode(),
        {"encoding": "utf-9"},
        "encoding 'utf-9' is unknown: write utf-8, utf-16, cp1252, latin-1 ...",
    ),
    "an encoding that is a number": (lines().encode(), {"encoding": 8}, "encoding must be text, got 8"),
    "two separators": (
        lines().encode(),
        {"separator": ",,"},
        "separator must be one character, or comma, semicolon, tab or bar: got ',,'",
    ),
    "no path": (
        lines(head=("scan", "label")).encode(),
        {},
        HEAD + "line 1: no column 'path': found 'scan', 'label'; path_column= names another",
    ),
    "no columns": (
        b"cat/0.png\n",
        {},
        "csv at list.csv: 2 problems\n  - line 1: no column 'path': found 'cat/0.png'; path_column= names "
        "another\n  - line 1: no column 'label': found 'cat/0.png'; label_column= names another",
    ),
    "two paths": (
        lines(head=("image", "file,label")).replace(",cat", ",x,cat").encode(),
        {},
        HEAD + "line 1: columns 'image' and 'file' could both be the path: name one by path_column=",
    ),
    "a column that is not there": (
        lines().encode(),
        {"label_column": "finding"},
        HEAD + "line 1: label_column='finding' is none of its columns: 'path', 'label'",
    ),
    "a column twice": (b"path,label,label\n", {}, HEAD + "line 1: column 'label' is there 2 times"),
    "an empty label": (lines().encode() + b"cat/2.png,\n", {}, HEAD + "line 6: empty label"),
    "an empty path": (lines().encode() + b",cat\n", {}, HEAD + "line 6: empty path"),
    "a value too many": (
        lines().encode() + b"cat,2.png,cat\n",
        {},
        HEAD + "line 6: 3 values for 2 columns: a value that holds the separator needs quotation marks",
    ),
    "an open quotation mark": (
        lines().encode() + b'"cat/2.png,cat\ndog/2.png,dog\n',
        {},
        HEAD + "lines 6 to 7: a value goes on over several lines: is a quotation mark left open?",
    ),
    "an unknown split": (
        b"path,label,split\ncat/0.png,cat,train\ndog/0.png,dog,trian\ndog/1.png,dog,train\n",
        {},
        HEAD + "line 3: split 'trian' is none of train, val, test",
    ),
    "an address": (
        lines().encode() + b"https://example.org/cat.png,cat\n",
        {},
        HEAD + "line 6: https://example.org/cat.png is an address: download the images, and list their files",
    ),
    "a Windows path": (
        lines().encode() + b"C:\\scans\\2.png,cat\n",
        {},
        HEAD + "line 6: C:\\scans\\2.png is a path of a Windows machine: list paths below one folder, and "
        "name it by images=",
    ),
    "nobody's home": (
        lines().encode() + b"~nobody-at-all/2.png,cat\n",
        {},
        HEAD + "line 6: ~nobody-at-all/2.png: there is no such user's home folder",
    ),
    "a missing image": (lines().encode() + b"cat/9.png,cat\n", {}, HEAD + "line 6: missing image: ROOT/cat/9.png"),
    "a file that is no image": (
        lines().encode() + b"list.csv,cat\n",
        {},
        HEAD + "line 6: undecodable image: ROOT/list.csv cannot be decoded as an image (cannot identify image file "
        "'ROOT/list.csv')",
    ),
    "a file twice": (
        lines().encode() + b"cat/0.png,cat\n",
        {},
        HEAD + "duplicated path (2 times): ROOT/cat/0.png, in lines 2, 6",
    ),
    "a label of no class": (
        lines().encode(),
        {"classes": ["cat", "bird"]},
        HEAD + "label 'dog' is none of classes=['cat', 'bird']: ROOT/dog/0.png (line 4), ROOT/dog/1.png (line "
        "5) (split train)",
    ),
    "one class": (
        lines(files="cat/0.png cat/1.png").encode(),
        {},
        HEAD + "a classifier needs at least two classes, found ['cat']",
    ),
    "a folder that is not there": (
        lines().encode(),
        {"images": "nowhere"},
        HEAD + "images='nowhere': there is no such folder",
    ),
    "a folder that is a number": (lines().encode(), {"images": 5}, "images must be the path of a folder, got 5"),
    "an unknown fit": (lines().encode(), {"fit": "squash"}, "unknown fit 'squash': known are crop, pad, stretch"),
    "no size": (lines().encode(), {"size": 0}, "size must be a whole number of pixels, from 1 on, got 0"),
    "a size in words": (
        lines().encode(),
        {"size": "big"},
        "size must be a whole number of pixels, from 1 on, got 'big'",
    ),
    "a share above 1": (
        lines().encode(),
        {"val_fraction": 1.5},
        "val_fraction must be a share of the training images, from 0 to below 1, got 1.5",
    ),
    "nothing to train on": (
        lines().encode(),
        {"val_fraction": 0.5, "test_fraction": 0.5},
        "val_fraction and test_fraction leave nothing to train on: their sum must be below 1",
    ),
    "a seed in words": (
        lines().encode(),
        {"seed": "one"},
        "seed must be a whole number of at least 0 and at most 4,294,967,295, got 'one'",
    ),
    "one mean": (
        lines().encode(),
        {"mean": 0.5},
        "mean must be three numbers, one per channel, for images in 0..1: got 0.5",
    ),
    "classes as a number": (
        lines().encode(),
        {"classes": 2},
        "classes must be names, in a list or between commas, got 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_csv_is_said_by_its_line(photos, case, monkeypatch):
    content, options, sentence = BAD[case]
    (photos / "list.csv").write_bytes(content)
    with pytest.raises(ValueError) as refusal:
        load_dataset("csv", "train", photos / "list.csv", **NONE | options)
    said = str(refusal.value).replace(f"csv at {photos}/", "csv at ").replace(str(photos), "ROOT")
    assert said == sentence


def test_files_and_folders_are_told_apart(photos):
    with pytest.raises(DatasetError, match="this is a folder, no file: open it as folder"):
        open_csv("train", photos)
    (photos / "list.csv").write_text(lines())
    with pytest.raises(DatasetError, match="this is a file, no folder: open a CSV as csv"):
        open_folder("train", photos / "list.csv")


def test_a_split_that_is_not_there_is_said_before_images_are_decoded(photos, monkeypatch):
    monkeypatch.setattr("masktune.folders.check_images", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="unknown split of folder 'trian': did you mean 'train'"):
        open_folder("trian", photos)


def test_the_command_frames_images_as_it_is_told(photos, tmp_path, capsys):
    from masktune.files import read_json

    run = tmp_path / "run"
    (photos / "list.csv").write_text(lines() + "cat/2.png,cat\ndog/2.png,dog\n")
    options = ["--option", "size=28", "--option", "val_fraction=0.34", "--option", "test_fraction=0.33"]
    model = ["--model", "small-cnn", "--epochs", "1", "--device", "cpu", "--batch-size", "2"]
    assert (
        main(
            [
                "erm",
                "--out",
                str(run),
                "--data",
                "csv",
                "--root",
                str(photos / "list.csv"),
                "--fit",
                "pad",
                *options,
                *model,
            ]
        )
        == 0
    )
    assert read_json(run / "config.json")["data"]["options"]["fit"] == "pad"
    assert main(["evaluate", str(run)]) == 0  # opened again in the same way
    capsys.readouterr()


def ending(arguments, capsys):
    "Exit status, and what stderr says"
    try:
        status = main(arguments)
    except SystemExit as end:  # argparse
        status = end.code
    return status, capsys.readouterr().err


BYTES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.text("path,label;\t\n\"'0/.~\\catdogng ", max_size=80).map(
        lambda text: ("path,label\n" + text).encode("utf-16")
    ),
    st.text("path,label;\t\n\"'0/.~\\catdogng ", max_size=80).map(lambda text: ("path,label\n" + text).encode()),
)
OPTIONS = st.sampled_from(
    "size=0 size=-1 size=x size=1e3 size=None fit=squash fit=5 window=(1,0) window=5 background=blau seed=x seed=1.5 "
    "val_fraction=2 val_fraction=x test_fraction=-1 classes=5 classes=cat,cat mean=1 std=(0,0,0) "
    "images=5 images=nowhere "
    "path_column=x label_column=5 split_column=y encoding=utf-9 encoding=5 separator=xy separator=5 "
    "chek=1 =5 size".split()
)


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=BYTES, options=st.lists(OPTIONS, max_size=2), folder=st.booleans())
def test_no_malformed_csv_folder_or_option_ends_in_a_traceback(content, options, folder, photos, tmp_path, capsys):
    "Each ends the command with status 2 and what is wrong; --epochs 0 without weights ends those that are well"
    place = tmp_path / "data"
    place.mkdir(exist_ok=True)
    (place / "list.csv").write_bytes(content)
    (place / "cat").mkdir(exist_ok=True)
    (place / "cat" / "0.png").write_bytes(content)
    data = (
        ["--data", "folder", "--root", str(place)] if folder else ["--data", "csv", "--root", str(place / "list.csv")]
    )
    given_options = [part for option in options for part in ("--option", option)]
    status, said = ending(["erm", "--out", str(tmp_path / "run"), *data, "--epochs", "0", *given_options], capsys)
    assert status == 2 and said.strip() and "Traceback" not in said
    assert not re.search(r"(object|argument|operand|NoneType|int\(\)|codec)", said), said  # Python's own words
