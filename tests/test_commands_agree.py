"Commands, calls and panels do one thing: what a person judged, where a run looks, what they take, what refusals leave"

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

from masktune import MaskTune, diagnose
from masktune.__main__ import main
from masktune.data import ArrayDataset
from masktune.divergence import TrainingDiverged
from masktune.evidence_steps import read_verdicts
from masktune.faithfulness import choose_evidence, faithfulness
from masktune.kinds import find_kinds
from masktune.lab import jobs
from masktune.lab.trials import Trials, how_made
from masktune.layers import find_target_layer
from masktune.refit import refit
from masktune.repair import repair
from masktune.runs import open_run, save_erm
from masktune.saliency import SaliencyMaps
from masktune.steps import forgotten_if_refused

HOW = dict(finetune_lr=0.01, device="cpu", progress=False)
TINY = """
from torch import nn

def block(channels, more, *last):
    return nn.Conv2d(channels, more, 3, padding=1), nn.BatchNorm2d(more), nn.ReLU(), *last

def tiny(num_classes):
    first = *block(3, 8, nn.MaxPool2d(2)), *block(8, 16, nn.MaxPool2d(2))
    body = *first, *block(16, 16, nn.MaxPool2d(2)), *block(16, 32)
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))
"""


def network(classes=2):
    there = {}
    exec(TINY, there)
    torch.manual_seed(0)
    return there["tiny"](classes)


def write_images(root):
    "Class m: a red corner on half of its images, a blue one on the rest; class p: a green spot"
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 60), ("val", 40), ("test", 20)):
        for at in range(count):
            for name in ("m", "p"):
                image = torch.randint(0, 110, (32, 32, 3), generator=generator, dtype=torch.uint8)
                if name == "p":
                    y, x = (int(v) for v in torch.randint(8, 20, (2,), generator=generator))
                    image[y : y + 5, x : x + 5, 1] = 230
                elif at % 2:
                    image[:5, :5] = torch.tensor([255, 0, 0], dtype=torch.uint8)
                else:
                    image[-5:, -5:] = torch.tensor([0, 0, 255], dtype=torch.uint8)
                (root / split / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.numpy()).save(root / split / name / f"{at}.png")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    "A run of a network of one's own, its plain model trained; its last weights are not its best ones"
    folder = tmp_path_factory.mktemp("asked")
    write_images(folder / "images")
    (folder / "mine.py").write_text(TINY)
    words = ["erm", "--data", "folder", "--root", str(folder / "images"), "--option", "size=32"]
    words += ["--model", f"{folder / 'mine.py'}:tiny", "--epochs", "4", "--lr", "0.02", "--augment", "none"]
    words += ["--finetune-lr", "0.01", "--device", "cpu", "--seed", "22", "--layer", "6", "--out", str(folder / "run")]
    assert main(words) == 0
    run, _ = open_run(folder / "run")
    run.erm_last_ = {k: v + 0.01 * torch.randn_like(v) if v.ndim > 1 else v for k, v in run.erm_last_.items()}
    save_erm(run, folder / "run")
    return folder / "run"


@pytest.fixture
def run(begun, tmp_path):
    return str(shutil.copytree(begun, tmp_path / "run"))


def do(*lines):
    for line in lines:
        assert main(line) == 0, line


def held(run):
    return {str(path.relative_to(run)) for path in Path(run).rglob("*") if path.is_file()}


def set_in(run, **changes):
    path = Path(run) / "config.json"
    config = json.loads(path.read_text())
    config["settings"] |= changes
    path.write_text(json.dumps(config))


def test_a_refused_saliency_replaces_nothing_and_leaves_the_settings(run):
    "A mistyped layer had deleted the finetuned model, and stayed in the run's settings"
    do(["saliency", run], ["finetune", run], ["evaluate", run])
    before, config = held(run), Path(run, "config.json").read_text()
    for words in ("--layer nosuch", "--source attention-rollout", "--source given --given-masks /nowhere"):
        assert main(["saliency", run, "--overwrite", *words.split()]) == 2
        assert held(run) == before and Path(run, "config.json").read_text() == config


def test_a_refused_finetuning_replaces_nothing(run):
    do(["saliency", run], ["finetune", run], ["evaluate", run], ["judge", run], ["judge", run, "p/1", "object"])
    before = held(run)
    assert main(["finetune", run, "--overwrite"]) == 2  # no kind is a shortcut
    assert main(["finetune", run, "--overwrite", "--protect", "/nowhere"]) == 2
    assert held(run) == before


def test_after_judging_a_run_may_be_finetuned_as_judge_says(run, capsys):
    do(["judge", run], ["judge", run, "m/1", "shortcut"], ["finetune", run])
    assert "hidden: m/1" in capsys.readouterr().out


def test_kinds_of_the_last_weights_are_heeded_by_repair(run):
    "Judging found kinds of the weights that are explained, and repair asked for those of the best ones, for ever"
    set_in(run, maps_from="last")
    do(["judge", run], ["judge", run, "m/1", "shortcut"])
    set_in(run, maps_from="last")
    assert main(["repair", run]) == 0


def test_a_finetuning_goes_on_only_by_the_word_it_was_begun_with(run, capsys):
    "It went on silently: half by the former word, half by the latter, which alone the report was told"
    do(["saliency", run], ["judge", run], ["judge", run, "m/1", "shortcut"], ["finetune", run])
    do(["finetune", run, "--resume"], ["judge", run, "p/1", "unsure"], ["finetune", run, "--resume"])
    do(["judge", run, "p/1", "shortcut"])
    before = held(run)
    capsys.readouterr()
    assert main(["finetune", run, "--resume"]) == 2
    said = capsys.readouterr().err
    assert "judged" in said and "--overwrite" in said and held(run) == before
    assert read_verdicts(Path(run, "round-1")).judged("shortcut") == ["m/1"]
    do(["finetune", run, "--overwrite"])
    assert read_verdicts(Path(run, "round-1")).judged("shortcut") == ["m/1", "p/1"]


def test_evaluate_swaps_and_the_report_shows_what_was_judged(run, monkeypatch):
    import masktune.report
    from masktune import steps

    do(["saliency", run], ["judge", run], ["judge", run, "m/1", "shortcut"], ["finetune", run])
    seen, shown = [], []
    whole, drawn = steps.measured_on, masktune.report.plot_examples
    monkeypatch.setattr(steps, "measured_on", lambda *a: seen.append(whole(*a)) or seen[-1])
    assert main(["evaluate", run]) == 0
    swapped = seen[0]["swapped-val"]
    lend = swapped.maps.maps.flatten(1).any(1)
    assert lend.any() and not lend[swapped.labels == 1].any()  # p's evidence is nobody's shortcut

    def examples(part, maps, *rest, **options):
        shown.append((part, maps))
        return drawn(part, maps, *rest, **options)

    monkeypatch.setattr(masktune.report, "plot_examples", examples)
    assert main(["report", run]) == 0
    part, maps = shown[0]
    assert not maps.maps[part.labels == 1].any()
    again = Path(run, "report.html").read_text(encoding="utf-8").split('id="again"')[1]
    assert 'runs/again</span> <span class="word">m/1</span> <span class="word">shortcut' in again


def test_judge_and_saliency_settle_on_one_layer(run, monkeypatch):
    "Each measured on images of its own: in half of the runs kinds and maps were of two layers"
    from masktune import finetune

    set_in(run, layer="auto")
    asked, choose = [], finetune.choose_evidence

    def chosen(model, images, **options):
        asked.append(images.fingerprint)
        return choose(model, images, **options)

    monkeypatch.setattr(finetune, "choose_evidence", chosen)
    do(["judge", run], ["saliency", run])
    assert len(set(asked)) == 1


def test_the_command_repairs_where_the_call_does(run):
    "Of less than 128 channels: at the layer of the structure, whether maps were made before or not"
    set_in(run, layer="auto")
    words = ["repair", run, "--remedies", "refit", "--gammas", "0"]
    seen = []
    for before in ([], [["saliency", run]]):
        do(*before, words)
        seen.append(json.loads(Path(run, "repair.json").read_text())["likeness"])
    opened, splits = open_run(run)
    made = repair(opened, splits["train"], splits["val"], remedies=["refit"], gammas=[0], layer=None)
    for each in seen:
        assert each["evidence"] == pytest.approx(made.likeness.evidence, abs=1e-4)


def test_the_panel_heeds_a_persons_word(run, monkeypatch):
    do(["saliency", run], ["judge", run], ["judge", run, "m/1", "shortcut"])
    opened, splits = open_run(run)
    told = {}

    def far_enough(*args, **options):
        told.update(options)
        raise ValueError("far enough")

    monkeypatch.setattr(jobs, "repair", far_enough)
    for remedy in ("repair", "mask"):
        job = jobs.FinetuningJob(opened, splits["train"], folder=run, val=splits["val"])
        job.remedy = remedy
        job.launch().wait()
    assert told["kinds"] is not None
    assert not job.failed and any("hidden: m/1" in line for line in job.lines)
    assert read_verdicts(Path(run, "round-1")).judged("shortcut") == ["m/1"]  # by which the report goes
    whole = SaliencyMaps.load(f"{run}/round-1/maps.safetensors")
    assert whole.maps[splits["train"].labels == 1].any()  # on disk they are whole: a word may be taken back


def images(seed, split, count=60):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 110, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    pixels[labels == 1, 0, :5, :5] = 255
    return ArrayDataset(pixels, labels, ["a", "b"], split=split)


def test_a_network_with_one_score_is_repaired():
    made = repair(network(1), images(0, "train"), images(1, "val"), remedies=["refit"], gammas=[0], **HOW)
    assert list(made.candidates) == ["plain", "plain, refit 0"]


def test_scores_whose_sum_is_fixed_have_a_layer():
    "Probabilities: of their sum no layer has a gradient but by rounding"

    class Soft(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).softmax(1)

    found = []
    for seed in range(4):
        torch.manual_seed(seed)
        net = network(3)
        for part in net.parameters():
            nn.init.normal_(part, std=0.2)
        found.append(find_target_layer(Soft(net).eval(), torch.rand(1, 3, 32, 32)).name)
    assert set(found) == {"net.14"}


@pytest.mark.parametrize("scaled", [False, True])
def test_all_calls_take_what_as_dataset_takes(scaled):
    "Two guides say so of every call; seven ended with an attribute that a TensorDataset lacks"
    pixels, labels = torch.rand(100, 3, 32, 32), torch.arange(100) % 2
    pixels = pixels if scaled else (255 * pixels).byte()
    data, other = TensorDataset(pixels[:60], labels[:60]), TensorDataset(pixels[60:], labels[60:])
    assert diagnose(network(), data, device="cpu").images == 60
    repair(network(), data, other, remedies=[], **HOW)
    for call in (faithfulness, choose_evidence, find_kinds, refit):
        assert call(network(), data, device="cpu")


def test_val_that_is_train_is_refused():
    with pytest.raises(ValueError, match="trained on"):
        repair(network(), images(0, "train"), images(0, "train"), remedies=[], **HOW)


def test_masks_that_were_given_can_be_repaired_by():
    given = torch.zeros(60, 32, 32, dtype=torch.bool)
    given[:, :6, :6] = True
    options = dict(given=given, source="given", thorough=True)
    data = images(0, "train"), images(1, "val")
    assert "mask" in repair(network(), *data, remedies=["mask"], **options, **HOW).candidates
    made = repair(network(), *data, gammas=[0], **options, **HOW)  # every remedy: it ended after the refittings
    assert list(made.candidates) == ["plain", "plain, refit 0", "mask", "mask, refit 0"]
    assert any("transplant was left out" in note for note in made.notes)
    with pytest.raises(ValueError, match="transplant"):
        repair(network(), *data, remedies=["transplant"], **options, **HOW)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        first = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)
        self.body = nn.Sequential(*first, nn.Conv2d(16, 128, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(128, 2)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("mode", ["mask", "transplant"])
def test_the_table_of_trials_shows_what_a_repair_used_whatever_the_runs_mode(mode):
    train, val = images(0, "train"), images(1, "val")
    run = MaskTune(Wide(), epochs=1, lr=0.02, mode=mode, cache=0, **HOW).fit_erm(train)
    made = repair(run, train, val, thorough=True, gammas=[])
    made.evaluate({"test": val}, everything=True, device="cpu", progress=False)
    run.evaluate({"test": val})
    tuned = [t for t in Trials(run, {"test": val}).add_candidates(made) if t.remedy != "plain"]
    assert {t.remedy for t in tuned} >= {"mask", "transplant"}
    for trial in tuned:
        how = how_made(trial)
        assert (how["rule"], how["fill"], how["layer"]) == ("otsu()", "blur", "probes")


@pytest.mark.parametrize(("recipe", "rate"), [("measured", "0.02"), ("paper", "0.01")])
def test_the_table_of_trials_shows_the_rate_that_the_recipe_took(recipe, rate):
    "It said ERM's last, which the default does not take"
    train, val = images(0, "train"), images(1, "val")
    how = HOW | {"finetune_lr": None, "recipe": recipe, "schedule": "multistep", "milestones": (1,)}
    run = MaskTune(network(), epochs=2, lr=0.02, **how).fit(train)
    run.evaluate({"test": val})
    trials = Trials(run, {"test": val})
    assert how_made(trials.add())["rate"] == rate
    trials.keep(1)
    assert run.finetuning(len(train)).lr == float(rate)


def test_the_command_runs_in_a_clone_that_is_not_installed():
    code = """
import importlib.metadata as about
real = about.version
def version(name):
    if name == "masktune":
        raise about.PackageNotFoundError(name)
    return real(name)
about.version = version
from masktune.__main__ import main
raise SystemExit(main(["recipes"]))"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr


def compare_words(out, *more):
    words = ["compare-methods", "biased-digits", "--seeds", "0", "--methods", "erm", "--out", str(out)]
    return [*words, "--set", "settings.epochs=1", "--set", "settings.device=cpu", *more]


def test_commands_sweep_up_what_their_own_runs_left_half_written_and_nothing_else(run, tmp_path, capsys):
    "Every hidden .tmp file below a folder that was named went, a run's or not"
    mine = tmp_path / "docs" / "sub" / ".important.tmp"
    mine.parent.mkdir(parents=True)
    mine.touch()
    (tmp_path / "docs" / ".cache.tmp").mkdir()
    for words in (
        ["evaluate", str(tmp_path / "docs")],
        ["erm", "--data", "biased-digits", "--out", str(mine.parents[1])],
    ):
        assert main(words) == 2 and "Errno" not in capsys.readouterr().err
    half, other = Path(run, "erm", ".last.safetensors.0123abcd.tmp"), Path(run, ".notes.tmp")
    for path in (half, other):
        path.touch()
    do(["saliency", run])
    assert mine.exists() and other.exists() and not half.exists()


def test_what_cannot_be_trained_replaces_nothing(run, tmp_path, capsys):
    do(["saliency", run], ["finetune", run], ["evaluate", run])
    config = json.loads(Path(run, "config.json").read_text())
    words = ["erm", "--data", "folder", "--root", config["data"]["root"], "--option", "size=32", "--device", "cpu"]
    words += (
        ["--model", str(Path(config["model"]["folder"], "mine.py")) + ":tiny"]
        if "/" not in config["model"]["name"]
        else ["--model", config["model"]["name"]]
    )
    before = held(run)
    for wrong in (["--class-weights", "1", "2", "3"], ["--select", "auroc"]):
        assert main([*words, "--out", run, "--overwrite", *wrong]) == 2
        assert main([*words, "--out", str(tmp_path / "new"), *wrong]) == 2  # then the right one may follow
        assert not (tmp_path / "new" / "config.json").exists()
    assert main(["finetune", run, "--overwrite", "--class-weights", "1", "2", "3"]) == 2
    assert held(run) == before


def test_a_first_training_that_diverges_leaves_a_folder_that_can_be_used(tmp_path):
    "In its first epoch it has left nothing; later its log stands there, which without config.json nobody could replace"
    words = ["erm", "--data", "biased-digits", "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*words, "--lr", "1e9"]) == 2
    do(words)
    (tmp_path / "later").mkdir()
    for name in ("config.json", "log.jsonl"):
        (tmp_path / "later" / name).touch()
    with pytest.raises(TrainingDiverged), forgotten_if_refused(str(tmp_path / "later")):
        raise TrainingDiverged("epoch 3")
    assert (tmp_path / "later" / "config.json").exists()


def test_what_replaces_a_run_ends_as_what_begins_one(tmp_path):
    "What cannot be trained is found by a step that is forgotten: it leaves no trace"
    words = ["--data", "biased-digits", "--epochs", "1", "--device", "cpu", "--finetune-batch-size", "128"]
    fresh, again = str(tmp_path / "fresh"), str(tmp_path / "again")
    do(["erm", "--out", again, *words, "--seed", "1"], ["saliency", again], ["finetune", again])
    for out, how in ((fresh, []), (again, ["--overwrite"])):
        do(["erm", "--out", out, *words, "--seed", "2", *how], ["saliency", out], ["finetune", out])
    do(["finetune", again, "--overwrite"])
    for name in ("erm/best.safetensors", "round-1/last.safetensors"):
        one, other = (load_file(Path(out, name)) for out in (fresh, again))
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_comparison_is_replaced_once_the_new_one_fits_and_resume_wins(tmp_path, capsys):
    out = tmp_path / "cm"
    do(compare_words(out))
    before = held(out)
    for wrong in (["--methods", "ermm"], ["--set", "settings.fill=blu"]):
        assert main(compare_words(out, "--overwrite", *wrong)) == 2
    row = (out / "seed-0" / "erm.json").read_bytes()
    do(compare_words(out, "--overwrite", "--resume"))  # what somebody types who began with --overwrite
    assert (out / "seed-0" / "erm.json").read_bytes() == row and held(out) == before
    assert main(compare_words(out, "--resume", "--set", "pretrained=true")) == 2
    do(compare_words(out, "--overwrite", "--set", "settings.epochs=2"))


def test_experiments_on_images_that_have_changed_are_not_mixed(begun, tmp_path, capsys):
    images = shutil.copytree(begun.parent / "images", tmp_path / "images")
    (tmp_path / "mine.yaml").write_text("data: folder\noptions: {size: 32}\nmodel: small-cnn\nsettings: {epochs: 1}\n")
    lines = (
        ["compare-methods", str(tmp_path / "mine.yaml"), "--methods", "erm"],
        ["ablate", "target", "--recipe", str(tmp_path / "mine.yaml")],
    )
    for words in lines:
        words += [
            "--root",
            str(images),
            "--seeds",
            "0",
            "--set",
            "settings.device=cpu",
            "--out",
            str(tmp_path / words[0]),
        ]
        do(words)
    Image.new("RGB", (32, 32), "red").save(images / "train" / "m" / "0.png")
    for words in lines:
        assert main([*words, "--resume"]) == 2 and "images" in capsys.readouterr().err
    assert main([*lines[1], "--overwrite", "--set", "settings.epochs=0"]) == 2  # it ablated an untrained network
    assert (tmp_path / "ablate" / "rows.json").exists()


def test_a_run_goes_on_with_its_own_images_and_network_on_any_machine(run, tmp_path, capsys):
    "Another data set, folder, size or network was taken without a word, and not used"
    config = json.loads(Path(run, "config.json").read_text())
    own = ["erm", "--data", "folder", "--root", config["data"]["root"], "--out", run, "--resume"]
    do(own, [*own, "--option", "size=32", "--num-workers", "1"])
    assert "tiny on cpu" in capsys.readouterr().out
    for other in (
        ["--option", "size=24"],
        ["--model", "small-cnn"],
        ["--pretrained"],
        ["--weights", "none.pt"],
        ["--root", str(tmp_path)],
        ["--epochs", "9"],
    ):
        assert main([*own, *other]) == 2 and "was begun with" in capsys.readouterr().err, other
    set_in(run, device="cuda")
    do([*own, "--device", "cpu"])


def test_rounds_that_are_left_are_told_and_what_was_said_of_an_old_model_goes_with_it(run, capsys):
    do(["saliency", run], ["finetune", run, "--rounds", "2"], ["report", run], ["refit", run])
    shutil.rmtree(Path(run, "round-2"))  # as a kill leaves it
    for words in (["evaluate", run], ["diagnose", run, "--of", "masktune"], ["selective", run]):
        capsys.readouterr()
        do(words)
        assert "1 of 2 rounds is finished" in capsys.readouterr().out, words
    assert Path(run, "report.html").exists() and Path(run, "refit").exists()
    do(["finetune", run, "--overwrite", "--rounds", "1"])
    assert not Path(run, "report.html").exists() and not Path(run, "refit").exists()


def test_a_broken_file_of_a_run_is_not_to_be_deleted_where_the_run_would_be_lost(run, capsys):
    do(["saliency", run], ["finetune", run])
    last = Path(run, "round-1", "last.safetensors")
    last.write_bytes(last.read_bytes()[:100])
    assert main(["finetune", run, "--overwrite"]) == 2 and "delete it" in capsys.readouterr().err
    last.unlink()
    do(["finetune", run, "--overwrite"])
    config = Path(run, "config.json")
    config.write_text(config.read_text()[:200])
    assert main(["evaluate", run]) == 2
    said = capsys.readouterr().err
    assert "restore it" in said and "best.safetensors" in said and "delete it" not in said
