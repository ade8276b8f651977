"""CLADE's class rows and distance map."""
import numpy as np

from baselines.clade import distance_map, gather
from runtime.backend import jt


def test_a_pixel_gets_its_class_row_and_the_row_the_sum_of_its_pixels_gradients(rng):
    rows, ids = rng.standard_normal((4, 3)).astype(np.float32), rng.integers(0, 4, (2, 6, 10)).astype(np.int32)
    out = rng.standard_normal((2, 3, 6, 10)).astype(np.float32)
    var = jt.array(rows)
    y = gather(var, jt.array(ids))
    np.testing.assert_array_equal(y.numpy(), rows[ids].transpose(0, 3, 1, 2))
    expected = np.stack([(out * (ids == k)[:, None]).sum((0, 2, 3)) for k in range(4)])
    np.testing.assert_allclose(jt.grad((y * jt.array(out)).sum(), var).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_offsets_are_from_the_centre_of_each_connected_region():
    labels = np.zeros((6, 10), dtype=np.int32)
    labels[1:4, 2:7] = 3                        # a region of 3 x 5
    labels[5, 9] = 3                            # and another, of one pixel
    found = distance_map(labels)
    np.testing.assert_allclose(found[0, 1:4, 4], [-1, 0, 1], atol=2e-5)
    np.testing.assert_allclose(found[1, 2, 2:7], [-1, -0.5, 0, 0.5, 1], atol=2e-5)
    assert np.abs(found).max() < 1 and not found[:, 5, 9].any()
    assert found[:, labels == 0].any()          # a class like any other
    assert not distance_map(labels, skip=(0,))[:, labels == 0].any()
