"Several labels an image: data, loss, measures, maps of each, masks of all, a whole run, its folder and its page."

import copy
import json

import pytest
import torch
from marks_of_labels import LABELS, films
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from masktune.cli import main
from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import TrainingStopped, fit
from masktune.evaluation import MultiLabelEvaluation, evaluate, predict
from masktune.finetune import MaskTune, finetune
from masktune.losses import binary_cross_entropy
from masktune.masking import MaskBatch, MaskedDataset, Threshold
from masktune.models import Classifier, as_classifier, build_model, model_fingerprint
from masktune.report import write_report
from masktune.runs import load_run, save_run
from masktune.saliency import SaliencyMaps, compute_saliency
from masktune.xgradcam import LayerXGradCam

QUICK = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def marks():
    return films("train", 160, 0.98, 0, unknown=0.1), films("val", 64, 0.98, 0), films("test", 64, 0.5, 0)


def network(seed=0, labels=3):
    seed_everything(seed)
    return build_model("small-cnn", labels)


@pytest.fixture(scope="module")
def run(marks):
    train, val, test = marks
    run = MaskTune(network(), epochs=4, lr=0.01, finetune_lr=0.01, **QUICK).fit(train, val)
    run.evaluate(test)
    return run


def test_parts_keep_their_labels_groups_and_origin(marks):
    train = marks[0]
    part = train.subset([5, 3])
    assert part.multilabel and torch.equal(part.labels, train.labels[[5, 3]]) and part.classes == LABELS
    assert part.groups.tolist() == train.groups[[5, 3]].tolist() and part.origin(train.fingerprint).tolist() == [5, 3]
    assert part[1].label.shape == (3,) and set(train.labels.unique().tolist()) == {-1, 0, 1}
    assert part.fingerprint != train.fingerprint == films("train", 160, 0.98, 0, unknown=0.1).fingerprint


def test_what_is_unknown_moves_no_weight():
    "Labels that differ where nobody knows them give the same loss, and the same gradient"
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 2, (40, 3), generator=generator)
    scores = torch.randn(40, 3, generator=generator, requires_grad=True)
    loss = binary_cross_entropy(scores, labels, label_smoothing=0.1)
    loss.backward()
    known = labels >= 0
    assert (scores.grad[~known] == 0).all() and (scores.grad[known] != 0).all()
    target = 0.9 * labels[known].float() + 0.05
    torch.testing.assert_close(loss, nn.BCEWithLogitsLoss()(scores[known], target))


def test_a_criterion_gets_nan_where_nothing_is_known(marks):
    train, seen = marks[0], []

    def careful(scores, labels):
        seen.append(labels)
        known = ~labels.isnan()
        return nn.functional.binary_cross_entropy_with_logits(scores[known], labels[known])

    given, usual = network(), network()
    fit(given, train, epochs=1, lr=0.01, criterion=careful, **QUICK)
    fit(usual, train, epochs=1, lr=0.01, **QUICK)
    assert any(labels.isnan().any() for labels in seen)
    for a, b in zip(given.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_a_stopped_training_of_several_labels_goes_on(marks):
    train, options = marks[0], dict(epochs=2, lr=0.01, class_weights="balanced", label_smoothing=0.05, **QUICK)
    whole, resumed = network(), network()
    fit(whole, train, **options)
    with pytest.raises(TrainingStopped) as stopped:
        fit(network(), train, on_step=lambda step: step.epoch == 2, **options)
    fit(resumed, train, resume=stopped.value.state, **options)
    assert model_fingerprint(resumed) == model_fingerprint(whole)


def test_measures_are_scikit_learns_and_groups_are_of_each_label(run, marks):
    test = marks[2]
    found, scores = evaluate(run.erm_, test, **QUICK), predict(run.erm_, test, **QUICK)
    assert isinstance(found, MultiLabelEvaluation)
    for column, label in enumerate(LABELS):
        truth, score = test.labels[:, column], scores[:, column].sigmoid()
        assert found.labels[label].auroc == pytest.approx(roc_auc_score(truth, score))
        assert found.labels[label].average_precision == pytest.approx(average_precision_score(truth, score))
        for code, group in enumerate(test.group_names):
            chosen = (test.groups == code) & (truth == 1)
            assert found.groups[f"{label} present, {group}"].accuracy == pytest.approx(
                float((score[chosen] > 0.5).float().mean())
            )
    assert found.auroc == pytest.approx(sum(s.auroc for s in found.labels.values()) / 3)
    assert found.worst_group_accuracy == min(share.accuracy for share in found.groups.values())
    assert json.loads(json.dumps(found.to_dict()))["labels"]["plus"]["auroc"] == found.labels["plus"].auroc


def test_there_is_a_map_for_each_label_that_is_predicted(run, marks, tmp_path):
    test, model = marks[2], run.erm_
    before, numbers = model_fingerprint(model), torch.get_rng_state()
    maps = compute_saliency(model, test, path=tmp_path / "maps.safetensors", **QUICK)
    assert model_fingerprint(model) == before and torch.equal(torch.get_rng_state(), numbers)
    assert maps.maps.shape[:2] == (64, 3) and torch.equal(maps.predicted, (predict(model, test, **QUICK) > 0).long())
    assert not maps.maps.flatten(2).any(2)[maps.predicted == 0].any()
    assert torch.equal(SaliencyMaps.load(tmp_path / "maps.safetensors").check(test, model).maps, maps.maps)
    layer = model.get_submodule(maps.layer.split(" ")[0])
    images = torch.stack([test[i].image for i in range(8)])
    for label, name in enumerate(LABELS):
        expected = LayerXGradCam(model, layer).attribute(images, target=label)[:, 0].detach()
        chosen = compute_saliency(model, test.subset(range(8)), target=name, **QUICK)
        torch.testing.assert_close(chosen.maps * chosen.scale[:, None, None], expected, atol=2e-2, rtol=1e-2)
        mine = maps.predicted[:8, label] == 1
        each = maps.maps[:8, label] * maps.scale[:8, label, None, None]
        torch.testing.assert_close(each[mine].float(), expected[mine], atol=2e-2, rtol=1e-2)


def test_the_mask_is_the_union_of_the_labels_masks(run, marks):
    "A model that predicts every label, so that each has a map"
    test, model = marks[2], copy.deepcopy(run.model_)
    with torch.no_grad():
        model.network.classifier[-1].bias += 20
    maps, rule = compute_saliency(model, test, **QUICK), Threshold.parse("quantile(q=0.8)")
    each = torch.stack([rule(maps.maps[:, label], (28, 28)) for label in range(3)], 1)
    masked = MaskedDataset(test, maps, rule)
    assert maps.predicted.all() and (each.flatten(2).any(2).sum(1) > 1).any()
    assert torch.equal(masked.masks(range(64)), each.any(1)) and not each.any(1).flatten(1).all(1).any()
    on_device = MaskBatch(model, rule=rule, multilabel=True)(test.images)
    stored = torch.stack([masked[i].image for i in range(64)])
    assert (on_device != stored).float().mean() < 0.01  # half-precision maps tip a pixel here and there


def test_maps_of_present_labels_are_those_of_the_labels(run, marks):
    train = marks[0]
    maps = compute_saliency(run.erm_, train, target="label", **QUICK)
    assert not maps.maps.flatten(2).any(2)[train.labels != 1].any()


def test_masks_cover_the_shortcut_of_one_label():
    """A red square stands with the plus 98 times in 100, and pluses are faint. Where the plain model says plus beside
    the square, the masks hide nearly all of it, and little else"""
    for seed in range(2):
        train = films("train", 400, 0.98, seed, unknown=0.05, faint=True)
        run = MaskTune(network(seed), epochs=6, lr=0.01, seed=seed, **QUICK).fit_erm(train).compute_maps(train)
        beside = (train.groups == 1) & (run.rounds_[0].maps.predicted[:, 0] == 1)
        masks = run.masked(train, 1).masks(beside.nonzero().flatten().tolist())
        assert int(beside.sum()) > 100
        assert masks[:, :5, :5].float().mean() > 0.8 and masks.float().mean() < 0.2, seed


@pytest.mark.parametrize("settings", [dict(on_device=True), dict(rounds=2, choose="last"), dict(target="label")])
def test_other_ways_to_mask_go_as_well(marks, settings):
    train, val, test = marks
    run = MaskTune(network(), epochs=2, lr=0.01, **settings, **QUICK).fit(train, val)
    assert isinstance(run.evaluate(test)["masktune"]["test"], MultiLabelEvaluation)
    assert model_fingerprint(run.model_) != model_fingerprint(run.last_plain_model)
    if not run.on_device:
        assert len(run.rounds_) == run.rounds and run.masked(train, run.rounds)[0].label.shape == (3,)


def test_masks_of_one_chosen_label_alone_are_trained_on(run, marks):
    "The maps of a chosen label are maps of one class: everything takes them"
    train = marks[0]
    maps, model = compute_saliency(run.erm_, train, target="bar", **QUICK), copy.deepcopy(run.erm_)
    assert maps.maps.ndim == 3 and maps.target == "bar" and maps.predicted.unique().tolist() == [1]
    finetune(model, train, maps, lr=0.01, **QUICK)
    assert model_fingerprint(model) != model_fingerprint(run.erm_)


def test_a_run_is_kept_opened_and_reported(run, marks, tmp_path):
    train, _, test = marks
    folder = save_run(run, tmp_path / "run")
    loaded = load_run(folder, network())
    assert torch.equal(loaded.rounds_[0].maps.maps, run.rounds_[0].maps.maps) and loaded.classes_ == LABELS
    stored = json.loads((folder / "metrics.json").read_text())["masktune"]["test"]
    assert stored["labels"]["ring"]["auroc"] == run.metrics_["masktune"]["test"].labels["ring"].auroc
    page = write_report(run, tmp_path / "run" / "report.html", train, test).read_text(encoding="utf-8")
    assert "test, label by label" in page and "plus present, no square" in page and "ERM AUROC" in page
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"groups", "examples", "maps", "mean-maps"}


def test_the_command_goes_from_a_csv_of_findings_to_the_report(tmp_path, capsys):
    data, names = films("all", 60, 0.9, 0), []
    for i in range(60):
        Image.fromarray(data[i].image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
        present = [name for name, value in zip(LABELS, data.labels[i].tolist(), strict=True) if value]
        part = "train" if i < 36 else "val" if i < 48 else "test"
        names.append(f"{i}.png,{'|'.join(present) or 'No Finding'},{part},{data.group_names[data.groups[i]]}\n")
    listing = tmp_path / "films.csv"
    listing.write_text("Image Index,Finding Labels,split,group\n" + "".join(names))
    out = str(tmp_path / "run")
    how = ["--option", "label_column=Finding Labels", "--option", "label_separator=|", "--option", "size=28"]
    quick = ["--epochs", "2", "--device", "cpu", "--no-pretrained", "--model", "small-cnn", "--augment", "none"]
    assert main(["erm", "--data", "csv", "--root", str(listing), "--out", out, *how, *quick, "--cache", "0"]) == 0
    for step in ("saliency", "finetune", "evaluate", "report"):
        assert main([step, out]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "ERM AUROC" in said and "plus" in said
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["classes"] == sorted(LABELS) and config["data"]["options"]["label_separator"] == "|"
    assert main(["selective", out]) == 2
    assert "masktune selective needs one label an image" in capsys.readouterr().err


def test_columns_of_numbers_open_as_several_labels(tmp_path):
    from masktune.folders import open_csv

    for i in range(4):
        Image.new("RGB", (28, 28), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    listing = tmp_path / "films.csv"
    listing.write_text("path,edema,nodule\n0.png,1,0\n1.png,0,\n2.png,-1,1\n3.png,0,0\n")
    how = dict(size=28, val_fraction=0.0, test_fraction=0.0)
    found = open_csv("train", listing, label_columns=["edema", "nodule"], **how)
    assert found.labels.tolist() == [[1, 0], [0, -1], [-1, 1], [0, 0]] and found.classes == ["edema", "nodule"]
    absent = open_csv("train", listing, label_columns="edema,nodule", blank_label="absent", **how)
    assert absent.labels[1].tolist() == [0, 0]


def test_analysis_of_several_labels_changes_nothing_of_the_model(marks):
    model = as_classifier(network(), marks[0])
    model.train()
    model.network.features[1].eval()
    state = [(name, module.training) for name, module in model.named_modules()], model_fingerprint(model)
    numbers = torch.get_rng_state()
    evaluate(model, marks[2], **QUICK)
    compute_saliency(model, marks[2], **QUICK)
    MaskBatch(model, multilabel=True)(marks[2].images[:4])
    assert state == ([(name, module.training) for name, module in model.named_modules()], model_fingerprint(model))
    assert torch.equal(numbers, torch.get_rng_state())
    assert isinstance(model, Classifier) and isinstance(marks[0], ArrayDataset)
