"Evidence moved, kept alone and transplanted: as much as promised, in balance, and the same every time."

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from masktune.counterfactuals import (
    EvidenceAlone,
    TransplantBatch,
    TransplantedDataset,
    balanced_share,
    moved_away,
    soften,
    transplant,
)
from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import fit
from masktune.masking import MaskedDataset, fixed
from masktune.models import Classifier, build_model
from masktune.saliency import SaliencyMaps

settings.register_profile("steady", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("steady")

RULE = fixed(0.5)


def stamped(count=400, classes=2, size=16):
    "Grey images; each class has a white stamp in a row of its own, and the maps point at it"
    images = torch.full((count, 3, size, size), 90, dtype=torch.uint8)
    labels = torch.arange(count) % classes
    maps = torch.zeros(count, size, size)
    for i, label in enumerate(labels.tolist()):
        images[i, :, label * 3 : label * 3 + 2, 2:6] = 255
        maps[i, label * 3 : label * 3 + 2, 2:6] = 1
    data = ArrayDataset(
        images, labels, [str(c) for c in range(classes)], groups=labels, group_names=[str(c) for c in range(classes)]
    )
    return data, SaliencyMaps(
        maps.half(),
        torch.ones(count),
        labels,
        torch.ones(count),
        data=data.fingerprint,
        dataset=str(data),
        layer="given",
    )


def stamps(images, classes):
    "(N, classes) whose stamps an image shows"
    return torch.stack([(images[:, 0, c * 3 : c * 3 + 2, 2:6] == 255).all(2).all(1) for c in range(classes)], 1)


@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 10**6))
def test_as_much_is_hidden_elsewhere(height, width, seed):
    mask = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) < 0.3
    moved = moved_away(mask, seed)
    assert moved.sum((1, 2)).equal(mask.sum((1, 2)))
    assert moved.equal(moved_away(mask, seed))


def test_small_masks_are_moved_off_their_place():
    mask = torch.zeros(50, 28, 28, dtype=torch.bool)
    mask[:, 3:8, 4:9] = True
    assert not (moved_away(mask) & mask).any()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_no_class_owns_the_evidence(classes):
    data, maps = stamped(3000, classes)
    lent = TransplantedDataset(data, maps, RULE, "mean", edges="hard")
    images = torch.stack([sample.image for sample in lent.__getitems__(range(len(data)))])
    shown = stamps(images, classes)
    for stamp in range(classes):
        rates = [float(shown[data.labels == label, stamp].float().mean()) for label in range(classes)]
        assert max(rates) - min(rates) < 0.08, (stamp, rates)
        assert abs(rates[0] - (1 - balanced_share(classes))) < 0.05


def test_hiding_always_and_pasting_half_turns_the_evidence_round():
    data, maps = stamped(1000)
    lent = TransplantedDataset(data, maps, RULE, "mean", share=1.0, edges="hard")
    shown = stamps(torch.stack([sample.image for sample in lent.__getitems__(range(1000))]), 2)
    assert not shown[data.labels == 0, 0].any()
    assert 0.4 < shown[data.labels == 1, 0].float().mean() < 0.6


def test_nothing_asked_is_nothing_done():
    data, maps = stamped(20)
    same = TransplantedDataset(data, maps, RULE, share=0.0, paste=0.0)
    assert all(same[i].image.equal(data[i].image) for i in range(20))
    assert [same[i].label for i in range(20)] == data.labels.tolist()


def test_a_picture_looked_at_twice_is_the_same_and_disturbs_nothing():
    data, maps = stamped(40)
    lent = TransplantedDataset(data, maps, RULE)
    state = torch.get_rng_state()
    alone = [lent[i].image for i in range(40)]
    together = lent.__getitems__(range(40))
    assert all(a.equal(b.image) for a, b in zip(alone, together, strict=True))
    assert torch.get_rng_state().equal(state)


class Watched(TransplantedDataset):
    "Notes what training is given"

    def __getitems__(self, indices):
        samples = super().__getitems__(indices)
        self.seen.append({sample.index: sample.image for sample in samples})
        return samples


def watch(seed=0):
    data, maps = stamped(40, size=28)
    watched = Watched(data, maps, RULE)
    watched.seen = []
    seed_everything(0)
    fit(
        Classifier(build_model("small-cnn", 2)),
        watched,
        epochs=2,
        lr=0.01,
        batch_size=20,
        seed=seed,
        device="cpu",
        progress=False,
    )
    batches = watched.seen[-4:]  # two epochs of two batches
    return [batches[0] | batches[1], batches[2] | batches[3]]


def test_training_draws_anew_each_epoch_and_the_same_for_a_seed():
    first, second = watch()
    assert any(not first[i].equal(second[i]) for i in range(40))
    again, _ = watch()
    assert all(first[i].equal(again[i]) for i in range(40))


def test_groups_are_dropped_and_labels_kept():
    data, maps = stamped(20)
    lent = TransplantedDataset(data, maps, RULE)
    assert lent.group_names == []
    assert all(sample.group == -1 for sample in lent.__getitems__(range(20)))
    assert lent.labels.equal(data.labels)


def test_a_part_still_borrows_from_all():
    data, maps = stamped(40)
    part = TransplantedDataset(data, maps, RULE, "mean", paste=1.0, edges="hard").subset([0, 2, 4])  # one class alone
    assert len(part) == 3
    assert stamps(torch.stack([part[i].image for i in range(3)]), 2)[:, 1].all()


def test_fingerprints_tell_settings_apart():
    data, maps = stamped(20)
    made = [
        TransplantedDataset(data, maps, RULE, **options)
        for options in ({}, {"seed": 1}, {"paste": 0.4}, {"share": 0.3}, {"edges": "hard"}, {"fill": "zero"})
    ]
    made += [MaskedDataset(data, maps, RULE), EvidenceAlone(data, maps, RULE)]
    assert len({one.fingerprint for one in made}) == len(made)


def test_bad_input_is_refused():
    data, maps = stamped(20)
    with pytest.raises(ValueError, match="share must be"):
        TransplantedDataset(data, maps, RULE, share=-0.1)
    with pytest.raises(ValueError, match="paste must be"):
        TransplantedDataset(data, maps, RULE, paste=2.0)
    with pytest.raises(ValueError, match="unknown edges"):
        TransplantedDataset(data, maps, RULE, edges="soft")
    one = data.subset([0, 2, 4])
    with pytest.raises(ValueError, match="one class only"):
        TransplantedDataset(one, maps.subset([0, 2, 4], one), RULE)
    with pytest.raises(ValueError, match="compute them again"):
        TransplantedDataset(stamped(20, size=18)[0], maps, RULE)
    with pytest.raises(ValueError, match="mask must be"):
        moved_away(torch.zeros(2, 4, 4))


def test_feathered_edges_keep_the_mask_and_fade_around_it():
    mask = torch.zeros(1, 56, 56, dtype=torch.bool)
    mask[0, 20:30, 20:30] = True
    soft = soften(mask, "feathered")
    assert (soft[mask] == 1).all()
    assert ((soft[~mask] > 0) & (soft[~mask] < 1)).any()
    assert soft[0, 0, 0] == 0
    assert soften(mask).equal(mask.float())


def test_a_loader_gives_what_is_looked_at():
    data, maps = stamped(24)
    lent = TransplantedDataset(data, maps, RULE)
    plain = [sample.image for sample in lent.__getitems__(range(24))]
    assert torch.stack(plain).equal(next(iter(DataLoader(lent, batch_size=24))).image)


def test_batches_exchange_evidence_between_predicted_classes():
    data, _ = stamped(64, size=28)
    seed_everything(0)
    model = Classifier(build_model("small-cnn", 2)).eval()
    exchange = TransplantBatch(model, share=0.0, paste=1.0, edges="hard")
    masks, predicted = exchange.explain(data.images)
    changed = exchange(data.images)
    if len(predicted.unique()) == 2:
        unlike = (changed != data.images).any(1)
        assert unlike.any()
        allowed = torch.stack([masks[predicted != label].any(0) for label in predicted.tolist()])
        assert not (unlike & ~allowed).any()
    else:
        assert changed.equal(data.images)


def test_transplanting_nothing_changes_nothing_whatever_the_fill():
    data, _ = stamped(8)
    none = torch.zeros(8, 16, 16, dtype=torch.bool)
    for fill in ("zero", "mean", "blur", "noise"):
        assert transplant(data.images, none, data.images.flip(0), none, fill).equal(data.images)


def test_transplants_refuse_several_labels_and_given_masks():
    "before any work, by one sentence each"
    from masktune.finetune import MaskTune, finetune

    several = ArrayDataset(torch.zeros(4, 3, 28, 28, dtype=torch.uint8), torch.eye(4)[:, :2], ["a", "b"])
    one = ArrayDataset(several.images, [0, 1, 0, 1], ["a", "b"])
    model = build_model("small-cnn", 2)
    for on_device in (False, True):
        with pytest.raises(ValueError, match="mode transplant needs one label an image"):
            finetune(model, several, lr=0.01, mode="transplant", on_device=on_device)
    with pytest.raises(ValueError, match="leave out given= and protect=, or mask"):
        finetune(model, one, lr=0.01, mode="transplant", given=[None] * 4)
    with pytest.raises(ValueError, match="leave out protect, or mask"):
        MaskTune(model, mode="transplant", protect="marks")
