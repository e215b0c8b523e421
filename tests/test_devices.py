"""What runs on a second device must keep to it: shown with a pretended one everywhere, and on a real one where there
is one."""

import pytest
import torch

from masktune.counterfactuals import MovedMasks, RandomMask, random_square_mask
from masktune.data import ArrayDataset
from masktune.layers import find_target_layer, grid_layers
from masktune.masking import FILLS, MaskBatch, MaskedDataset, fixed, hide, mean_std, otsu, quantile
from masktune.models import Classifier, build_model
from masktune.saliency import compute_saliency
from masktune.sources import make_source
from masktune.xgradcam import LayerXGradCam

RULES = [mean_std(1.0), quantile(0.8), fixed(0.3), otsu()]
SOURCES = ["xgradcam", "grad-cam", "gradients", "input-x-gradient"]


def made(count=6):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 28, 28), dtype=torch.uint8)
    return ArrayDataset(images, [i % 2 for i in range(count)], ["a", "b"], mean=(0.2,) * 3, std=(0.3,) * 3)


def classifier():
    torch.manual_seed(1)
    return Classifier(build_model("small-cnn", 2), (0.2,) * 3, (0.3,) * 3).eval()


def test_the_pretended_device_fails_where_a_real_one_would(second_device):
    there, here = torch.rand(3).to(second_device.device), torch.rand(3)
    assert there.device.type == "mps" and here.device.type == "cpu" and there.cpu().device.type == "cpu"
    for wrong in (
        lambda: there + here,
        lambda: torch.where(there > 0, there, here),
        lambda: here[there.long()],
        lambda: torch.cat([here, there]),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    for wrong in (
        lambda: there.numpy(),
        lambda: there.double(),
        lambda: torch.zeros(2, dtype=torch.float64, device="mps"),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device="mps", generator=torch.Generator())
    assert (there * 2 + torch.tensor(1.0))[torch.tensor([0, 2])].device.type == "mps"
    model = torch.nn.Linear(3, 2).to("mps")
    assert model.weight.device.type == "mps" and model(there).device.type == "mps"
    with pytest.raises(RuntimeError, match="same device"):
        model(here)
    assert model.cpu()(here).device.type == "cpu"


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_stay_on_the_maps_device(rule, second_device):
    maps = torch.rand(4, 7, 7)
    there = rule(maps.to("mps"), (28, 28))
    assert there.device.type == "mps" and second_device.operations
    assert torch.equal(there.cpu(), rule(maps, (28, 28)))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("index", [None, [3, 1, 4, 1, 5, 9]])
def test_fills_stay_on_the_images_device(fill, index, second_device):
    images, mask = made().images, random_square_mask(6, (28, 28))
    there = hide(images.to("mps"), mask.to("mps"), fill, index=index)
    assert there.device.type == "mps" and torch.equal(there.cpu(), hide(images, mask, fill, index=index))
    # a mask from the host follows
    assert torch.equal(hide(images.to("mps"), mask, fill, index=index).cpu(), there.cpu())


def test_random_squares_are_drawn_on_the_images_device(second_device):
    masked = RandomMask(fill="mean")(made().images.to("mps"))
    assert masked.device.type == "mps" and random_square_mask(3, (28, 28), device="mps").device.type == "mps"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fill", ["zero", "noise"])
def test_masks_made_on_the_device_follow_the_batch(source, fill, second_device):
    images = made().images
    batch = MaskBatch(classifier(), None, quantile(0.8), fill, source)
    there = batch(images.to("mps"))
    assert there.device.type == "mps" and batch.model.mean.device.type == "mps"
    here = MaskBatch(classifier(), None, quantile(0.8), fill, source)(images)
    assert torch.equal(there.cpu(), here) and torch.equal(batch(images), here)  # and back again


@pytest.mark.parametrize("source", [*SOURCES, "deeplift"])
def test_sources_and_layers_stay_on_the_models_device(source, second_device):
    model, images = classifier().to("mps"), made().images.to("mps")
    layer = find_target_layer(model, images)
    assert len(grid_layers(model, images)) == 4
    if source == "xgradcam":
        maps = LayerXGradCam(model, layer).attribute(images, target=torch.tensor([0] * 6).to("mps"))
    else:
        maps, scores = make_source(source, model, layer)[0](images, None)
        assert scores.device.type == "mps"
    assert maps.device.type == "mps"


class OnSecondDevice:
    "One process whose device is the pretended one"

    device, mixed_precision, is_main_process, num_processes = torch.device("mps"), "no", True, 1

    def prepare(self, loader):
        for batch in loader:
            yield type(batch)(*(value.to("mps") for value in batch))

    def autocast(self):
        return torch.autocast("cpu", enabled=False)

    def gather_for_metrics(self, values):
        return values

    def wait_for_everyone(self):
        pass


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["predicted", "label"])
def test_a_pass_over_a_data_set_ends_on_the_host(source, target, second_device):
    data, model, process = made(), classifier(), OnSecondDevice()
    maps = compute_saliency(model, data, source=source, target=target, accelerator=process, progress=False)
    assert second_device.operations
    assert maps.maps.device.type == "cpu" and maps.scale.device.type == "cpu"
    for masked in (MaskedDataset(data, maps, fill="noise"), MovedMasks(data, maps, fill="blur")):
        assert masked[0].image.device.type == "cpu"
    here = compute_saliency(model, data, source=source, target=target, device="cpu", progress=False)
    torch.testing.assert_close(maps.maps.float(), here.maps.float(), atol=2e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("source", SOURCES)
def test_a_real_gpu_gives_the_same_maps_and_masks(source, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # ten bits of mantissa would turn some gates
    data, model = made(), classifier()
    here = compute_saliency(model, data, source=source, device="cpu", progress=False)
    there = compute_saliency(model, data, source=source, device="cuda", progress=False)
    torch.testing.assert_close(there.maps.float(), here.maps.float(), atol=2e-2, rtol=0)
    images = data.images.cuda()
    masked = MaskBatch(model, None, quantile(0.8), "noise", source)(images)
    assert masked.is_cuda and masked.shape == images.shape


@pytest.mark.gpu
def test_noise_on_a_real_gpu_is_the_hosts():
    images, mask = made().images, random_square_mask(6, (28, 28))
    there, here = hide(images.cuda(), mask, "noise").cpu(), hide(images, mask, "noise")
    # the logarithm and cosine of two processors round differently
    assert ((there.int() - here.int()).abs() <= 1).all()
