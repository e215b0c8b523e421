"Other map sources: on real architectures, against weights read another way, and through the whole method."

import threading

import pytest
import timm
import torch
import torch.nn.functional as F
from captum.attr import InternalInfluence, LayerActivation, LayerGradCam, LayerGradientXActivation
from torch import nn
from torchvision.models import VisionTransformer

from masktune.data import ArrayDataset
from masktune.finetune import MaskTune
from masktune.layers import find_target_layer
from masktune.masking import MaskBatch, MaskedDataset, Threshold
from masktune.models import CifarResNet, Classifier, build_model
from masktune.saliency import SaliencyMaps, compute_saliency
from masktune.sources import SOURCES, _recorded_attention, attention_rollout, make_source
from masktune.xgradcam import LayerXGradCam


def made(count=12, size=32):
    images = torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return ArrayDataset(images, [i % 2 for i in range(count)], ["a", "b"], name="made", split="train")


def small_vit():
    torch.manual_seed(0)
    vit = VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=2
    )
    nn.init.normal_(vit.heads.head.weight)  # torchvision starts it at zero
    return Classifier(vit).eval()


def test_attention_is_what_the_layers_themselves_report():
    vit, images, reported = small_vit(), made().images[:3], []
    handles = []
    for module in vit.modules():
        if isinstance(module, nn.MultiheadAttention):
            handles.append(
                module.register_forward_pre_hook(
                    lambda m, a, k: (a, k | {"need_weights": True, "average_attn_weights": False}), with_kwargs=True
                )
            )
            handles.append(module.register_forward_hook(lambda m, a, out: reported.append(out[1])))
    with torch.no_grad():
        plain = vit(images)
    for handle in handles:
        handle.remove()
    with torch.no_grad(), _recorded_attention() as recorded:
        scores = vit(images)
    torch.testing.assert_close(scores, plain, atol=1e-5, rtol=1e-4)
    assert len(recorded) == len(reported) == 3
    for ours, theirs in zip(recorded, reported, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    maps = compute_saliency(
        vit, ArrayDataset(images, [0, 1, 0], ["a", "b"]), source="attention-rollout", device="cpu", progress=False
    )
    expected = attention_rollout(reported)[:, 0, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(maps.maps.float() * maps.scale[:, None, None], expected, atol=1e-3, rtol=2e-3)


def test_attention_of_another_thread_is_left_alone():
    query, seen = torch.rand(1, 1, 4, 8), []
    with _recorded_attention() as weights:
        other = threading.Thread(target=lambda: seen.append(F.scaled_dot_product_attention(query, query, query)))
        other.start()
        other.join()
        assert weights == []
        ours = F.scaled_dot_product_attention(query, query, query)
        assert len(weights) == 1
    torch.testing.assert_close(ours, seen[0])


@pytest.mark.parametrize("source", ["attention-rollout", "attention-gradient", "gradients"])
@pytest.mark.parametrize(
    "make", [small_vit, lambda: timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=32)]
)
def test_vision_transformers(make, source):
    torch.manual_seed(0)
    data = made(6)
    maps = compute_saliency(make(), data, source=source, device="cpu", progress=False)
    assert maps.source == source and (maps.maps >= 0).all() and maps.maps.amax((1, 2)).min() == 1
    again = compute_saliency(make(), data.subset(range(2)), source=source, device="cpu", progress=False)
    assert maps.maps.shape[1:] == again.maps.shape[1:]


def test_what_has_no_such_attention_is_refused():
    swin = build_model("swin_t", 2)
    with pytest.raises(ValueError, match="SwinTransformer gives no tokens"):
        compute_saliency(swin, made(2, 64), source="attention-rollout", device="cpu", progress=False)
    with pytest.raises(ValueError, match="gives no tokens: choose xgradcam"):
        compute_saliency(CifarResNet(2, blocks=1), made(2), source="attention-gradient", device="cpu", progress=False)
    with pytest.raises(ValueError, match="'deeplift' does not work on ResNet"):
        compute_saliency(build_model("resnet18", 2), made(2), source="deeplift", device="cpu", progress=False)


@pytest.mark.parametrize("source", [s for s in SOURCES if not s.startswith("attention")])
def test_every_source_goes_all_the_way(source, tmp_path):
    torch.manual_seed(0)
    data = made(24)
    run = MaskTune(
        CifarResNet(2, blocks=1, width=4),
        epochs=1,
        batch_size=8,
        source=source,
        rule="quantile(0.8)",
        device="cpu",
        progress=False,
    ).fit(data)
    maps = run.rounds_[0].maps
    assert maps.source == source and maps.maps.shape[1] == (8 if source in ("xgradcam", "grad-cam") else 32)
    stored = SaliencyMaps.load(maps.save(tmp_path / "maps.safetensors"))
    assert stored.source == source
    on_device = MaskBatch(run.erm_, None, Threshold.parse(run.rule), source=source)(data.images[:8])
    masked = torch.stack(
        [sample.image for sample in MaskedDataset(data, stored, Threshold.parse(run.rule)).__getitems__(list(range(8)))]
    )
    assert ((on_device == 0) == (masked == 0)).float().mean() > 0.98  # but for maps rounded to half floats
    with pytest.raises(ValueError, match="made with model"):
        stored.check(data, CifarResNet(2, blocks=1, width=4))


class Last(nn.Module):
    "The same features, handed on as (B, C, h, w), as (B, h, w, C) or as tokens"

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.form, self.head = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.ReLU()), Form(form), nn.Linear(12, 2)

    def forward(self, x):
        x = self.form(self.stem(x))
        return self.head(x.mean({"first": (2, 3), "last": (1, 2), "tokens": 1}[self.form.form]))


class Form(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        if self.form == "first":
            return x * 2
        return 2 * (x.permute(0, 2, 3, 1) if self.form == "last" else x.flatten(2).transpose(1, 2))


def explained(form, source, layer="form"):
    return compute_saliency(Classifier(Last(form)), made(6), layer, source, device="cpu", progress=False)


@pytest.mark.parametrize("form", ["last", "tokens"])
@pytest.mark.parametrize(
    "source", ["xgradcam", "grad-cam", LayerGradCam, LayerActivation, LayerGradientXActivation, InternalInfluence]
)
def test_channels_last_layers_and_tokens_give_the_maps_of_channels_first(form, source):
    expected, found = explained("first", source), explained(form, source)
    assert found.maps.shape == (6, 8, 8) and found.maps.any()
    torch.testing.assert_close(found.maps.float(), expected.maps.float(), atol=2e-3, rtol=0)


def test_grad_cam_is_captums_where_channels_come_first():
    model, images = Classifier(Last("first")).eval(), made(6).images
    theirs = F.relu(
        LayerGradCam(model, model.network.form).attribute(images / 255, target=model(images).argmax(1))[:, 0]
    )
    ours = explained("first", "grad-cam")
    torch.testing.assert_close(
        ours.maps.float() * ours.scale[:, None, None], theirs.detach(), atol=1e-3 * float(theirs.max()), rtol=1e-3
    )


def test_swin_gets_its_last_grid_from_every_layer_source():
    torch.manual_seed(0)
    swin, data = (
        timm.create_model("swin_tiny_patch4_window7_224", num_classes=2, img_size=64, window_size=2),
        made(2, 64),
    )
    for source in ("xgradcam", "grad-cam", LayerGradientXActivation):
        maps = compute_saliency(Classifier(swin), data, source=source, device="cpu", progress=False)
        assert maps.maps.shape == (2, 2, 2), (source, maps.layer)


class Lossy(LayerActivation):
    "A layer attribution that does not keep the layer's places"

    def attribute(self, *args, **options):
        return super().attribute(*args, **options).flatten(1)


def test_attributions_without_places_are_refused():
    for form in ("first", "last", "tokens"):
        with pytest.raises(ValueError, match=r"source Lossy gives .* at layer 'network.form', which is no grid"):
            explained(form, Lossy)


def test_every_source_is_made_by_its_name():
    "xgradcam too: who needs maps batch by batch asks one door"
    data, vit = made(), small_vit()
    layer = find_target_layer(vit, data.images[:1])
    for name in SOURCES:
        if name in ("deeplift", "guided-backprop"):  # hook into ReLUs, of which a ViT has none
            continue
        explain, called = make_source(name, vit, layer)
        maps, scores = explain(data.images, None)
        assert called == name and len(maps) == len(data) and (maps >= 0).all() and scores.shape == (len(data), 2)
    maps, _ = make_source("xgradcam", vit, layer)[0](data.images, None)
    torch.testing.assert_close(maps, LayerXGradCam(vit, layer).attribute(data.images)[:, 0])
