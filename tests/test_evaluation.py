"Measurements and how they are shown: intervals, tables, what an evaluation says of classes and groups."

import json
import math
import subprocess
import sys

import pytest
import torch

from masktune.data import ArrayDataset
from masktune.evaluation import Table, align_columns, score_predictions, wilson_interval


@pytest.mark.parametrize("correct, count", [(0, 1), (1, 1), (3, 4), (0, 6), (570, 570), (1137, 1149), (50_000, 99_999)])
def test_the_interval_is_wilsons(correct, count):
    z, share = 1.959963984540054, correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = wilson_interval(correct, count)
    assert low == pytest.approx(centre - half, abs=1e-9) and high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= low <= share <= high <= 1
    assert (low == 0) == (correct == 0) and (high == 1) == (correct == count)


def test_more_confidence_is_a_wider_interval_and_nothing_counted_is_nothing_known():
    assert wilson_interval(3, 4, 0.99)[0] < wilson_interval(3, 4)[0] < wilson_interval(3, 4, 0.5)[0]
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_measuring_alone_pays_for_scipy():
    code = "import sys, masktune.evaluation; print('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_table_is_text_html_and_json():
    table = Table(
        ["", "right", "images"], [("a <b>", 0.5, 1200), ("c", None, "few")], "By eye & hand.", {"right": ".0%"}
    )
    assert str(table).splitlines() == [
        "       right  images",
        "a <b>    50%    1200",
        "c                few",
        "By eye & hand.",
    ]
    page = table._repr_html_()
    assert "a &lt;b&gt;" in page and "<caption>By eye &amp; hand.</caption>" in page and page.count("<tr>") == 3
    stored = json.loads(json.dumps(table.to_dict()))
    assert stored == {
        "head": ["", "right", "images"],
        "rows": [["a <b>", 0.5, 1200], ["c", None, "few"]],
        "caption": "By eye & hand.",
    }


def test_a_table_without_rows_or_with_text_alone_is_one():
    assert str(Table(["name", "what"], [])) == "name  what"
    assert str(Table(["name", "what"], [("a", "long words"), ("bc", "few")], left=2)).splitlines()[1:] == [
        "a     long words",
        "bc    few",
    ]
    assert align_columns([["a", "b"]], left=0) == ["a  b"]


def test_a_table_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs as many cells in each row"):
        Table(["a", "b"], [(1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match="did you mean 'right'"):
        Table(["right"], [], formats={"rigth": ".1%"})


def test_a_group_that_is_called_like_a_class_keeps_its_own_row():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    data = ArrayDataset(images, [0, 0, 1, 1], ["cat", "dog"], groups=[0, 1, 1, 1], group_names=["cat", "rest"])
    found = score_predictions(torch.tensor([[2.0, 0.0]] * 4), data)
    assert [row[0] for row in found.table().rows] == ["average", "cat", "dog", "cat", "rest"]
    assert str(found).splitlines()[-1] == "worst group: rest, 33.3%" and found.worst_group_accuracy == pytest.approx(
        1 / 3
    )
    json.dumps(found.to_dict())


def test_without_groups_there_is_no_worst_one():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    found = score_predictions(torch.eye(2), ArrayDataset(images, [0, 1], ["cat", "dog"]))
    assert found.worst_group is None and found.worst_group_accuracy is None and "worst" not in str(found)
