"""Size frequencies, by hand."""

import math

import numpy as np
import pytest

from crater_model.mapping.sizes import bin_edges, size_frequencies


def test_bins_begin_at_powers_of_the_root_of_two():
    root = math.sqrt(2)
    assert bin_edges([1.0, 2.0]) == pytest.approx([1, root, 2, 2 * root])
    assert bin_edges([0.6]) == pytest.approx([0.5, 0.5 * root])
    assert bin_edges(2.0 ** (np.arange(-7, 9) / 2)) == pytest.approx(2.0 ** (np.arange(-7, 10) / 2))
    assert len(bin_edges([])) == 0


def test_by_hand():
    """1 km to sqrt(2): 3; to 2: none; to 2 sqrt(2): 1; on 50 km^2."""
    table = size_frequencies([1.0, 1.2, 1.4, 2.5], 50.0)
    assert list(table["n"]) == [3, 0, 1] and list(table["n_cumulative"]) == [4, 1, 1]
    assert table["cumulative_km2"].tolist() == pytest.approx([0.08, 0.02, 0.02])
    assert table["cumulative_km2_error"].tolist() == pytest.approx([0.04, 0.02, 0.02])
    assert table["incremental_km2"].tolist() == pytest.approx([0.06, 0, 0.02])
    width = 2 * (math.sqrt(2) - 1)
    assert table["differential_km3"].tolist()[1:] == pytest.approx([0, 0.02 / width])
    assert table["differential_km3_error"].tolist() == pytest.approx(
        [0.06 / (math.sqrt(2) - 1) / math.sqrt(3), 0, 0.02 / width])
    assert table["d_mean_km"].iloc[2] == pytest.approx(2 * 2**0.25)
    assert table["r"].iloc[2] == pytest.approx(8 * 2**0.75 * 0.02 / width)
    assert table["r_error"].iloc[2] == pytest.approx(table["r"].iloc[2])


def test_nothing_and_no_area():
    assert len(size_frequencies([], 1.0)) == 0
    with pytest.raises(ValueError, match="area of 0"):
        size_frequencies([1.0], 0)
