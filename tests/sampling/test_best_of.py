import csv

import numpy as np
import pytest

from evaluation.metrics.style import style_similarity
from runtime.errors import UserError
from sampling.best_of import best_of, names_of, selection_score, write_scores


def images_of(names):
    """An image per name, noise keyed by it, uint8 (B, 6, 10, 3)."""
    return np.stack([np.random.default_rng([*name.encode()]).integers(0, 256, (6, 10, 3)).astype(np.uint8) for name in names])


def test_the_best_candidate_of_each_row_is_kept_and_the_first_is_the_one_painted_anyway():
    stems, asked = ["a", "b", "c"], []
    values = {("a", 1): 5.0, ("b", 0): 3.0, ("b", 2): 3.0, ("c", 2): 9.0}

    def paint(names):
        asked.append(names)
        return images_of(names)

    def score(row, image):
        j = len(asked) - 1
        np.testing.assert_array_equal(image, images_of(names_of([stems[row]], j))[0])
        return values.get((stems[row], j), 1.0)

    images, scores = best_of(paint, stems, 3, score)
    assert asked[0] == stems and len({name for names in asked for name in names}) == 9
    expected = [names_of(["a"], 1), names_of(["b"], 0), names_of(["c"], 2)]           # of equals, b's first
    np.testing.assert_array_equal(images, np.concatenate([images_of(names) for names in expected]))
    np.testing.assert_array_equal(scores, [[1, 5, 1], [3, 1, 3], [1, 1, 9]])


def test_style_is_measured_against_the_reference_not_the_image_itself():
    reference, image = images_of(["reference"])[0], images_of(["image"])[0]
    found = selection_score("s", None)(None, reference, image)
    assert found == pytest.approx(100 * style_similarity(image, reference)) and found < 90


def test_selecting_by_masks_needs_a_segmenter():
    with pytest.raises(UserError, match="--select m needs --segmenter"):
        selection_score("m", None)


def test_every_image_has_a_line_with_its_scores(tmp_path):
    write_scores(tmp_path, ["a"], np.array([[1.0, 2.5]]))
    write_scores(tmp_path, ["b"], np.array([[4.0, 2.0]]))
    with open(tmp_path / "candidates.csv") as stream:
        assert list(csv.reader(stream)) == [["image", "kept", "score_0", "score_1"], ["a", "1", "1.0000", "2.5000"],
                                            ["b", "0", "4.0000", "2.0000"]]
