"""Two hundred malformed folders, CSVs, weights and options: the command ends each with one line and status 2.

Nothing is trained: where a malformed input would get as far as a training, that is the finding."""

import contextlib
import io
import json
import struct
import tempfile
import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from masktune.cli import main
from masktune.resume import Resumable

SETTINGS = settings(
    max_examples=50,
    derandomize=True,  # the same two hundred everywhere
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Trained(BaseException):
    "What was malformed went as far as a training"


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    def refuse(*_, **__):
        raise Trained

    monkeypatch.setattr(Resumable, "fit_erm", refuse)


def refused(*words):
    "The last line on stderr; fails on a traceback, on another status, on something that is written anyway"
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main([str(word) for word in words])
        except BaseException as error:
            pytest.fail(f"{words}: {''.join(traceback.format_exception(error)[-3:])}")
    text = said.getvalue()
    assert status == 2, f"{words}: status {status}\n{text}"
    assert "Traceback" not in text, text
    *listed, last = text.rstrip("\n").splitlines()
    assert last.startswith("masktune: ") and len(last) > 25, text
    # what goes before: a list of problems, the tree that was found, notes
    assert all(line.startswith(("  ", "masktune: ")) for line in listed), text
    return text


def draw_image(path, shade, size=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (shade % 256, 40, 255 - shade % 256)).save(path)


def make_tree(root):
    "A folder that is well: three splits, two classes, three images each"
    for i, split in enumerate(("train", "val", "test")):
        for j, name in enumerate(("cat", "dog")):
            for k in range(3):
                draw_image(root / split / name / f"{k}.png", 40 * i + 13 * j + 4 * k)


def begin(out, *words):
    return ("erm", "--out", out, "--epochs", "1", "--num-workers", "0", "--cache", "0", *words)


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# Folders ---------------------------------------------------------------------------------------------------------

ANYWHERE = st.tuples(
    st.sampled_from(("train", "val", "test")), st.sampled_from(("cat", "dog")), st.sampled_from(("0", "1", "2"))
)


def spoil_bytes(root, place, data):
    "An image whose bytes are none"
    file = root.joinpath(*place).with_suffix(".png")
    file.write_bytes(data.draw(st.binary(max_size=200)))


def truncate(root, place, data):
    "An image that was cut off"
    file = root.joinpath(*place).with_suffix(".png")
    whole = file.read_bytes()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 20))])


def another_format(root, place, data):
    file = root.joinpath(*place).with_suffix(".png")
    file.rename(file.with_suffix(data.draw(st.sampled_from((".dcm", ".nii", ".psd", ".heic", ".cr2")))))


def unknown_class(root, place, data):
    "A class that the training split lacks"
    name = data.draw(st.text("abcdefgxyzé ", min_size=1, max_size=8).filter(lambda text: text.strip()))
    draw_image(root / data.draw(st.sampled_from(("val", "test"))) / f"new {name}" / "0.png", 1)


def one_class(root, place, data):
    import shutil

    for split in ("train", "val", "test"):
        shutil.rmtree(root / split / place[1])


def no_training(root, place, data):
    import shutil

    shutil.rmtree(root / "train")


def empty(root, place, data):
    import shutil

    shutil.rmtree(root)
    root.mkdir()
    for name in data.draw(st.lists(st.text("abcxyz", min_size=1, max_size=5), max_size=3)):
        (root / name).mkdir(exist_ok=True)


def a_file(root, place, data):
    import shutil

    shutil.rmtree(root)
    root.write_bytes(data.draw(st.binary(max_size=50)))


def absent(root, place, data):
    import shutil

    shutil.rmtree(root)


def copy_between_splits(root, place, data):
    import shutil

    to = {"train": "val", "val": "test", "test": "train"}[place[0]]
    shutil.copy(root.joinpath(*place).with_suffix(".png"), root / to / place[1] / "copy.png")


FOLDERS = (
    spoil_bytes,
    truncate,
    another_format,
    unknown_class,
    one_class,
    no_training,
    empty,
    a_file,
    absent,
    copy_between_splits,
)


@SETTINGS
@given(place=ANYWHERE, spoil=st.sampled_from(FOLDERS), data=st.data())
def test_malformed_folders(place, spoil, data):
    with folder() as here:
        make_tree(here / "pets")
        spoil(here / "pets", place, data)
        refused(*begin(here / "run", "--data", "folder", "--root", here / "pets", "--option", "size=24"))
        assert not (here / "run").exists()


# CSVs ------------------------------------------------------------------------------------------------------------


def rows_of(root):
    return [
        [path.relative_to(root).as_posix(), path.parent.name, path.parent.parent.name]
        for path in sorted(root.rglob("*.png"))
    ]


def as_text(rows, header=("path", "label", "split")):
    return "\n".join(",".join(row) for row in (list(header), *rows)) + "\n"


def binary(rows, data):
    return data.draw(st.binary(max_size=300))


def with_nul(rows, data):
    text = as_text(rows).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    return text[:at] + b"\x00\xff\x00" + text[at:]


def missing_column(rows, data):
    gone = data.draw(st.sampled_from((0, 1)))
    kept = [[cell for i, cell in enumerate(row) if i != gone] for row in rows]
    return as_text(kept, [name for i, name in enumerate(("path", "label", "split")) if i != gone]).encode()


def empty_cell(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row][data.draw(st.sampled_from((0, 1)))] = data.draw(st.sampled_from(("", " ", "\t")))
    return as_text(rows).encode()


def ragged(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row] = rows[row][:1] if data.draw(st.booleans()) else [*rows[row], "more", "and more"]
    return as_text(rows).encode()


def no_such_file(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row][0] = "none/" + data.draw(st.text("abcé%$ ", min_size=1, max_size=9)).strip() + ".png"
    return as_text(rows).encode()


def no_such_split(rows, data):
    rows[data.draw(st.integers(0, len(rows) - 1))][2] = "x" + data.draw(st.text("abc", max_size=5))
    return as_text(rows).encode()


def header_alone(rows, data):
    return data.draw(st.sampled_from((b"path,label,split\n", b"", b"\n\n\n", b"path,label,split")))


def named_twice(rows, data):
    return as_text([*rows, rows[data.draw(st.integers(0, len(rows) - 1))]]).encode()


def new_label(rows, data):
    rows[-1 - data.draw(st.integers(0, 2))][1] = "unseen"
    held = [row for row in rows if row[2] != "train" or row[1] != "unseen"]
    return as_text([*held, [held[0][0], "unseen", "val"]]).encode()


CSVS = (
    binary,
    with_nul,
    missing_column,
    empty_cell,
    ragged,
    no_such_file,
    no_such_split,
    header_alone,
    named_twice,
    new_label,
)


@SETTINGS
@given(spoil=st.sampled_from(CSVS), data=st.data())
def test_malformed_csvs(spoil, data):
    with folder() as here:
        make_tree(here / "pets")
        (here / "pets" / "table.csv").write_bytes(spoil(rows_of(here / "pets"), data))
        table = here / "pets" / "table.csv"
        refused(*begin(here / "run", "--data", "csv", "--root", table, "--option", "size=24"))
        assert not (here / "run").exists()


# Weights ---------------------------------------------------------------------------------------------------------


class Unsafe:
    "What a pickle must not be allowed to call"

    def __reduce__(self):
        return print, ("a pickle ran code",)


def good_weights():
    from masktune.models import build_model

    return {name: value.clone() for name, value in build_model("small-cnn", 2).state_dict().items()}


def random_bytes(path, data):
    path.write_bytes(data.draw(st.binary(max_size=200)))


def cut_off(path, data):
    write_weights(path, good_weights())
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 50))])


def write_weights(path, tensors):
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(tensors, path)
    else:
        import torch

        torch.save(tensors, path)


def another_shape(path, data):
    tensors = good_weights()
    name = data.draw(st.sampled_from(sorted(name for name in tensors if tensors[name].ndim)))
    tensors[name] = tensors[name].new_zeros([size + 1 for size in tensors[name].shape])
    write_weights(path, tensors)


def lacking(path, data):
    tensors = good_weights()
    del tensors[data.draw(st.sampled_from(sorted(tensors)))]
    write_weights(path, tensors)


def of_another(path, data):
    import torch

    names = data.draw(st.lists(st.text("abc.", min_size=1, max_size=6), min_size=1, max_size=3, unique=True))
    write_weights(path, {name: torch.zeros(2) for name in names})


def a_lying_header(path, data):
    length = data.draw(st.integers(0, 2**63))
    path.write_bytes(struct.pack("<Q", length) + json.dumps({"a": data.draw(st.integers())}).encode())


def no_tensors(path, data):
    import torch

    torch.save(data.draw(st.sampled_from((None, 3, [1, 2], {"a": "b"}, {"state_dict": 3}, {}))), path)


def unsafe(path, data):
    import pickle

    path.write_bytes(pickle.dumps(Unsafe()))


def a_directory(path, data):
    path.mkdir()


def nothing(path, data):
    pass


WEIGHTS = (
    random_bytes,
    cut_off,
    another_shape,
    lacking,
    of_another,
    a_lying_header,
    no_tensors,
    unsafe,
    a_directory,
    nothing,
)


@SETTINGS
@given(
    spoil=st.sampled_from(WEIGHTS),
    suffix=st.sampled_from((".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", "")),
    data=st.data(),
)
def test_malformed_weights(spoil, suffix, data):
    with folder() as here:
        path = here / f"weights{suffix}"
        spoil(path, data)
        text = refused(*begin(here / "run", "--data", "biased-digits", "--model", "small-cnn", "--weights", path))
        assert "a pickle ran code" not in text
        assert not (here / "run").exists()


# Options ---------------------------------------------------------------------------------------------------------

BELOW = st.one_of(st.floats(max_value=-1e-9), st.just(float("nan")), st.sampled_from(("", "abc", "1e", "0x", "1,5")))
WORDS = st.text("abcdefghijklmnopqrstuvwxyz(=)-.é", min_size=1, max_size=12).map(lambda text: "q" + text)
OPTIONS = st.one_of(
    st.tuples(st.sampled_from(("--lr", "--finetune-lr", "--momentum", "--weight-decay", "--gamma", "--cache")), BELOW),
    st.tuples(st.sampled_from(("--batch-size", "--rounds", "--finetune-epochs")), st.integers(max_value=0)),
    st.tuples(st.sampled_from(("--epochs", "--seed", "--num-workers")), st.integers(max_value=-1)),
    st.tuples(st.sampled_from(("--optimizer", "--schedule", "--select", "--augment", "--source", "--target")), WORDS),
    st.tuples(st.sampled_from(("--rule", "--fill", "--maps-from", "--start-from", "--choose", "--device")), WORDS),
    st.tuples(st.sampled_from(("--model", "--data")), WORDS),
    st.tuples(st.just("--option"), WORDS),
    st.tuples(WORDS.map(lambda word: f"--{word}"), WORDS),
    st.tuples(st.sampled_from(("--quantile", "--learning-rate", "--bacth-size", "--epoch", "--out-dir")), st.just("1")),
    st.tuples(st.sampled_from(("--rule",)), st.floats(1.01, 9).map(lambda q: f"quantile({q})")),
)


@SETTINGS
@given(option=OPTIONS)
def test_malformed_options(option):
    with folder() as here:
        name, value = option
        refused(*begin(here / "run", "--data", "biased-digits", "--model", "small-cnn", f"{name}={value}"))
        assert not (here / "run").exists()
