"Properties that every mask and every fill must have, tried on whatever hypothesis thinks of."

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from masktune.counterfactuals import MovedMasks, SwappedDataset, TransplantBatch, random_square_mask
from masktune.data import ArrayDataset, ImageDataset
from masktune.erm import fit
from masktune.faithfulness import faithfulness
from masktune.figures import plot_examples
from masktune.layers import find_target_layer
from masktune.masking import (
    FILLS,
    MaskBatch,
    MaskedDataset,
    Threshold,
    fixed,
    hide,
    mean_std,
    normalize,
    otsu,
    quantile,
)
from masktune.models import Classifier, build_model
from masktune.saliency import SaliencyMaps

settings.register_profile("steady", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("steady")

sides = st.integers(1, 9)
rules = st.one_of(
    st.floats(-3, 6).map(mean_std), st.floats(0.01, 0.99).map(quantile), st.floats(0, 0.99).map(fixed), st.just(otsu())
)


@st.composite
def some_maps(draw):
    h, w, count = draw(sides), draw(sides), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    maps = torch.rand(count, h, w, generator=generator) * 10 ** draw(st.floats(-6, 4))
    return torch.where(torch.rand(count, h, w, generator=generator) < draw(st.floats(0, 0.9)), 0, maps)


@st.composite
def some_images(draw):
    maps = draw(some_maps())
    height, width = draw(st.integers(2, 33)), draw(st.integers(2, 33))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.randint(0, 256, (len(maps), 3, height, width), dtype=torch.uint8, generator=generator), maps


@given(some_maps(), st.floats(-2, 5), st.floats(0, 3))
def test_masks_are_monotone_in_k(maps, k, more):
    small, large = mean_std(k + more)(maps, (17, 13)), mean_std(k)(maps, (17, 13))
    assert not (small & ~large).any()


@given(some_maps(), st.floats(0.05, 0.9), st.floats(0, 0.09))
def test_masks_are_monotone_in_quantile_and_height(maps, strength, more):
    for rule in (quantile, fixed):
        assert not (rule(strength + more)(maps, (17, 13)) & ~rule(strength)(maps, (17, 13))).any()


@given(rules, st.floats(1e-6, 1e6), sides, sides)
def test_a_constant_map_masks_nothing(rule, value, h, w):
    assert not rule(torch.full((1, h, w), value), (19, 23)).any()
    assert not rule(torch.zeros(1, h, w), (19, 23)).any()


@given(rules, some_maps())
def test_no_mask_covers_a_whole_image(rule, maps):
    assert not rule(maps, (12, 20)).flatten(1).all(1).any()


@given(some_maps(), st.floats(1e-5, 1e5))
def test_masks_do_not_depend_on_the_maps_scale(maps, factor):
    a, b = normalize(maps, (16, 16)), normalize(maps * factor, (16, 16))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@given(some_images(), rules)
def test_mask_geometry_follows_the_image(pair, rule):
    "Mirroring map and image mirrors the mask, for odd sizes too"
    images, maps = pair
    size = tuple(images.shape[-2:])
    saliency, mirrored = normalize(maps, size), normalize(maps.flip(2), size).flip(2)
    torch.testing.assert_close(saliency, mirrored, atol=1e-4, rtol=0)
    assert rule(maps, size).shape == (len(images), *size)


def test_a_hot_cell_masks_its_own_place():
    maps = torch.zeros(1, 7, 7)
    maps[0, 2, 5] = 1
    rows, columns = mean_std(0.0)(maps, (91, 70))[0].nonzero().float().mean(0).tolist()
    assert abs(rows - (2.5 * 91 / 7 - 0.5)) < 0.6 and abs(columns - (5.5 * 70 / 7 - 0.5)) < 0.6


@given(some_images(), rules, st.sampled_from(FILLS))
def test_hiding_changes_nothing_visible(pair, rule, fill):
    images, maps = pair
    mask = rule(maps, tuple(images.shape[-2:]))
    hidden = hide(images, mask, fill)
    assert hidden.dtype == torch.uint8 and torch.equal(
        hidden.masked_fill(mask[:, None], 0), images.masked_fill(mask[:, None], 0)
    )
    if fill == "zero":
        assert not hidden.masked_select(mask[:, None].expand_as(images)).any()


@given(some_images(), st.sampled_from(("mean", "blur", "noise")))
def test_fills_do_not_look_under_the_mask(pair, fill):
    images, maps = pair
    mask = mean_std(0.5)(maps, tuple(images.shape[-2:]))
    other = torch.where(mask[:, None], 255 - images, images)
    assert torch.equal(hide(images, mask, fill), hide(other, mask, fill))


def dataset_and_maps(images, maps):
    data = ArrayDataset(images, torch.arange(len(images)) % 2, ["a", "b"])
    return data, SaliencyMaps(
        maps.half(),
        torch.ones(len(maps)),
        torch.zeros(len(maps), dtype=torch.int64),
        torch.ones(len(maps)),
        data=data.fingerprint,
    )


@given(some_images())
def test_masked_dataset_without_a_mask_is_the_identity(pair):
    data, maps = dataset_and_maps(*pair)
    masked = MaskedDataset(data, maps, mean_std(1e6))
    for i in range(len(data)):
        assert torch.equal(masked[i].image, data[i].image) and masked[i][1:] == data[i][1:]


@given(some_images(), rules)
def test_masked_dataset_is_hide_image_by_image(pair, rule):
    images, maps = pair
    data, stored = dataset_and_maps(images, maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-9))
    masked = MaskedDataset(data, stored, rule)
    expected = hide(images, rule(stored.maps, tuple(images.shape[-2:])))
    assert torch.equal(torch.stack([masked[i].image for i in range(len(data))]), expected)
    assert torch.equal(torch.stack([s.image for s in masked.__getitems__(range(len(data)))]), expected)


@given(some_images(), rules)
def test_swapped_images_carry_their_partners_evidence(pair, rule):
    images, maps = pair
    if len(images) < 2:
        return
    data, stored = dataset_and_maps(images, maps)
    swapped = SwappedDataset(data, stored, rule)
    for i in range(len(data)):
        partner, mask = int(swapped.partners[i]), rule(stored[[int(swapped.partners[i])]], tuple(images.shape[-2:]))[0]
        assert data.labels[partner] != data.labels[i]
        assert torch.equal(swapped[i].image[:, mask], images[partner][:, mask])


@given(rules)
def test_a_rule_prints_as_the_code_that_makes_it(rule):
    again = eval(repr(rule), {"mean_std": mean_std, "quantile": quantile, "fixed": fixed, "otsu": otsu})
    assert again.name == rule.name and Threshold.parse(repr(rule)).name == rule.name
    if rule.strength is not None:
        assert abs(again.strength - rule.strength) <= 1e-5 * max(abs(rule.strength), 1e-3)


@given(st.integers(1, 20), st.integers(4, 40), st.integers(4, 40))
def test_random_squares_are_squares(count, height, width):
    masks = random_square_mask(count, (height, width))
    side = masks.any(2).sum(1), masks.any(1).sum(1)
    assert torch.equal(masks.sum((1, 2)), side[0] * side[1]) and masks.flatten(1).any(1).all()
    assert max(side[0].max(), side[1].max()) <= max(round(min(height, width) / 2), 1)


def noisy(kind=MaskedDataset, count=12, **options):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, 20, 20), dtype=torch.uint8, generator=generator)
    data, maps = dataset_and_maps(images, torch.rand(count, 5, 5, generator=generator))
    return kind(data, maps, quantile(0.5), "noise", **options)


def stacked(samples):
    return torch.stack([sample.image for sample in samples])


@pytest.mark.parametrize("kind", [MaskedDataset, SwappedDataset, MovedMasks])
def test_an_image_has_the_same_noise_whenever_it_is_asked_for(kind):
    torch.manual_seed(0)
    masked = noisy(kind)
    at_first = stacked(masked.__getitems__(list(range(12))))
    torch.manual_seed(1)
    assert torch.equal(stacked(masked[i] for i in range(12)), at_first)
    assert torch.equal(stacked(masked.__getitems__([7, 2, 7])), at_first[[7, 2, 7]])
    assert torch.equal(stacked(noisy(kind).__getitems__(list(range(12)))), at_first)
    part = masked.subset([9, 4])
    assert torch.equal(stacked(part[i] for i in range(2)), at_first[[9, 4]])  # renumbered, and still the same images
    assert not torch.equal(stacked(noisy(kind, seed=1).__getitems__(list(range(12)))), at_first)


def test_training_sees_the_noise_that_looking_shows():
    masked, seen = noisy(), {}

    class Watched(ImageDataset):
        def __init__(self):
            super().__init__(masked.labels, masked.classes)

        def __getitems__(self, indices):
            samples = masked.__getitems__(indices)
            for sample in samples:
                seen.setdefault(sample.index, []).append(sample.image)
            return samples

        def _image(self, index):
            return masked[index].image

    network = nn.Sequential(nn.Flatten(), nn.Linear(1200, 2))
    fit(network, Watched(), epochs=2, lr=0.001, batch_size=4, device="cpu", progress=False)
    assert set(seen) == set(range(12))
    for index, images in seen.items():
        assert len(images) == 2 and all(torch.equal(image, masked[index].image) for image in images)


def test_noise_takes_no_random_numbers_from_anybody():
    masked, state = noisy(), torch.random.get_rng_state()
    images = stacked(masked.__getitems__([0, 1, 2]))
    hide(images, random_mask(images), "noise")
    assert torch.equal(torch.random.get_rng_state(), state)


def random_mask(images):
    return torch.rand(len(images), *images.shape[2:], generator=torch.Generator().manual_seed(0)) < 0.5


def test_noise_without_an_index_knows_an_image_by_what_can_be_seen():
    images = noisy().dataset.images
    mask = random_mask(images)
    painted = hide(images, mask, "noise")
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hide(images[order], mask[order], "noise"), painted[order])  # whatever the batch
    covered = torch.where(mask[:, None], 255 - images, images)
    assert torch.equal(hide(covered, mask, "noise"), painted)  # what is hidden does not shine through
    hidden = painted[:, :, mask[0]][:2].float()
    assert not torch.equal(hidden[0], hidden[1])
    with pytest.raises(ValueError, match="index must name each of 12 images"):
        hide(images, mask, "noise", index=[1, 2])


def test_noise_is_noise():
    images = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    images[:, :, ::2] = 100  # mean 114, spread 14
    half = torch.zeros(40, 32, 32, dtype=torch.bool)
    half[:, :, :16] = True
    painted = hide(images, half, "noise", index=torch.arange(40))[..., :16].double()
    # 61,440 draws: four standard errors are 0.23
    assert abs(painted.mean() - 114) < 0.3 and abs(painted.std() - 14) < 0.3
    flat = painted.flatten(1) - painted.mean()
    correlation = (flat @ flat.T / flat.shape[1] / 14**2).fill_diagonal_(0)
    assert correlation.abs().max() < 0.15  # of images with each other: 1,536 pixels, 780 pairs
    columns = flat.view(40, 3, 32, 16)
    for one, other in (
        (columns[..., 1:], columns[..., :-1]),
        (columns[:, :, 1:], columns[:, :, :-1]),
        (columns[:, 1:], columns[:, :-1]),
    ):
        assert abs((one * other).mean() / 14**2) < 0.03  # of neighbours


def test_masks_on_the_device_paint_the_same_noise_each_time():
    torch.manual_seed(0)
    batch, images = (
        MaskBatch(Classifier(build_model("small-cnn", 2)), None, quantile(0.7), "noise"),
        noisy().dataset.images,
    )
    images = torch.nn.functional.pad(images, (4, 4, 4, 4))
    first = batch(images)
    assert torch.equal(batch(images.flip(0)).flip(0), first) and not torch.equal(first, images)


@given(rules)
def test_maps_that_are_not_finite_are_refused_and_not_taken_for_empty(rule):
    maps = torch.rand(3, 5, 5)
    maps[1, 2, 2] = float("nan")
    with pytest.raises(ValueError, match=r"saliency of 1 of 3 images is not finite \(first at 1\)"):
        rule(maps, (10, 10))


def test_rules_take_maps_of_any_size():
    "torch.quantile refuses more than 16 million values; the rule does not use it"
    maps = torch.rand(2, 64, 64)
    assert quantile(0.9)(maps, (4100, 4100)).float().mean() < 0.2


def test_a_layer_found_in_the_bare_network_serves_the_classifier_around_it():
    torch.manual_seed(0)
    network = build_model("small-cnn", 2)
    images = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    found = find_target_layer(network, images / 255)
    expected = MaskBatch(Classifier(network))(images)
    for layer in (found, found.spelled, found.module):
        assert torch.equal(MaskBatch(Classifier(network), layer)(images), expected)


def striped(count=8):
    "Images of two classes and maps that are hot in one corner"
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ArrayDataset(images, [i % 2 for i in range(count)], ["a", "b"])
    hot = torch.zeros(count, 4, 4, dtype=torch.float16)
    hot[:, 0, 0], hot[:, 1, 1] = 1, 0.25
    ones = torch.ones(count)
    return data, SaliencyMaps(hot, ones, ones.long(), ones, data=data.fingerprint)


@pytest.mark.parametrize("kind", [MaskedDataset, SwappedDataset, MovedMasks])
def test_a_rule_given_as_text_is_the_rule(kind):
    data, maps = striped()
    text, rule = kind(data, maps, "quantile(q=0.8)"), kind(data, maps, quantile(0.8))
    assert text.rule == quantile(0.8) and text.fingerprint == rule.fingerprint
    assert all(torch.equal(text[i].image, rule[i].image) for i in range(len(data)))


def test_a_rule_that_cannot_be_read_is_refused_at_every_door():
    data, maps = striped()
    model = Classifier(build_model("small-cnn", 2), mean=(0.0,) * 3, std=(1.0,) * 3)
    doors = (
        lambda rule: MaskedDataset(data, maps, rule),
        lambda rule: SwappedDataset(data, maps, rule),
        lambda rule: MovedMasks(data, maps, rule),
        lambda rule: MaskBatch(model, rule=rule),
        lambda rule: TransplantBatch(model, rule=rule),
        lambda rule: plot_examples(data, maps, rule),
        lambda rule: faithfulness(model, data, rule=rule),
    )
    for door in doors:
        with pytest.raises(ValueError, match="did you mean 'quantile'"):
            door("quantil(0.8)")
        with pytest.raises(ValueError, match="must be a Threshold or its text"):
            door(0.8)


def test_a_part_of_masked_images_knows_which_they_are():
    data, maps = striped()
    masked = MaskedDataset(data, maps, fixed(0.5), "noise")
    part = masked.subset([6, -1, 2]).subset([1, 0])
    assert part.origin(masked.fingerprint).tolist() == [7, 6] and part.origin("another") is None
    assert all(torch.equal(part[i].image, masked[j].image) for i, j in enumerate((7, 6)))
