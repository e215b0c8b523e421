"Properties that every mask and every fill must have, tried on whatever hypothesis thinks of."

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktune.data import ArrayDataset
from masktune.masking import FILLS, MaskedDataset, SwappedDataset, Threshold, fixed, hide, mean_std, normalize, otsu, quantile, random_square_mask
from masktune.xgradcam import SaliencyMaps

settings.register_profile("steady", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("steady")

sides = st.integers(1, 9)
rules = st.one_of(st.floats(-3, 6).map(mean_std), st.floats(0.01, 0.99).map(quantile), st.floats(0, 0.99).map(fixed), st.just(otsu()))


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
    assert hidden.dtype == torch.uint8 and torch.equal(hidden.masked_fill(mask[:, None], 0), images.masked_fill(mask[:, None], 0))
    if fill == "zero":
        assert not hidden.masked_select(mask[:, None].expand_as(images)).any()


@given(some_images(), st.sampled_from(("mean", "blur")))
def test_fills_do_not_look_under_the_mask(pair, fill):
    images, maps = pair
    mask = mean_std(0.5)(maps, tuple(images.shape[-2:]))
    other = torch.where(mask[:, None], 255 - images, images)
    assert torch.equal(hide(images, mask, fill), hide(other, mask, fill))


def dataset_and_maps(images, maps):
    data = ArrayDataset(images, torch.arange(len(images)) % 2, ["a", "b"])
    return data, SaliencyMaps(maps.half(), torch.ones(len(maps)), torch.zeros(len(maps), dtype=torch.int64), torch.ones(len(maps)), data=data.fingerprint)


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
