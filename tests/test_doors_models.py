"""The doors of models and weights: what people bring, and the sentence they get where it cannot be taken."""

import argparse
import copy
import json
import sys

import pytest
import torch
from torch import nn

import masktune
from masktune.comparing import compare
from masktune.data import ArrayDataset
from masktune.evaluation import evaluate, predict
from masktune.finetune import MaskTune, finetune
from masktune.models import Classifier, as_classifier, model_fingerprint
from masktune.refit import refit
from masktune.report import write_report
from masktune.saliency import compute_saliency
from masktune.weights import load_checkpoint, load_model, read_weights

QUICK = dict(lr=0.01, device="cpu", progress=False, batch_size=8)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return ArrayDataset(pixels, [0, 1] * 8, ["cat", "dog"], name="noise", split="val")


def network(inside=3, outside=2):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(inside, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, outside),
    )


class Giving(nn.Module):
    "A network whose scores come in another form"

    def __init__(self, give, outside=2):
        super().__init__()
        self.inside, self.give = network(outside=outside), give

    def forward(self, images):
        return self.give(self.inside(images))


def hugging_face(num_labels=2):
    import transformers as hf

    torch.manual_seed(0)
    config = hf.ResNetConfig(embedding_size=8, depths=[1, 1], hidden_sizes=[8, 16], num_labels=num_labels)
    return hf.ResNetForImageClassification(config)


def from_timm(**options):
    import timm

    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=2, **options)


BROUGHT = {
    "bare": network,
    "compiled": lambda: torch.compile(network()),
    "in parallel": lambda: nn.DataParallel(network()),
    "an average": lambda: torch.optim.swa_utils.AveragedModel(network()),
    "timm": from_timm,
    "timm, one channel": lambda: from_timm(in_chans=1),
    "Hugging Face": hugging_face,
    "a tuple": lambda: Giving(lambda scores: (scores,)),
    "a dict with logits": lambda: Giving(lambda scores: {"logits": scores}),
    "one score": lambda: network(outside=1),
    "one score, (B,)": lambda: Giving(lambda scores: scores[:, 0], 1),
    "one score, squeezed": lambda: Giving(lambda scores: scores.squeeze(), 1),
    "one probability": lambda: nn.Sequential(*network(outside=1), nn.Sigmoid()),
    "one channel": lambda: network(inside=1),
    "double": lambda: network().double(),
    "bfloat16": lambda: network().bfloat16(),
}


@pytest.mark.parametrize("brought", BROUGHT)
def test_every_form_goes_from_maps_to_a_finetuned_model(brought, images):
    model = BROUGHT[brought]()
    before = model_fingerprint(model)
    maps = compute_saliency(model, images, device="cpu", progress=False)
    assert maps.maps.isfinite().all() and model_fingerprint(model) == before
    maps.check(images, model)
    scores = predict(model, images, device="cpu", progress=False)
    assert scores.shape == (16, 2) and scores.isfinite().all()
    classifier = as_classifier(model, images)
    assert as_classifier(classifier, images) is classifier
    finetune(model, images, maps, **QUICK)
    assert model_fingerprint(model) != before  # what was brought is what was trained


@pytest.mark.parametrize("brought", ["one score", "one probability", "bfloat16", "double", "one channel"])
def test_the_last_layer_is_refitted_too(brought, images):
    model = BROUGHT[brought]()
    again, result = refit(model, images, device="cpu", progress=False)
    assert min(result.losses) < result.losses[0]
    right = {"device": "cpu", "progress": False}
    assert evaluate(again, images, **right).loss < evaluate(model, images, **right).loss


def test_one_score_is_the_sigmoid_of_the_second_class_and_explains_both(images):
    one = network(outside=1).eval()
    scores = predict(one, images, device="cpu", progress=False)
    with torch.no_grad():
        torch.testing.assert_close(scores.softmax(1)[:, 1], one(images.images / 255)[:, 0].sigmoid())
    for side in (-1, 1):  # every image is of the one class, then of the other
        leaning = copy.deepcopy(one)
        leaning[-1].bias.data.fill_(side * 5.0)
        leaning[-1].weight.data.copy_(side * one[-1].weight.abs())
        maps = compute_saliency(leaning, images, device="cpu", progress=False)
        assert set(maps.predicted.tolist()) == {(side + 1) // 2}
        assert (maps.maps.flatten(1).amax(1) > 0).all()  # and something speaks for it


def test_half_precision_is_explained_and_its_training_refused_before_any_work(images):
    model = network().half()
    maps = compute_saliency(model, images, device="cpu", progress=False)
    single = compute_saliency(network(), images, device="cpu", progress=False)
    agreement = torch.corrcoef(torch.stack([maps.maps.float().flatten(), single.maps.float().flatten()]))[0, 1]
    assert agreement > 0.99
    with pytest.raises(ValueError, match=r"train model\.float\(\), with mixed_precision='fp16'"):
        finetune(model, images, maps, **QUICK)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_maps_and_finetuning_work_within(mode, images):
    expected = compute_saliency(network(), images, device="cpu", progress=False)
    model, other = network(), network()
    with mode():
        maps = compute_saliency(model, images, device="cpu", progress=False)
        finetune(model, images, **QUICK)
        finetune(other, images, on_device=True, **QUICK)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode) and not torch.is_grad_enabled()
    assert torch.equal(maps.maps, expected.maps) and not maps.maps.is_inference()
    assert model_fingerprint(network()) not in (model_fingerprint(model), model_fingerprint(other))


def test_a_network_compiled_in_place_is_explained_as_it_was_written(images):
    expected = compute_saliency(network(), images, device="cpu", progress=False)
    model = network()
    model.compile(backend="eager")
    predict(model, images, device="cpu", progress=False)  # compiled by now, without hooks
    assert torch.equal(compute_saliency(model, images, device="cpu", progress=False).maps, expected.maps)


def test_a_frozen_backbone_behind_any_wrapper_keeps_its_statistics(images):
    model = network()
    model[:2].requires_grad_(False)
    mean, weight, head = model[1].running_mean.clone(), model[0].weight.clone(), model[-1].weight.clone()
    finetune(nn.DataParallel(model), images, **QUICK)
    assert torch.equal(model[1].running_mean, mean) and torch.equal(model[0].weight, weight)
    assert not torch.equal(model[-1].weight, head)


def test_what_was_taken_off_is_said_once(images, caplog):
    model = nn.DataParallel(network())
    for _ in range(2):
        predict(model, images, device="cpu", progress=False)
    assert caplog.text.count("Sequential is used without DataParallel around it") == 1


def scripted():
    return torch.jit.script(network().eval())


def traced():
    return torch.jit.trace(network().eval(), torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize(
    "make, kind", [(scripted, "a script (torch.jit.script)"), (traced, "a trace (torch.jit.trace)")]
)
def test_what_has_no_hooks_is_measured_and_not_explained(make, kind, images):
    model = make()
    assert evaluate(model, images, device="cpu", progress=False).average.count == 16
    with pytest.raises(ValueError) as refused:
        compute_saliency(model, images, device="cpu", progress=False)
    assert str(refused.value) == (
        f"Sequential is {kind}: no hook can be set inside it, so what it looks at cannot be explained. Give the "
        "module it was made from, or build that again and load its weights"
    )


def exported():
    return torch.export.export(network().eval(), (torch.rand(2, 3, 16, 16),))


def made_in_inference():
    with torch.inference_mode():
        return network()


NO_MODELS = [  # what is brought, and what is said
    (
        exported,
        "this is an exported program (torch.export): it has no modules to watch and no eval mode. Give the module it "
        "was exported from, or build that again and load its weights",
    ),
    (
        lambda: exported().module(),
        "this is an exported program (torch.export): it has no modules to watch and no eval mode. Give the module it "
        "was exported from, or build that again and load its weights",
    ),
    (lambda: "resnet18", "model is the text 'resnet18': load_model('resnet18', num_classes) makes a network of it"),
    (
        lambda: network().state_dict(),
        "model is a dict, as torch.load gives: build the network, and give what load_state_dict has filled",
    ),
    (lambda: nn.Identity, "model is the class Identity itself: call it, and give what it makes"),
    (lambda: None, "model must be a classifier (torch.nn.Module), got NoneType"),
    (
        lambda: argparse.Namespace(model=network()),
        "model must be a classifier (torch.nn.Module), got Namespace: give its .model",
    ),
    (lambda: nn.LazyConv2d(2, 3), "weight of LazyConv2d has no size yet: let one batch of images pass through it"),
    (
        lambda: nn.Conv2d(3, 2, 3, device="meta"),
        "weight of Conv2d is on the meta device, without values: load its weights",
    ),
    (
        lambda: network(inside=4),
        "Sequential cannot take an image of 3 x 16 x 16: it takes images of 4 channels, and here it gets 3. Give a "
        "network for images of 3 channels, or of 1",
    ),
    (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 20, 2)),
        "Sequential cannot take an image of 3 x 16 x 16: it was made for images of another size. Open the data with "
        "the size it was trained with",
    ),
    (
        made_in_inference,
        "Sequential has weights made or copied within torch.inference_mode, which take no gradients: make it outside",
    ),
]


@pytest.mark.parametrize("make, said", NO_MODELS, ids=[said[:40] for _, said in NO_MODELS])
def test_what_cannot_be_taken_gets_one_sentence(make, said, images):
    with pytest.raises(ValueError) as refused:
        compute_saliency(make(), images, device="cpu", progress=False)
    assert str(refused.value) == said


def test_a_transformer_of_another_size_says_what_to_do(images):
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=2, depth=1)
    with pytest.raises(ValueError) as refused:
        predict(model, images, device="cpu", progress=False)
    assert str(refused.value) == (
        "VisionTransformer cannot take an image of 3 x 16 x 16: it takes images of one size. Open the data with the "
        "size it was trained with"
    )


# Weights.


def lightning_checkpoint(path, model):
    "As Lightning itself writes it, with a loss that has weights of its own"
    from lightning.pytorch import LightningModule, Trainer

    class Task(LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.criterion = model, nn.CrossEntropyLoss(weight=torch.ones(2))
            self.save_hyperparameters()

        def training_step(self, batch, _):
            return self.criterion(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    loader = torch.utils.data.DataLoader([(torch.rand(3, 16, 16), 0)] * 2, batch_size=2)
    trainer = Trainer(
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=path.parent,
        enable_checkpointing=False,
    )
    trainer.fit(Task(), loader)
    trainer.save_checkpoint(path)


def renamed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def save_tensors(path, state):
    from safetensors.torch import save_file

    save_file(state, path)


WAYS = {  # file name: how it is written from a state dict, what is said on reading it
    "w.safetensors": (save_tensors, []),
    "w.pt": (lambda path, state: torch.save(state, path), []),
    "w.pth": (
        lambda path, state: torch.save({"model": renamed(state, "module."), "args": argparse.Namespace(lr=1)}, path),
        ["module taken off the names of weights"],
    ),
    "pytorch_model.bin": (lambda path, state: torch.save({"net": {"state_dict": state}}, path), []),
    "w.pth.tar": (
        lambda path, state: torch.save({"state_dict": renamed(state, "module._orig_mod."), "epoch": 3}, path),
        ["module._orig_mod taken off the names of weights"],
    ),
    "ema.pt": (lambda path, state: torch.save({"ema": state, "step": 5}, path), []),
    "old.pt": (lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False), []),
}


@pytest.mark.parametrize("name", WAYS)
def test_weights_come_in_every_file(name, tmp_path, caplog):
    write, said = WAYS[name]
    model, other = network(), network()
    other[0].weight.data.zero_()
    write(tmp_path / name, model.state_dict())
    assert load_checkpoint(tmp_path / name, other) == said
    assert model_fingerprint(other) == model_fingerprint(model)
    assert all(f"{name}: {note}" in caplog.text for note in said)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "network.", "net.", "backbone.", "model.net."])
def test_prefixes_are_taken_off_and_said(prefix, tmp_path):
    torch.save(renamed(network().state_dict(), prefix), tmp_path / "w.pt")
    assert load_checkpoint(tmp_path / "w.pt", network()) == [f"{prefix[:-1]} taken off the names of weights"]


def test_a_checkpoint_of_lightning_itself(tmp_path):
    model, other = network(), network()
    lightning_checkpoint(tmp_path / "w.ckpt", model)
    said = load_checkpoint(tmp_path / "w.ckpt", other)
    assert said == ["model taken off the names of weights", "1 weight beside the network left out"]
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_hugging_face_folder_in_pieces(tmp_path):
    model = hugging_face()
    model.save_pretrained(tmp_path / "folder", max_shard_size="5KB")
    assert (tmp_path / "folder" / "model.safetensors.index.json").is_file()
    found = load_model(f"hf:{tmp_path / 'folder'}", 2)
    assert model_fingerprint(found) == model_fingerprint(model)
    load_checkpoint(tmp_path / "folder", other := hugging_face())
    assert model_fingerprint(other) == model_fingerprint(model)
    next((tmp_path / "folder").glob("model-00002*")).unlink()
    with pytest.raises(ValueError, match=r"folder is incomplete: model-00002.* is missing, of \d+ files of weights"):
        read_weights(tmp_path / "folder")


def bad_weights(folder):
    "Files that cannot be taken, and what is said of each; W stands for the file, K for the network"
    state = network().state_dict()
    torch.save(network(), folder / "whole.pt")
    torch.save({"epoch": 1, "lr": 0.1}, folder / "nothing.pt")
    torch.save(network(outside=10).state_dict(), folder / "ten.pt")
    torch.save({name: value for name, value in state.items() if not name.startswith("5")}, folder / "headless.pt")
    torch.save(state | {"extra.weight": torch.ones(1)}, folder / "more.pt")
    torch.save(network(inside=1).state_dict(), folder / "grey.pt")
    torch.jit.save(scripted(), folder / "script.pt")
    (folder / "half.pt").write_bytes((folder / "ten.pt").read_bytes()[:900])
    (folder / "text.pt").write_text("weights")
    (folder / "broken.safetensors").write_bytes(b"broken")
    (folder / "model.onnx").write_bytes(b"")
    (folder / "empty").mkdir()
    return {
        "whole.pt": "W holds more than weights (torch.nn.modules.container.Sequential), and what is pickled may run "
        "anything: it was not loaded. Is it a whole module? Where you trust it, load it once with torch.load(path, "
        "weights_only=False) and save its state_dict()",
        "nothing.pt": "W holds no weights: it has a dict with epoch, lr. Save the network's state_dict()",
        "ten.pt": "W does not fit Sequential: 5.weight is (10, 6) in the file and (2, 6) in the network: its head has "
        "10 classes, not 2: build the network with num_classes=10, or train another head",
        "headless.pt": "W does not fit Sequential: missing 5.weight, 5.bias, unexpected nothing",
        "more.pt": "W does not fit Sequential: missing nothing, unexpected extra.weight",
        "script.pt": "W is a TorchScript program, in which no layer can be watched: save the state_dict() of the "
        "module it was made from",
        "half.pt": "W is no intact file of weights: it is cut short, damaged or something else",
        "text.pt": "W is no intact file of weights: it is cut short, damaged or something else",
        "model.onnx": "model.onnx is no file of weights: they come as .safetensors, .pt, .pth, .bin, .ckpt, .tar, or "
        "as a folder",
        "absent.pt": "no weights at W: is that the right name, and did what writes them finish?",
        "empty": "W is a folder without model.safetensors or pytorch_model.bin: name the file of weights in it",
        "grey.pt": "W does not fit Sequential: 0.weight is (6, 1, 3, 3) in the file and (6, 3, 3, 3) in the "
        "network: these are weights of another network, or of another width",
    }


def test_bad_weights_get_one_sentence_and_leave_the_network_as_it_was(tmp_path):
    said, expected = {}, {}
    model = network()
    before = model_fingerprint(model)
    for name, sentence in bad_weights(tmp_path).items():
        with pytest.raises(ValueError) as refused:
            load_checkpoint(tmp_path / name, model)
        said[name], expected[name] = (
            str(refused.value),
            sentence.replace("W ", f"{tmp_path / name} ", 1).replace("at W:", f"at {tmp_path / name}:"),
        )
    assert said == expected
    assert model_fingerprint(model) == before
    with pytest.raises(ValueError, match=r"broken\.safetensors is no intact safetensors file"):
        load_checkpoint(tmp_path / "broken.safetensors", model)


# Words.

MINE = """
import torch
from torch import nn

def make(num_classes):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes)
    return nn.Sequential(*layers)

def fails(num_classes): raise KeyError("no such")
def gives_nothing(): return None
number = 3
ready = make(2)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    "A module of the user's own in the working directory, under a name that no other test has imported"
    name = f"mine_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return name


def test_words_make_networks(mine, tmp_path):
    assert load_model("resnet18", 3).fc.out_features == 3
    assert load_model("timm:resnet10t", 3).fc.out_features == 3
    assert load_model(f"{mine}:make", 3)[-1].out_features == 3
    assert load_model(f"{mine}.py:make", 3)[-1].out_features == 3
    assert load_model(f"{mine}:ready", 2)[-1].out_features == 2
    hugging_face(5).save_pretrained(tmp_path / "folder")
    assert load_model("hf:folder", 5).config.num_labels == 5
    assert load_model("hf:folder", 2, pretrained=True).config.num_labels == 2  # its weights under a new head
    assert not any(str(tmp_path) == place for place in sys.path)


def test_words_that_mean_nothing_get_one_sentence(mine, tmp_path):
    hugging_face(5).save_pretrained(tmp_path / "folder")
    table = {
        "resnet81": "unknown model 'resnet81': did you mean 'resnet18'?",
        "timm:resnet10": "timm has no model 'resnet10': did you mean 'resnet101' or 'resnet18' or 'resnet10t'?",
        "hf:nowhere": "hf:nowhere: there is no folder nowhere",
        "hf:folder": "hf:folder has a head of 5 classes, not 2: open data with its classes, or begin with its weights "
        "and a new head (--pretrained)",
        "nowhere:make": f"nowhere:make: importing nowhere (from {tmp_path}) failed: ModuleNotFoundError: No module "
        "named 'nowhere'",
        f"{mine}:mkae": f"{mine}:mkae: {mine} has no 'mkae': did you mean 'make'?",
        f"{mine}:fails": f"{mine}:fails failed: KeyError: 'no such'",
        f"{mine}:gives_nothing": f"{mine}:gives_nothing gives something of type NoneType: it must make a "
        "torch.nn.Module",
        f"{mine}:number": f"{mine}:number is of type int: name a function or class that makes a torch.nn.Module",
        "absent.py:make": f"absent.py:make: there is no file {tmp_path / 'absent.py'}",
    }
    said = {}
    for spec in table:
        with pytest.raises(ValueError) as refused:
            load_model(spec, 2)
        said[spec] = str(refused.value)
    said["resnet81"] = said["resnet81"].split(" known are")[0]
    table["timm:resnet10"] = said["timm:resnet10"] if "did you mean 'resnet10" in said["timm:resnet10"] else ""
    assert said == table


def test_a_run_remembers_its_word_and_its_weights_wherever_it_is_opened(mine, pets, tmp_path, monkeypatch, capsys):
    "From the user's own network and a checkpoint with a prefix to the finetuned run and its report, in another folder"
    from masktune.cli import main

    state = load_model(f"{mine}:make", 2).state_dict()
    torch.save({"state_dict": renamed(state, "model.")}, tmp_path / "mine.ckpt")
    data = ["--data", "folder", "--root", str(pets), "--option", "size=32", "--device", "cpu", "--batch-size", "8"]
    taken = ["--model", f"{mine}:make", "--weights", "mine.ckpt", "--epochs", "0", "--finetune-lr", "0.01"]
    run = str(tmp_path / "run")
    assert main(["erm", "--out", run, *taken, *data]) == 0, capsys.readouterr().err
    about = json.loads((tmp_path / "run" / "config.json").read_text())["model"]
    assert (about["name"], about["folder"]) == (f"{mine}:make", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for step in ("saliency", "finetune", "report"):
        sys.modules.pop(mine, None)  # as another process would find it
        assert main([step, run]) == 0, capsys.readouterr().err
    assert "cat" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    sys.modules.pop(mine)
    capsys.readouterr()
    assert main(["erm", "--out", "other", *taken, *data]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"No module named '{mine}'" in said


def test_two_checkpoints_are_compared_by_the_command(mine, pets, tmp_path, capsys):
    from masktune.cli import main

    for name in "ab":
        torch.save({"model": load_model(f"{mine}:make", 2).state_dict()}, tmp_path / f"{name}.pth")
    data = ["--data", "folder", "--root", str(pets), "--option", "size=32", "--device", "cpu", "--split", "val"]
    assert main(["compare", "a.pth", "b.pth", "--model", f"{mine}:make", "--out", "both.json", *data]) == 0
    assert "0 newly right, 0 newly wrong" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "both.json").read_text())["models"]) == {"a.pth", "b.pth"}
    assert main(["compare", "a.pth", "c.pth", "--model", f"{mine}:make", *data]) == 2
    assert capsys.readouterr().err.startswith("masktune: no weights at c.pth")


# Any two.


def test_any_two_classifiers_are_compared(images, tmp_path):
    first, second = network(), from_timm()
    before = [model_fingerprint(model) for model in (first, second)]
    found = masktune.compare(first, second, images, device="cpu", progress=False)
    assert [model_fingerprint(model) for model in (first, second)] == before
    assert sum(int(which.sum()) for which in found.cases.values()) == len(images)
    assert found.maps[0].maps.shape != found.maps[1].maps.shape and 0 <= found.mean_moved <= 1
    told = json.loads(json.dumps(found.to_dict()))
    assert set(told["models"]) == {"before", "after"} and told["heat_moved"] == pytest.approx(found.mean_moved)
    assert "of the heat moved" in str(found) and "<table" in found._repr_html_()
    same = compare(first, copy.deepcopy(first), images, device="cpu", progress=False)
    assert same.mean_moved == 0 and not same.cases["newly right"].any()


def test_a_panel_takes_any_two_classifiers(images):
    from masktune.lab.compare import CompareExplorer

    panel = CompareExplorer(nn.DataParallel(network()), network(outside=1), images, page_size=4, device="cpu")
    assert len(panel.maps) == 2
    panel.close()
    panel = CompareExplorer(network(), scripted(), images, page_size=4, device="cpu")
    assert not panel.maps and "no hook can be set" in panel.no_maps
    panel.close()


def test_groups_are_compared_where_there_are_any(images):
    groups = torch.arange(16) // 8
    grouped = ArrayDataset(images.images, images.labels, images.classes, groups=groups, group_names=["day", "night"])
    found = compare(network(), network(outside=1), grouped, names=("old", "new"), device="cpu", progress=False)
    rows = [row[0] for row in found.table().rows]
    assert rows == ["average", "cat", "dog", "day", "night"]


def test_a_whole_run_of_a_wrapped_network_with_one_score(images, tmp_path):
    model = nn.DataParallel(network(outside=1))
    run = MaskTune(model, epochs=1, batch_size=8, finetune_lr=0.01, device="cpu", progress=False, cache=0)
    run.fit(images, images)
    assert isinstance(run.model_, Classifier)
    assert [found.average.count for found in run.evaluate(images)["masktune"].values()] == [16]
    page = write_report(run, tmp_path / "report.html", images, images)
    assert "dog" in page.read_text(encoding="utf-8")
