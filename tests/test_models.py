"""Which layer is explained, how images are normalised, and what counts as class scores: on every kind of network at
hand."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from masktune.data import IMAGENET_MEAN, IMAGENET_STD, ArrayDataset
from masktune.layers import TargetLayer, find_target_layer, grid_layers, named_layer
from masktune.models import Classifier, as_classifier, build_model, normalisation_of, scores_of
from masktune.saliency import compute_saliency
from masktune.xgradcam import LayerXGradCam

# One small architecture per family of timm, the side of its images, and the grid its last features stand on.
FAMILIES = {
    "resnet18": (64, 2),
    "densenet121": (64, 2),
    "efficientnet_lite0": (64, 2),
    "tinynet_e": (106, 4),
    "mobilenetv3_small_050": (64, 2),
    "mobilenetv4_conv_small": (64, 2),
    "regnety_002": (64, 2),
    "repvgg_a0": (64, 2),
    "ghostnet_050": (64, 2),
    "convnext_atto": (64, 2),
    "inception_next_atto": (64, 2),
    "nf_resnet26": (64, 2),
    "hgnetv2_b0": (64, 2),
    "starnet_s1": (64, 2),
    "poolformer_s12": (64, 2),
    "convformer_s18": (64, 2),
    "mambaout_femto": (64, 2),
    "mobilevit_xxs": (64, 2),
    "edgenext_xx_small": (64, 2),
    "fastvit_t8": (64, 2),
    "pvt_v2_b0": (64, 2),
    "swin_tiny_patch4_window7_224": (224, 7),
    "levit_128s": (224, 4),
    "vit_tiny_patch16_224": (224, 14),
    "deit_tiny_distilled_patch16_224": (224, 14),
    "eva02_tiny_patch14_224": (224, 16),
    "mixer_s32_224": (224, 7),
    "gmlp_ti16_224": (224, 14),
    "xcit_nano_12_p16_224": (224, 14),
    "hiera_tiny_224": (224, 7),
    "efficientvit_m0": (224, 4),
    "tiny_vit_5m_224": (224, 7),
}


def with_a_head(network):
    "Some networks start with a head of zeros, for which every map is rightly empty"
    for parameter in network.parameters():
        if parameter.ndim == 2 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return network.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_families_are_explained_on_their_last_grid(name, caplog):
    size, side = FAMILIES[name]
    torch.manual_seed(0)
    network = with_a_head(timm.create_model(name, num_classes=5))
    images = torch.rand(2, 3, size, size)
    layer = find_target_layer(network, images)
    saliency = LayerXGradCam(network, layer).attribute(images, relu_attributions=False)
    assert saliency.shape == (2, 1, side, side), (layer.spelled, saliency.shape)
    assert torch.isfinite(saliency).all() and saliency.flatten(1).any(1).all()
    assert not caplog.records, caplog.text  # no later layer was passed over


def hugging_face():
    "Tiny networks of Hugging Face's classes with random weights, and the side of their last grid on 64 pixels"
    import transformers as hf

    vit = dict(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=64, patch_size=8
    )
    stages = dict(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 40])
    swin = dict(image_size=64, patch_size=2, embed_dim=16, depths=[1, 1, 2], num_heads=[1, 2, 4], window_size=4)
    return {
        "ViT": (hf.ViTForImageClassification, hf.ViTConfig(**vit), 8),
        "DeiT": (hf.DeiTForImageClassification, hf.DeiTConfig(**vit), 8),
        "Dinov2": (hf.Dinov2ForImageClassification, hf.Dinov2Config(**vit), 8),
        "Beit": (hf.BeitForImageClassification, hf.BeitConfig(**vit), 8),
        "Swin": (hf.SwinForImageClassification, hf.SwinConfig(**swin), 8),
        "Swinv2": (hf.Swinv2ForImageClassification, hf.Swinv2Config(**swin), 8),
        "ConvNext": (hf.ConvNextForImageClassification, hf.ConvNextConfig(**stages), 2),
        "ResNet": (hf.ResNetForImageClassification, hf.ResNetConfig(embedding_size=8, **stages), 2),
        "Segformer": (
            hf.SegformerForImageClassification,
            hf.SegformerConfig(num_attention_heads=[1, 1, 2, 2], **stages),
            2,
        ),
        "PoolFormer": (hf.PoolFormerForImageClassification, hf.PoolFormerConfig(**stages), 2),
    }


@pytest.mark.parametrize(
    "name", ["ViT", "DeiT", "Dinov2", "Beit", "Swin", "Swinv2", "ConvNext", "ResNet", "Segformer", "PoolFormer"]
)
@pytest.mark.parametrize("source", ["xgradcam", "grad-cam"])
def test_hugging_face_networks_go_all_the_way(name, source, caplog):
    pytest.importorskip("transformers")
    kind, config, side = hugging_face()[name]
    torch.manual_seed(0)
    network = with_a_head(kind(config))
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    data = ArrayDataset(images, [0, 1] * 3, ["a", "b"])
    maps = compute_saliency(Classifier(network), data, source=source, device="cpu", progress=False)
    assert maps.maps.shape == (6, side, side), (maps.layer, maps.maps.shape)
    layer = named_layer(network, maps.layer.removeprefix("network."), images / 255)
    both_signs = LayerXGradCam(network, layer).attribute(images / 255, relu_attributions=False)
    # with random weights all may speak against the class: an empty map, rightly
    assert both_signs.flatten(1).any(1).all()
    assert "passed over" not in caplog.text


class Outputs(nn.Module):
    "A small network whose layer and scores come in other containers"

    def __init__(self, pack=lambda x: x, give=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.pack, self.give = Packed(pack), give
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.pack(self.features(x))
        x = next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, (tuple, list)) else x
        return self.give(self.head(x.mean((2, 3))))


class Packed(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.pack = pack

    def forward(self, x):
        return self.pack(x * 1.5)


@pytest.mark.parametrize(
    "pack",
    [
        lambda x: (x,),
        lambda x: [x],
        lambda x: {"hidden": x},
        lambda x: (x, None),
        lambda x: {"hidden": x, "mask": None},
    ],
)
def test_a_layer_may_give_its_tensor_in_a_container(pack):
    plain, packed, images = Outputs().eval(), Outputs(pack).eval(), torch.rand(2, 3, 16, 16)
    expected = LayerXGradCam(plain, plain.pack).attribute(images)
    torch.testing.assert_close(LayerXGradCam(packed, packed.pack).attribute(images), expected)
    assert find_target_layer(packed, images).name == "pack"
    assert named_layer(packed, "pack", images).reshape is None


def test_a_layer_with_several_tensors_is_refused_by_name_of_what_it_gives():
    network = Outputs(lambda x: (x, x + 1))
    with pytest.raises(ValueError, match="one float tensor, got tuple of Tensor, Tensor"):
        LayerXGradCam(network, network.pack).attribute(torch.rand(1, 3, 16, 16))


def model_output(scores):
    return pytest.importorskip("transformers.modeling_outputs").ImageClassifierOutput(logits=scores)


@pytest.mark.parametrize(
    "give", [lambda s: (s,), lambda s: [s, s], lambda s: {"logits": s, "features": torch.rand(len(s), 9)}, model_output]
)
def test_a_model_may_give_its_scores_in_a_container(give):
    plain, packed, images = Outputs().eval(), Outputs(give=give).eval(), torch.rand(2, 3, 16, 16)
    layer = find_target_layer(packed, images)
    assert layer.name == find_target_layer(plain, images).name
    torch.testing.assert_close(
        LayerXGradCam(packed, layer).attribute(images), LayerXGradCam(plain, plain.pack).attribute(images)
    )
    assert len(grid_layers(packed, images)) == 1
    torch.testing.assert_close(Classifier(packed)(images), plain(images))


def test_a_model_without_scores_is_told_so():
    network = Outputs(give=lambda s: (s, torch.rand(len(s), 9)))
    for call in (
        Classifier(network),
        lambda x: find_target_layer(network, x),
        LayerXGradCam(network, network.pack).attribute,
    ):
        with pytest.raises(ValueError, match=r"tuple \(0 \(1, 3\), 1 \(1, 9\)\), and which of it are class scores"):
            call(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match="no float tensor"):
        scores_of(None)


class Functional(nn.Module):
    "As many write theirs: convolutions, and activations as functions"

    def __init__(self, activation=F.relu):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3)
        self.norm, self.head, self.activation = nn.BatchNorm2d(8), nn.Linear(8, 3), activation

    def forward(self, x):
        x = F.max_pool2d(self.activation(self.conv1(x)), 2)
        return self.head(self.activation(self.norm(self.conv2(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "activation",
    [F.relu, lambda x: F.relu(x, inplace=True), F.silu, torch.relu, lambda x: x.relu_(), F.gelu, nn.ReLU()],
)
def test_an_activation_that_follows_as_a_function_is_taken_in(activation):
    network, images = Functional(activation).eval(), torch.rand(2, 3, 20, 20)
    layer = find_target_layer(network, images)
    assert layer.spelled == "norm:activated"
    with torch.no_grad():
        value = activation(network.norm(network.conv2(F.max_pool2d(activation(network.conv1(images)), 2))))
    value.requires_grad_()
    scores = network.head(value.mean((2, 3)))
    gradient = torch.autograd.grad(scores.max(1).values.sum(), value)[0]
    weights = (gradient * value).sum((2, 3), keepdim=True) / (value.sum((2, 3), keepdim=True) + 1e-7)
    expected = F.relu((weights * value).sum(1, keepdim=True))
    torch.testing.assert_close(LayerXGradCam(network, layer).attribute(images), expected)
    again = named_layer(network, layer.spelled, images)
    assert again.activated and again.module is network.norm
    before = LayerXGradCam(network, network.norm).attribute(images)  # a layer that is given means its output
    assert not torch.allclose(before, expected)


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradient * gate * (1 + x * (1 - gate))


class SharedSwish(nn.Module):
    "As EfficientNet was published for PyTorch: one module for every activation, a function of its own inside"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.swish, self.pool = (
            nn.Conv2d(3, 6, 3, 2),
            nn.BatchNorm2d(6),
            SwishModule(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head_conv, self.head_bn, self.head = nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.swish(self.bn(self.conv(x)))
        return self.head(self.pool(self.swish(self.head_bn(self.head_conv(x)))).flatten(1))


class SwishModule(nn.Module):
    def forward(self, x):
        return Swish.apply(x)


def test_what_enters_the_next_module_is_explained_where_no_module_gives_it_alone():
    network, images = SharedSwish().eval(), torch.rand(2, 3, 20, 20)
    layer = find_target_layer(network, images)
    assert layer.spelled == "pool:input" and layer.at_input
    given = LayerXGradCam(network, layer).attribute(images)
    torch.testing.assert_close(
        given, LayerXGradCam(network, network.pool).attribute(images, attribute_to_layer_input=True)
    )
    assert given.shape == (2, 1, 9, 9)
    data = ArrayDataset((images * 255).byte(), [0, 1], ["a", "b"])
    for source in ("xgradcam", "grad-cam"):
        found = compute_saliency(Classifier(network), data, source=source, device="cpu", progress=False)
        named = compute_saliency(Classifier(network), data, found.layer, source, device="cpu", progress=False)
        assert found.layer == "network.pool:input" and torch.equal(found.maps, named.maps)


class SideDoor(nn.Module):
    "What enters `left` also goes past it: a cut there would explain half of the evidence"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.left, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(12, 3)

    def forward(self, x):
        x = Swish.apply(self.conv(x))
        return self.head(torch.cat([self.left(x).mean((2, 3)), x.amax((2, 3))], 1))


def test_an_input_that_others_read_too_is_no_target():
    assert find_target_layer(SideDoor().eval(), torch.rand(1, 3, 12, 12)).spelled == "left"
    with pytest.raises(ValueError, match="may end in ':input' or ':activated'"):
        named_layer(SideDoor(), "left:output", torch.rand(1, 3, 12, 12))
    with pytest.raises(ValueError, match="not followed by an activation"):
        named_layer(SideDoor(), "left:activated", torch.rand(1, 3, 12, 12))


class Unreadable(nn.Module):
    "Its last features stand on 5 x 11 places, which are no grid of a square image's"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.strange, self.head = nn.Conv2d(3, 6, 3, 2), Strange(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.strange(F.relu(self.conv(x))).mean((2, 3)))


class Strange(nn.Module):
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, (5, 11))


def test_a_later_layer_that_was_passed_over_is_named_with_the_reason(caplog):
    layer = find_target_layer(Unreadable().eval(), torch.rand(1, 3, 20, 20))
    assert layer.spelled == "strange:input"  # what enters it still has the places
    assert "strange (its output (1, 6, 5, 11) is no grid of the image's places)" in caplog.text


def test_diverged_weights_are_named_and_not_the_layer():
    images = torch.rand(1, 3, 28, 28)
    network = build_model("small-cnn", 2)
    with torch.no_grad():
        network.features[0].weight.fill_(float("nan"))
    for search in (find_target_layer, grid_layers):
        with pytest.raises(ValueError, match="scores of SmallCNN are not finite"):
            search(network, images)
    dead = build_model("small-cnn", 2)
    with torch.no_grad():
        dead.classifier[2].weight.zero_()
        dead.classifier[2].bias.fill_(-1.0)
    with pytest.raises(ValueError, match="scores of SmallCNN are the same for every image"):
        find_target_layer(dead, images)


def test_a_head_of_zeros_is_no_reason_to_find_no_layer():
    network = build_model("small-cnn", 2)
    with torch.no_grad():
        network.classifier[-1].weight.zero_()
    assert find_target_layer(network, torch.rand(1, 3, 28, 28)).name == "features.12"


def some_data(**meta):
    return ArrayDataset(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), [0, 1] * 2, ["a", "b"], **meta)


def test_timms_own_normalisation_wins_and_is_said_once(caplog):
    # trained with one half everywhere
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=2)
    model = as_classifier(network, some_data(mean=IMAGENET_MEAN, std=IMAGENET_STD))
    as_classifier(network, some_data())
    assert model.mean.flatten().tolist() == [0.5] * 3 == model.std.flatten().tolist()
    assert model.normalisation_source == "its pretrained_cfg"
    assert caplog.text.count("as its pretrained_cfg says, not as the data set says") == 1


def test_the_data_sets_normalisation_is_the_fallback_and_is_said_once(caplog):
    network, data = Outputs(), some_data(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = as_classifier(network, data)
    compute_saliency(network, data, device="cpu", progress=False)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(IMAGENET_MEAN))
    assert model.normalisation_source == "the data set"
    assert caplog.text.count("Outputs does not say how it wants images") == 1


@pytest.mark.parametrize("name", ["small-cnn", "cifar-resnet32", "resnet18"])
def test_nothing_is_said_about_networks_built_here(name, caplog):
    model = as_classifier(build_model(name, 2), some_data(mean=IMAGENET_MEAN, std=IMAGENET_STD))
    assert model.normalisation_source == "the data set" and not caplog.records


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch):
    from urllib.error import URLError

    from torchvision import models

    def unreachable(name, weights=None, **options):
        raise URLError("no route")

    monkeypatch.setattr(models, "get_model", unreachable)
    with pytest.raises(ValueError, match=r"weights of resnet18 .* \(no route\): begin without .*--no-pretrained"):
        build_model("resnet18", 2, pretrained=True)


def test_pretrained_weights_bring_their_normalisation(monkeypatch):
    from torchvision import models

    make = models.get_model
    # no download
    monkeypatch.setattr(models, "get_model", lambda name, weights=None, **options: make(name, weights=None, **options))
    model = as_classifier(build_model("resnet18", 2, pretrained=True), some_data())
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(IMAGENET_MEAN))
    torch.testing.assert_close(model.std.flatten(), torch.tensor(IMAGENET_STD))
    assert model.normalisation_source == "torchvision's ResNet18_Weights.IMAGENET1K_V1"


def test_a_network_that_normalises_itself_is_left_to_it():
    from torchvision.transforms import Normalize

    network = nn.Sequential(
        Normalize(IMAGENET_MEAN, IMAGENET_STD), nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    data = some_data(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = as_classifier(network, data)
    torch.testing.assert_close(model(data.images), network(data.images / 255))


def test_hugging_faces_image_processor_wins_where_it_lies_here(tmp_path):
    hf = pytest.importorskip("transformers")
    small = dict(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    hf.ViTForImageClassification(hf.ViTConfig(**small)).save_pretrained(tmp_path)
    processor = hf.ViTImageProcessor(
        image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], size={"height": 32, "width": 32}
    )
    without = hf.ViTForImageClassification.from_pretrained(tmp_path)
    assert normalisation_of(without) is None
    given = as_classifier(without, some_data(), processor=processor)
    processor.save_pretrained(tmp_path)
    found = as_classifier(hf.ViTForImageClassification.from_pretrained(tmp_path), some_data())
    image = (torch.rand(3, 32, 32) * 255).byte()
    theirs = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"])
    for model in (given, found):
        torch.testing.assert_close((image[None] / 255 - model.mean) / model.std, theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="has no image_mean"):
        as_classifier(without, some_data(), processor=object())


def test_mean_and_std_are_single_precision_whatever_they_came_as():
    import numpy as np

    model = Classifier(Outputs(), np.array(IMAGENET_MEAN), torch.tensor(IMAGENET_STD, dtype=torch.float64))
    assert model.mean.dtype == model.std.dtype == torch.float32
    with pytest.raises(ValueError, match="std must be above 0"):
        Classifier(Outputs(), std=(0.2, 0.0, 0.2))


PIXELS = torch.randint(0, 256, (3, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.int16, torch.bool])
def test_whole_numbers_other_than_uint8_are_refused(kind):
    model = Classifier(build_model("small-cnn", 2)).eval()
    with pytest.raises(ValueError, match=f"images are {kind}, and a Classifier takes uint8, or floats in 0..1"):
        model(PIXELS.to(kind))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_floats_of_0_to_255_are_refused(kind):
    model = Classifier(build_model("small-cnn", 2)).eval()
    model((PIXELS / 255).to(kind))
    with pytest.raises(ValueError, match=r"images are floats from 0 to 255, and a Classifier takes .*: divide them by"):
        model(PIXELS.to(kind))


def test_floats_that_may_be_meant_are_taken_as_ever():
    model, floats = Classifier(build_model("small-cnn", 2)).eval(), PIXELS / 255
    for images in (floats * 1.3, (floats - 0.5) * 60, floats * 0, floats * float("nan"), floats[:0]):
        assert model(images).shape == (len(images), 2)
    scaled = Classifier(build_model("small-cnn", 2), mean=(120,) * 3, std=(60,) * 3).eval()  # of pixels in 0..255
    assert scaled(PIXELS.float()).shape == (3, 2)


def test_no_value_is_asked_for_where_none_can_be_read():
    model, floats = Classifier(build_model("small-cnn", 2)).eval(), PIXELS / 255
    assert torch.func.vmap(lambda image: model(image[None])[0])(floats * 255).shape == (3, 2)
    assert torch.compile(model, backend="eager", fullgraph=True)(floats).shape == (3, 2)
    assert torch.jit.trace(model, floats)(floats).shape == (3, 2)
    torch.export.export(model, (floats,))
    assert model.to("meta")(floats.to("meta")).shape == (3, 2)


def test_a_target_layer_is_spelled_as_it_is_read():
    network, images = Functional().eval(), torch.rand(1, 3, 20, 20)
    for spelled in ("norm", "norm:activated", "norm:input", "conv2:input"):
        layer = named_layer(network, spelled, images)
        assert isinstance(layer, TargetLayer) and layer.spelled == spelled
        assert named_layer(Classifier(network), spelled, images).spelled == f"network.{spelled}"
