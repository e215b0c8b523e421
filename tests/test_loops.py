"Masks in the loops of other libraries, the real ones at small size: what is trained on, and what stays untouched."

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from masktune.loops import MaskCallback, MaskHook, MaskTrainerCallback, make_mask
from masktune.masking import MaskBatch, quantile
from masktune.models import Classifier, build_model

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
SCALE = {"mean": MEAN, "std": STD}
BLACK = -torch.tensor(MEAN) / torch.tensor(STD)


def batches(count=4, size=8, side=28):
    "Normalised floats and labels"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count * size, 3, side, side, generator=generator)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std, torch.arange(count * size) % 2


def small():
    torch.manual_seed(0)
    return build_model("small-cnn", 2)


def everything_of(model):
    "What a loop's user would miss if it changed: weights and buffers, modes, gradients asked for, hooks"
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    )


def assert_untouched(model, before):
    after = everything_of(model)
    assert after[1:] == before[1:]
    assert all(torch.equal(value, before[0][name]) for name, value in after[0].items())


def blackened(images, plain):
    "Share of pixels that are the normalised black and were not"
    black = (images - BLACK.view(1, 3, 1, 1).to(images.device)).abs().amax(1) < 1e-5
    assert torch.equal(images.masked_fill(black[:, None], 0), plain.masked_fill(black[:, None], 0))  # the rest stays
    return float(black.float().mean())


def test_floats_are_masked_where_their_bytes_would_be():
    network, generator = small(), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8, generator=generator)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    floats = (images / 255 - mean) / std
    masks = MaskBatch(network, rule=quantile(0.8), **SCALE)
    on_bytes = MaskBatch(Classifier(network, MEAN, STD), rule=quantile(0.8)).masks(images)
    assert (masks.masks(floats) != on_bytes).float().mean() < 0.001
    assert blackened(masks(floats), floats) > 0.01
    marked = torch.zeros(8, 28, 28, dtype=torch.bool)
    marked[:, :9] = True
    assert torch.equal(masks(floats, protect=marked)[:, :, :9], floats[:, :, :9])
    assert blackened(masks(floats, given=marked)[:, :, :9], floats[:, :, :9]) == 1


def test_making_and_using_a_mask_touches_nothing():
    from accelerate.state import AcceleratorState

    network = small().train()
    before, state, known = everything_of(network), torch.random.get_rng_state(), dict(AcceleratorState._shared_state)
    for fill in ("zero", "blur", "noise"):
        MaskHook(network, fill=fill, **SCALE)(batches()[0], None)
    assert_untouched(network, before)
    assert torch.equal(torch.random.get_rng_state(), state) and dict(AcceleratorState._shared_state) == known


BAD = [
    (lambda: MaskBatch(small()), "needs a Classifier, or mean= and std= of the images that SmallCNN is trained on"),
    (lambda: MaskBatch("resnet18", **SCALE), "MaskBatch needs a Classifier or a network, got str"),
    (lambda: MaskBatch(small(), source="given", **SCALE), "masks that are given need no model"),
    (
        lambda: MaskHook(small(), mean=(0,) * 3, std=(1,) * 3)(batches()[0], None),
        "give mean= and std= of your Normalize",
    ),
    (lambda: MaskHook(small(), **SCALE)(torch.zeros(2, 3, 28, 28, dtype=torch.int64), None), "must be uint8 or float"),
    (lambda: make_mask(MaskBatch(small(), **SCALE), fill="mean"), "has its settings already, and fill came besides"),
    (lambda: MaskCallback(small(), after=1.5, **SCALE), "after must be a number of epochs, from 0 on, got 1.5"),
    (lambda: MaskCallback(small(), fill="mea", **SCALE), "did you mean 'mean'"),
]


@pytest.mark.parametrize("door, sentence", BAD, ids=[sentence[:40] for _, sentence in BAD])
def test_bad_forms_are_each_one_sentence(door, sentence):
    with pytest.raises(ValueError) as caught:
        door()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


LATE = [
    ({"rulez": "otsu()"}, "unknown option of MaskBatch 'rulez': did you mean 'rule'?"),
    ({"rule": "mean_std(k=)"}, "cannot read the threshold 'mean_std(k=)'"),
    ({"fill": "mea"}, "did you mean 'mean'"),
    ({"source": "xgradcan"}, "did you mean 'xgradcam'"),
    ({"source": "given"}, "masks that are given need no model"),
    ({"std": (1, 0, 1)}, "std must be three numbers above 0"),
    ({"mean": (0, 0)}, "mean must be three numbers, one per channel"),
    ({"mean": "imagenet"}, "mean must be three numbers, one per channel"),
]


@pytest.mark.parametrize("options, sentence", LATE, ids=[str(options) for options, _ in LATE])
def test_options_of_callbacks_are_checked_when_they_are_made(options, sentence):
    for make in (
        lambda: MaskCallback(None, after=20, **options),
        lambda: MaskCallback(small(), **SCALE | options),
        lambda: MaskTrainerCallback(small(), **SCALE | options),
        lambda: MaskHook(small(), **SCALE | options),
    ):
        with pytest.raises(ValueError) as caught:
            make()
        assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_the_trainers_callback_asks_for_the_name_of_the_images():
    with pytest.raises(ValueError, match="image must be the name by which the network calls its images, got 0"):
        MaskTrainerCallback(small(), image=0, **SCALE)


# Lightning


def lightning_module(kind):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.seen, self.validated = small(), [], []

        def forward(self, images):
            return self.network(images)

        def training_step(self, batch, batch_idx):
            images, labels = (batch["image"], batch["label"]) if kind is dict else batch
            self.seen.append(images.clone())
            return F.cross_entropy(self(images), labels)

        def validation_step(self, batch, batch_idx):
            self.validated.append((batch["image"] if kind is dict else batch[0]).clone())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    return Module()


def lightning_trainer(callback, epochs=2, **options):
    import lightning

    options = {"logger": False, "enable_checkpointing": False} | options
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[callback], **quiet, **options)


def test_a_module_that_cannot_be_masked_is_refused_before_its_plain_epochs():
    module = lightning_module(tuple)
    with pytest.raises(ValueError, match="needs a Classifier, or mean= and std= of the images that Module is trained"):
        lightning_trainer(MaskCallback(after=1)).fit(module, lightning_loader(tuple))
    assert module.seen == []


def lightning_loader(kind):
    images, labels = batches()
    pairs = (
        [{"image": i, "label": y} for i, y in zip(images, labels, strict=True)]
        if kind is dict
        else TensorDataset(images, labels)
    )
    return DataLoader(pairs, 8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [list, dict])
def test_lightning_trains_on_masked_batches_from_the_epoch_that_was_asked_for(kind):
    module, loader, images = lightning_module(kind), lightning_loader(kind), batches()[0]
    callback = MaskCallback(after=1, **SCALE)
    lightning_trainer(callback).fit(module, loader, loader)
    plain, masked = torch.cat(module.seen[:4]), torch.cat(module.seen[4:])
    assert torch.equal(plain, images) and blackened(masked, images) > 0.005
    assert torch.equal(torch.cat(module.validated[:4]), images) and torch.equal(torch.cat(module.validated[4:]), images)
    assert torch.equal(batches()[0], images) and callback.mask.model is not module
    assert not any(p.requires_grad for p in callback.mask.model.parameters())


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_lightning_training_masks_with_the_copy_it_began_with(tmp_path):
    callback, loader = MaskCallback(after=1, **SCALE), lightning_loader(list)
    trainer = lightning_trainer(callback)
    trainer.fit(lightning_module(list), loader)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    kept = callback.mask.model.network.state_dict()
    again, module = MaskCallback(after=1, **SCALE), lightning_module(list)
    lightning_trainer(again, epochs=3).fit(module, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert len(module.seen) == 4 and blackened(module.seen[0], batches()[0][:8]) > 0
    for name, value in again.mask.model.network.state_dict().items():
        assert torch.equal(value, kept[name])


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_callback_of_a_trained_network_leaves_it_alone_and_goes_to_other_processes():
    network = small()
    before = everything_of(network)
    callback = MaskCallback(network, **SCALE)
    module = lightning_module(list)
    lightning_trainer(callback, epochs=1).fit(module, lightning_loader(list))
    assert_untouched(network, before)
    assert blackened(torch.cat(module.seen), batches()[0]) > 0.005
    again = pickle.loads(pickle.dumps(MaskCallback(network, after=2, **SCALE)))
    assert again.after == 2 and isinstance(again, type(callback))


# Hugging Face


def vision_transformer():
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTForImageClassification(ViTConfig(image_size=28, patch_size=7, num_labels=2, **sizes))


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trains_on_masked_images_and_evaluates_on_whole_ones(tmp_path):
    from accelerate.state import AcceleratorState
    from transformers import Trainer, TrainingArguments

    images, labels = batches()
    rows = [{"pixel_values": i, "labels": y} for i, y in zip(images, labels, strict=True)]
    model, seen = vision_transformer(), []
    hooks = everything_of(model)[3]
    network = copy.deepcopy(model)
    before = everything_of(network)
    callback = MaskTrainerCallback(network, **SCALE)
    options = {
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "num_train_epochs": 2,
        "eval_strategy": "epoch",
    }
    arguments = TrainingArguments(
        output_dir=tmp_path, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, **options
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback])
    known = dict(AcceleratorState._shared_state)
    inner = model.vit.embeddings.register_forward_pre_hook(
        lambda module, inputs, named: seen.append((model.training, (inputs or list(named.values()))[0].clone())),
        with_kwargs=True,
    )
    trainer.train()
    inner.remove()
    trained = [pixels for training, pixels in seen if training]
    evaluated = [pixels for training, pixels in seen if not training]
    assert len(trained) == 8 and len(evaluated) == 8
    every = {round(float(image.double().sum()), 3) for image in images}
    assert all(round(float(image.double().sum()), 3) in every for image in torch.cat(evaluated))
    black = (torch.cat(trained) - BLACK.view(1, 3, 1, 1)).abs().amax(1) < 1e-5
    assert black.float().mean() > 0.005
    assert_untouched(network, before)
    assert everything_of(model)[3] == hooks  # the hook went when training ended
    assert set(AcceleratorState._shared_state) == set(known)


def test_a_hugging_face_callback_that_is_forgotten_masks_no_more():
    model, images = vision_transformer().train(), batches()[0][:4]
    callback = MaskTrainerCallback(model, **SCALE)
    callback.on_train_begin(None, None, None, model=model)
    with torch.no_grad():
        masked = model(pixel_values=callback.mask(images)).logits
        assert torch.equal(model(pixel_values=images).logits, model(images).logits)
        whole = model.eval()(pixel_values=images).logits
        callback.remove()
        assert torch.equal(model(pixel_values=images).logits, whole) and not torch.equal(masked, whole)
    callback.on_train_begin(None, None, None, model=model)
    del callback
    with torch.no_grad():
        assert torch.equal(model.train()(pixel_values=images).logits, whole)


def test_several_gpus_in_one_process_are_refused():
    callback = MaskTrainerCallback(small(), **SCALE)
    with pytest.raises(ValueError, match="start one process a GPU"):
        callback.on_train_begin(type("Arguments", (), {"n_gpu": 2}), None, None, model=small())


# timm


def test_timms_loader_network_and_mixup_train_on_masked_images(tmp_path):
    import timm
    from PIL import Image
    from timm.data import Mixup, create_dataset, create_loader, resolve_data_config

    generator = torch.Generator().manual_seed(0)
    for label in ("a", "b"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for i in range(4):
            pixels = torch.randint(0, 256, (40, 40, 3), dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(tmp_path / "train" / label / f"{i}.png")
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=2)
    config = resolve_data_config({"input_size": (3, 64, 64)}, model=model)
    data = create_dataset("", root=tmp_path, split="train")
    loader = create_loader(
        data, config["input_size"], 4, is_training=True, use_prefetcher=False, num_workers=0,
        mean=config["mean"], std=config["std"], device=torch.device("cpu"),
    )  # fmt: skip
    hook = MaskHook(model, then=Mixup(num_classes=2), rule=quantile(0.8))  # mean and std are the network's own
    before = everything_of(hook.mask.model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    mixed = []
    hook.then, mixup = (lambda images, targets: (mixed.append(images), mixup(images.clone(), targets))[1]), hook.then
    for inputs, targets in loader:
        masked, soft = hook(inputs, targets)
        black = -torch.tensor(config["mean"]) / torch.tensor(config["std"])
        assert ((mixed[-1] - black.view(1, 3, 1, 1)).abs().amax(1) < 1e-4).float().mean() > 0.01
        assert soft.shape == (4, 2) and masked.shape == inputs.shape
        loss = F.cross_entropy(model(masked), soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(mixed) == 2
    assert_untouched(hook.mask.model, before)


def test_timms_script_can_switch_mixup_off_behind_a_hook():
    from timm.data import Mixup

    hook = MaskHook(small(), then=Mixup(num_classes=2), **SCALE)
    assert hook.mixup_enabled
    hook.mixup_enabled = False
    assert not hook.then.mixup_enabled and not hook.mixup_enabled
    alone = MaskHook(small(), **SCALE)
    alone.mixup_enabled = False
    assert not alone.mixup_enabled and isinstance(alone.mask.model.network, nn.Module)


@pytest.mark.parametrize("source", ["grad-cam", "gradients", "input-x-gradient"])
def test_floats_and_bytes_have_the_same_maps_whatever_the_source(source):
    network, generator = small(), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8, generator=generator)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    on_floats = MaskBatch(network, source=source, rule=quantile(0.8), **SCALE).masks((images / 255 - mean) / std)
    on_bytes = MaskBatch(Classifier(network, MEAN, STD), source=source, rule=quantile(0.8)).masks(images)
    assert (on_floats != on_bytes).float().mean() < 0.005
