"MaskTune beside its rivals: nobody peeks at groups, nothing is touched, a killed comparison goes on."

import hashlib
import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

from masktune.cli import main
from masktune.data import ArrayDataset
from masktune.experiments import compare_methods as room
from masktune.experiments import methods as rivals
from masktune.experiments.compare_methods import (
    MethodComparison,
    MethodRow,
    chosen_methods,
    compare_methods,
    kept_plain,
    run_method,
)
from masktune.experiments.datasets import load_dataset
from masktune.experiments.methods import METHODS, make_bench
from masktune.experiments.recipes import RECIPES, get_recipe, override
from masktune.finetune import MaskTune
from masktune.models import model_fingerprint

SHORT = ["settings.epochs=1", "settings.device=cpu"]
RECIPE = override(get_recipe("biased-digits"), SHORT)
WITHOUT_GROUPS = [name for name, method in METHODS.items() if not method.groups]


def some(split, count, shuffle=None, grouped=True):
    "A few digits; with `shuffle` their groups are dealt anew"
    part = load_dataset("biased-digits", split).subset(range(count))
    if shuffle is not None:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(shuffle))
        part.groups = part.groups[order]
    if not grouped:
        part.groups, part.group_names = torch.full_like(part.groups, -1), []
    return part


@pytest.fixture(scope="module")
def bench():
    return make_bench(RECIPE, 0, some("train", 48), some("val", 40))


@pytest.fixture(scope="module")
def shuffled(bench):
    return make_bench(RECIPE, 0, some("train", 48, 1), some("val", 40, 1), bench.plain)


@pytest.fixture(scope="module")
def tests():
    return {"biased-test": some("biased-test", 40)}


def bare(row):
    "What a row holds of the model alone: no time, nothing chosen by groups"
    tries = [
        {"setting": t["setting"], "val": {k: v for k, v in t["val"].items() if "group" not in k}} for t in row.tries
    ]
    return row.setting, row.tests, tries


def digest():
    return hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("name", WITHOUT_GROUPS)
def test_no_group_label_is_read_where_the_table_says_none(name, bench, shuffled, tests):
    "With the groups of train and val dealt anew every figure stays what it was, bit for bit; nothing is touched"
    before = digest(), model_fingerprint(bench.plain.plain_model), len(bench.plain.rounds_)
    row = run_method(bench, name, tests)
    assert (digest(), model_fingerprint(bench.plain.plain_model), len(bench.plain.rounds_)) == before
    assert bare(run_method(shuffled, name, tests)) == bare(row)
    assert row.epochs >= 1 and row.searched >= row.epochs - 1e-9
    assert row.setting_with_groups is not None and 0 <= row.tests["biased-test"]["worst"] <= 1


@pytest.mark.parametrize("name", ["group-dro", "dfr"])
def test_upper_bounds_do_read_groups(name, bench, shuffled):
    scores = [METHODS[name].make(each).tried[0].answer(bench.val)[0] for each in (bench, shuffled)]
    assert METHODS[name].groups and not torch.equal(*scores)


WIDE = ("lff", "eiil", "dac", "deep-gamblers", "self-adaptive", "selectivenet", "one-sided")


def test_methods_with_scores_of_their_own_take_three_classes_and_no_groups():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (30, 3, 28, 28), dtype=torch.uint8, generator=generator)
    images = ArrayDataset(pixels, torch.arange(30) % 3, ["a", "b", "c"])
    bench = make_bench(RECIPE, 0, images, images)
    for name in WIDE:
        row = run_method(bench, name, {"test": images})
        assert row.setting_with_groups is None and row.tests_with_groups is None
        assert row.tests["test"]["groups"] == {}
    with pytest.raises(ValueError, match="group-dro cannot run here: it needs the groups of train, and 30 images"):
        chosen_methods(["erm", "group-dro"], RECIPE, {"train": images, "val": images})


def test_what_does_not_fit_is_left_out_and_said():
    splits = {"train": some("train", 20, grouped=False), "val": some("val", 20)}
    names, notes = chosen_methods(None, RECIPE, splits)
    assert "group-dro" not in names and "dac" not in names and "dfr" in names
    assert len(notes) == 2 and "meant for pretrained networks" in notes[0] and "groups of train" in notes[1]
    assert "dac" in chosen_methods(["dac"], RECIPE, splits)[0]


def test_lff_answers_with_the_network_that_learned_from_the_biased_one(bench):
    "Its answer is neither the twins' together nor the biased network's"
    first, second = METHODS["lff"].make(bench).tried
    scores, _ = first.answer(bench.val)
    assert scores.shape == (len(bench.val), 2) and first.setting == {"q": 0.5} and second.epochs == 2 * bench.epochs


def test_jtt_counts_the_errors_of_its_first_training(bench, monkeypatch):
    "A first model that is wrong on every third image: those are there 5 and 20 times, and the cost says so"
    count = len(bench.train)
    wrong = torch.arange(count) % 3 == 0
    said = torch.where(wrong, 1 - bench.train.labels, bench.train.labels)
    seen = []

    def fit(network, dataset=None, **changes):
        seen.append(bench.train if dataset is None else dataset)
        return network

    def scores(model, images, **machine):
        return torch.nn.functional.one_hot(said, 2).float()

    fake = SimpleNamespace(
        **{name: getattr(bench, name) for name in ("train", "epochs", "network", "machine", "attempt")}, fit=fit
    )
    monkeypatch.setattr(rivals, "predict", scores)
    tried = METHODS["jtt"].make(fake).tried
    assert [a.setting["times"] for a in tried] == [5, 20]
    errors = int(wrong.sum())
    for dataset, attempt, times in zip(seen[1:], tried, (5, 20), strict=True):
        assert len(dataset) == count + (times - 1) * errors
        assert attempt.epochs == pytest.approx(1 + 1 / 3 + len(dataset) / count)


class Killed(BaseException):
    pass


def test_a_killed_comparison_goes_on_with_the_next_method(tmp_path, monkeypatch):
    "Neither the plain model nor a finished method is made again, and the figures are those of a run in one go"
    names, trained = ["erm", "cvar-dro", "masktune"], []
    fit_erm = MaskTune.fit_erm

    def counted(run, *args, **options):
        trained.append(run.criterion)
        return fit_erm(run, *args, **options)

    monkeypatch.setattr(MaskTune, "fit_erm", counted)
    monkeypatch.setattr(
        room, "_open_splits", lambda *_: {"train": some("train", 96), "val": some("val", 80), "test": some("test", 40)}
    )
    whole = compare_methods(RECIPE, names, [0], folder=tmp_path / "whole")
    in_one_go = len(trained)
    trained.clear()
    own = METHODS["masktune"]

    def die(bench):
        raise Killed

    monkeypatch.setitem(METHODS, "masktune", own._replace(make=die))
    with pytest.raises(Killed):
        compare_methods(RECIPE, names, [0], folder=tmp_path / "killed")
    monkeypatch.setitem(METHODS, "masktune", own)
    again = compare_methods(RECIPE, names, [0], folder=tmp_path / "killed", resume=True)
    assert len(trained) == in_one_go
    assert [asdict(row) | {"seconds": 0} for row in again.rows] == [asdict(row) | {"seconds": 0} for row in whole.rows]


def test_a_plain_model_that_was_kept_is_the_one_that_was_trained(tmp_path):
    "Its best and last weights, its momentum and its rate: MaskTune ends with the same model from either"
    train, val = some("train", 96), some("val", 80)
    first = kept_plain(RECIPE, 3, train, val, tmp_path / "erm.pt")
    second = kept_plain(RECIPE, 3, train, val, tmp_path / "erm.pt")
    ends = [run.branch().compute_maps(train).fit_rounds(train, val).model_ for run in (first, second)]
    assert model_fingerprint(ends[0]) == model_fingerprint(ends[1])


def rows(methods, published="biased-digits"):
    found = {"average": 0.9, "worst": 0.5, "groups": {}, "aurc": 0.1, "error_90": 0.05, "worst_error_90": 0.5}
    tries = [{"setting": {"q": q}, "epochs": 1.0, "val": {}} for q in (0.5, 0.7)]
    made = [
        MethodRow(
            m,
            seed,
            {"q": 0.5 + 0.2 * seed},
            {"test": found},
            {"q": 0.7},
            {"test": found | {"worst": 0.6}},
            tries,
            2,
            4,
            1,
        )
        for m in methods
        for seed in (0, 1)
    ]
    return MethodComparison(RECIPES[published], made)


def test_the_table_says_which_labels_were_used_where_and_what_others_published(tmp_path):
    found = rows(["erm", "jtt", "group-dro", "deep-gamblers"], "waterbirds")
    text = str(found)
    assert "Group DRO (upper bound)" in text and "train: all weights" in text and "test, † worst group" in text
    assert "JTT, of 2 settings: q 0.5 (1x), q 0.7 (1x); † q 0.7" in text
    assert "50.0 ± 0.0" in text and "60.0 ± 0.0" in text and "mean ± standard deviation over 2 seeds" in text
    assert "not measured here" in text and "MaskTune, run again: worst group 45.7 (a harder Waterbirds" in text
    assert "not comparable with the standard split" in text and "selective classification\n" in text
    page = found.save(tmp_path)
    assert "upper bound" in page.read_text() and "http" not in page.read_text()
    held = json.loads((tmp_path / "methods.json").read_text())
    assert held["methods"]["group-dro"]["groups"] == "train: all weights" and len(held["rows"]) == 8
    assert (tmp_path / "methods.txt").read_text().strip() == text


@pytest.mark.parametrize(
    "words, said",
    [
        (["--methods", "erm,jt"], "did you mean 'jtt'?"),
        (["--methods", " , "], "at least one method"),
        (["--seeds", "4-2"], "write first-last"),
        (["--set", "settings.epochs=0", "--set", "settings.finetune_lr=0.01"], "epochs must be at least 1"),
        (["--set", "settings.lr=-1"], "lr must be above 0"),
        (["--seed", "3"], "did you mean --seeds?"),
    ],
)
def test_bad_input_is_one_sentence_before_any_training(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(MaskTune, "fit_erm", lambda *_, **__: pytest.fail("something was trained"))
    out = tmp_path / "methods"
    assert main(["compare-methods", "biased-digits", "--out", str(out), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and error.startswith("masktune: ") and len(error.splitlines()) == 1
    assert not out.exists()


def test_the_command_runs_refuses_goes_on_and_replaces(tmp_path, capsys):
    out = tmp_path / "methods"
    words = ["compare-methods", "digit-scenes", "--methods", "erm,dfr", "--seeds", "0", "--out", str(out)]
    words += [word for change in SHORT for word in ("--set", change)]
    assert main(words) == 0
    assert "DFR (upper bound)" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} >= {"comparison.json", "methods.json", "methods.txt", "methods.html"}
    assert main(words) == 2
    assert "--resume to go on with it, --overwrite to replace it" in capsys.readouterr().err
    assert main([*words, "--set", "settings.lr=0.5", "--resume"]) == 2
    assert "is of settings" in capsys.readouterr().err
    kept = (out / "seed-0" / "erm.pt").stat().st_mtime_ns
    assert main([*words, "--resume"]) == 0 and (out / "seed-0" / "erm.pt").stat().st_mtime_ns == kept
    assert main([*words, "--overwrite"]) == 0 and (out / "seed-0" / "erm.pt").stat().st_mtime_ns != kept


def test_recipes_show_what_others_measured(capsys):
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert "MaskTune: worst group 86.4 ± 1.9 (the authors' corrected release" in text
    assert "MaskTune, run again: BG-gap 12.54" in text and "MaskTune, run again: worst group 66.3 ± 6.3" in text
    assert main(["recipes", "celeba"]) == 0
    assert "# published: MaskTune, run again: worst group 37.7" in " ".join(capsys.readouterr().out.split("\n#  "))
