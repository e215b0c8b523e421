"What a user can give a panel wrongly, and the sentence that comes back before anything is computed."

import pytest
import torch
from torch import nn

from masktune.abstaining import SelectiveClassifier
from masktune.data import ArrayDataset
from masktune.finetune import MaskTune
from masktune.instrument import instrument_data, instrument_html, script_text
from masktune.kinds import find_kinds
from masktune.lab.compare import CompareExplorer
from masktune.lab.coverage import CoverageExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.launcher import Launcher
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import as_classifier, build_model
from masktune.saliency import compute_saliency


class Broken(nn.Module):
    "A network that fails in a way of its own"

    def forward(self, images):
        raise KeyError("no such thing")


@pytest.fixture(scope="module")
def made():
    "What panels are given, by name: images, other images, a model, its maps ..."
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (24, 3, 28, 28), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(pixels, torch.arange(24) % 2, ["a", "b"], name="noise")
    threes = ArrayDataset(pixels, torch.arange(24) % 3, ["a", "b", "c"], name="threes")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run = MaskTune(build_model("small-cnn", 2), epochs=0, finetune_lr=0.01, device="cpu", progress=False)
        run.fit_erm(data)
        other, three = build_model("small-cnn", 2), as_classifier(build_model("small-cnn", 3), threes)
    found = {"data": data, "threes": threes, "few": data.subset(range(6)), "one": data.subset([0])}
    found |= {"empty": data.subset([]), "run": run, "model": run.erm_, "other": other, "three": three}
    found["maps"] = compute_saliency(run.erm_, data, device="cpu", progress=False)
    found["kinds"] = find_kinds(run.erm_, data, limit=24, most=1, device="cpu")
    found["pair"] = SelectiveClassifier([run.erm_])
    found["scrubber"] = ThresholdScrubber(run.erm_, data, found["maps"], page_size=6).wait()
    found["launcher"] = Launcher(run, data, {"test": data})
    yield found
    found["scrubber"].close()
    found["launcher"].close()


S, E, C, V, R, L = ThresholdScrubber, ClassEvidence, CompareExplorer, CoverageExplorer, EvidenceReview, Launcher
WHOLE = "must be a whole number of at least"
ORDER = "are the arguments in the right order?"
WRONG = {  # the sentence, or a part of it, by the call: g holds what is `made`
    "scrubber": [
        (lambda g: S(g["model"], g["data"], g["maps"], fill="blurr"), "unknown fill 'blurr': did you mean 'blur'?"),
        (lambda g: S(g["model"], g["data"], g["maps"], rule="mean_sd(k=2)"), "did you mean 'mean_std'?"),
        (lambda g: S(g["model"], g["data"], g["maps"], rule=2.0), "cannot read the threshold '2.0'"),
        (lambda g: S(g["model"], g["data"], g["maps"], rule="quantile(q=3)"), "needs 0 < q < 1, got 3.0"),
        (lambda g: S(g["model"], g["data"], g["maps"], tile="72"), f"tile {WHOLE} 8, got '72'"),
        (lambda g: S(g["model"], g["data"], g["maps"], tile=10**6), "tile must be at most 1,024, got 1,000,000"),
        (
            lambda g: S(g["model"], g["data"], g["maps"], page_size=2.5),
            f"page_size {WHOLE} 1, got 2.5",
        ),
        (
            lambda g: S(g["model"], g["data"], g["maps"], page_size=True),
            f"page_size {WHOLE} 1, got True",
        ),
        (
            lambda g: S(g["model"], g["data"], g["maps"], pagesize=3),
            "unknown option of ThresholdScrubber 'pagesize': did you mean 'page_size'?",
        ),
        (
            lambda g: S(g["data"], g["model"], g["maps"]),
            f"dataset must be a data set (ImageDataset), got Classifier: {ORDER}",
        ),
        (lambda g: S(None, None), "dataset must be a data set (ImageDataset), got NoneType"),
        (lambda g: S(g["model"], g["empty"]), "is empty: there is nothing to show"),
        (
            lambda g: S(Broken(), g["data"]),
            "model cannot classify an image of noise (24 images, 2 classes), (3, 28, 28)",
        ),
        (lambda g: S(g["three"], g["data"]), "model must give scores of shape (1, 2)"),
        (lambda g: S(g["model"], g["few"], g["maps"]), "these saliency maps were made from noise"),
        (lambda g: S(g["other"], g["data"], g["maps"]), "these saliency maps were made with model"),
        (lambda g: S(g["model"], g["data"], g["maps"], run="runs/x"), "run must be a MaskTune, got str"),
        (lambda g: S(g["model"], g["data"], g["maps"], kinds={"a": 1}), "kinds must be kinds of evidence"),
        (
            lambda g: g["scrubber"].look("network.fetures.5"),
            "unknown layer 'network.fetures.5': did you mean 'network.features.5'?",
        ),
        (lambda g: g["scrubber"].look(source="gradcam"), "unknown source 'gradcam': did you mean"),
    ],
    "evidence": [
        (lambda g: E(g["data"], g["maps"], count=0), f"count {WHOLE} 1, got 0"),
        (lambda g: E(g["data"], g["maps"], share="0.3"), "share must be above 0 and at most 1, got '0.3'"),
        (lambda g: E(g["maps"], g["data"]), f"dataset must be a data set (ImageDataset), got SaliencyMaps: {ORDER}"),
        (lambda g: E(g["data"], g["maps"], model="m"), "model must be a classifier (torch.nn.Module), got str"),
        (lambda g: E(g["data"], g["maps"], model=g["other"]), "these saliency maps were made with model"),
        (lambda g: E(g["data"], None), "maps must be saliency maps (`compute_saliency` makes them), got NoneType"),
        (lambda g: E(g["data"], g["maps"], kind=None), "did you mean 'kinds'?"),
    ],
    "compare": [
        (
            lambda g: C(g["model"], g["other"], g["data"], names="ab"),
            "names must be two, of before and of after, got 'ab'",
        ),
        (lambda g: C(g["model"], g["other"], g["data"], names=("one",)), "names must be two different ones"),
        (lambda g: C(g["model"], g["other"], g["data"], names=(1, 2)), "models must be named by text, got 1"),
        (lambda g: C(g["model"], g["other"], g["data"], maps=(g["maps"],)), "maps must be two, of before and of after"),
        (
            lambda g: C(g["data"], g["model"], g["model"]),
            f"dataset must be a data set (ImageDataset), got Classifier: {ORDER}",
        ),
        (lambda g: C(g["model"], g["three"], g["data"]), "after must give scores of shape (1, 2)"),
        (
            lambda g: C(g["model"], g["other"], g["data"], batchsize=3),
            "unknown option of CompareExplorer 'batchsize': did you mean 'batch_size'?",
        ),
        (lambda g: C(g["model"], g["other"], g["data"], device="gpu"), "device 'gpu' is unknown: use cpu, cuda"),
        (lambda g: C(g["model"], g["other"], g["data"], source="gradcam"), "unknown source 'gradcam': did you mean"),
    ],
    "coverage": [
        (
            lambda g: V(g["model"], g["data"]),
            "selective must be a SelectiveClassifier, or several by name, got Classifier",
        ),
        (lambda g: V({}, g["data"]), "selective must name at least one classifier"),
        (lambda g: V({1: g["pair"]}, g["data"]), "selective must be named by text, got 1"),
        (lambda g: V(g["pair"], g["data"], coverage=float("nan")), "coverage must be above 0 and at most 1, got nan"),
        (lambda g: V(g["pair"], g["data"], 0.9), "val must be a data set (ImageDataset), got float"),
        (lambda g: V(g["pair"], g["data"], batch=3), "unknown option of CoverageExplorer 'batch': did you mean"),
        (
            lambda g: V(SelectiveClassifier([g["three"]]), g["data"]),
            "selective['classifier'] must give scores of shape (1, 2)",
        ),
        (lambda g: V(g["pair"], g["empty"]), "is empty: there is nothing to show"),
    ],
    "review": [
        (lambda g: R({}, g["data"], g["model"]), "kinds must be kinds of evidence (`find_kinds` gives them), got dict"),
        (lambda g: R(g["kinds"], g["few"], g["model"]), "these kinds were found in noise (24 images, 2 classes)"),
        (lambda g: R(g["kinds"], g["data"], g["other"]), "with which these kinds were found, got another"),
        (lambda g: R(g["kinds"], g["data"], g["model"], path=3), "path must be a path, got int"),
        (lambda g: R(g["kinds"], g["data"], g["model"], count=0), f"count {WHOLE} 1, got 0"),
        (lambda g: R(g["kinds"], g["data"], g["model"]).judge("a/1", "shortcuts"), "did you mean 'shortcut'?"),
    ],
    "launcher": [
        (lambda g: L(g["data"], g["run"]), "run must be a MaskTune, got ArrayDataset"),
        (lambda g: L(g["run"], "train"), "train must be a data set (ImageDataset), got str"),
        (lambda g: L(g["run"], g["threes"]), "train has classes ['a', 'b', 'c'], the run was trained for ['a', 'b']"),
        (lambda g: L(g["run"], g["data"], {"t": g["threes"]}), "tests['t'] has classes ['a', 'b', 'c']"),
        (lambda g: L(g["run"], g["data"], {3: g["data"]}), "tests must be named by text, got 3"),
        (lambda g: L(g["run"], g["data"], g["data"]), "tests must be data sets by name"),
        (lambda g: L(g["run"], g["data"], val=3), "val must be a data set (ImageDataset), got int"),
        (lambda g: L(g["run"], g["data"], folder=3), "folder must be a path, got int"),
        (lambda g: L(g["run"], g["data"], folder=__file__), "folder must be a folder, "),
        (lambda g: L(g["run"], g["data"], test={}), "unknown option of Launcher 'test': did you mean 'tests'?"),
        (lambda g: g["launcher"].launch(rule="mean_sd(k=2)"), "did you mean 'mean_std'?"),
        (lambda g: g["launcher"].launch(remedy="masks"), "unknown remedy 'masks': did you mean 'mask'?"),
        (
            lambda g: g["launcher"].sweep_remedies("refit"),
            "refit needs images that were not trained on: give the panel val=",
        ),
        (lambda g: g["launcher"].sweep(["a"]), "threshold 'mean_std' needs a number k, got 'a'"),
        (lambda g: g["launcher"].sweep([float("nan")]), "threshold 'mean_std' needs a finite k, got nan"),
        (lambda g: g["launcher"].keep("x"), "nothing has been tried yet, got 'x'"),
    ],
    "page": [
        (
            lambda g: instrument_data(g["data"], g["maps"], [99]),
            "index 99 is out of range: noise (24 images, 2 classes) has images 0 to 23",
        ),
        (lambda g: instrument_data(g["data"], g["maps"], ["a"]), "index must be a list of whole numbers"),
        (lambda g: instrument_data(g["data"], g["maps"], 3), "index must be a list of whole numbers"),
        (lambda g: instrument_data(g["maps"], g["data"], [0]), "a page needs a data set (ImageDataset) and its maps"),
        (lambda g: instrument_data(g["data"], g["maps"], [0], tile=0), f"tile {WHOLE} 8, and at most 1,024, got 0"),
        (
            lambda g: instrument_data(g["data"], g["maps"], [0], model=g["other"]),
            "these saliency maps were made with model",
        ),
        (
            lambda g: instrument_data(g["data"], g["maps"], [0], model=g["model"], strengths=[]),
            "strengths must hold at least one",
        ),
        (
            lambda g: instrument_html(instrument_data(g["data"], g["maps"], [0]), "a b<"),
            "mark must be letters, digits and hyphens",
        ),
        (lambda g: script_text("scrubbr"), "unknown panel 'scrubbr': did you mean 'scrubber'?"),
    ],
}


@pytest.mark.parametrize("panel, place", [(name, i) for name, calls in WRONG.items() for i in range(len(calls))])
def test_a_wrong_argument_is_answered_by_one_sentence(made, panel, place):
    call, sentence = WRONG[panel][place]
    with pytest.raises(ValueError) as caught:
        call(made)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not made["launcher"].job.running


def test_one_image_is_a_page(made):
    one, model = made["one"], made["model"]
    maps = compute_saliency(model, one, device="cpu", progress=False)
    panels = [
        S(model, one, maps),
        E(one, maps, model=model),
        C(model, made["other"], one, device="cpu"),
        V(made["pair"], one, device="cpu"),
    ]
    for panel in panels:
        assert "run the cell to make it live" in panel._repr_html_()
        panel.close()
