"""Make what the front page's live instrument shows: `python scripts/home_instrument.py`, about 20 seconds.

A plain model is trained by the recipe on biased digits, and twelve images of the biased test are kept with their maps
and its answers at several thresholds, in nbs/images/instrument.json. Twelve are taken by their place in the test set,
six of each class, not by what the model says of them; the sentence above them counts what it says."""

import json
from pathlib import Path

import torch

TARGET = Path(__file__).resolve().parent.parent / "nbs" / "images" / "instrument.json"
SEED = 0


def gathered() -> dict:
    from masktune.devices import seed_everything
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.recipes import get_recipe
    from masktune.finetune import MaskTune
    from masktune.instrument import instrument_data
    from masktune.models import build_model
    from masktune.saliency import compute_saliency

    train, val, test = (load_dataset("biased-digits", split, seed=SEED) for split in ("train", "val", "biased-test"))
    seed_everything(SEED)
    settings = dict(get_recipe("biased-digits").settings) | {"seed": SEED, "device": "cpu", "progress": False}
    model = MaskTune(build_model("small-cnn", 2), **settings).fit_erm(train, val).erm_
    maps = compute_saliency(model, test, device="cpu", progress=False)
    places = [torch.nonzero(test.labels == label)[:6, 0] for label in (1, 0)]
    data = instrument_data(test, maps, torch.cat(places).tolist(), model=model)
    return {"words": words(data), "data": data}


def words(data: dict) -> str:
    "What the model says of the twelve before and after, counted"
    images, answers = data["page"]["images"], data["options"]["grid"]["answers"]
    begin = data["controls"]["strengths"]["mean_std"]
    after = next(each["said"] for each in answers if each["strength"] == begin)
    right = sum(image["said"] == image["label"] for image in images)
    now = sum(said == image["label"] for said, image in zip(after, images, strict=True))
    return (
        "A network learnt to tell the digits 0 to 4 from 5 to 9 on images in which a red square marks 0 to 4. Here are "
        f"twelve test images in which the square stands on 5 to 9, and the network is right on {right}. Move the "
        f"slider: with what it looks at hidden, it is right on {now}."
    )


if __name__ == "__main__":
    found = gathered()
    TARGET.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{TARGET.name}  {TARGET.stat().st_size / 1e3:.0f} kB\n{found['words']}")
