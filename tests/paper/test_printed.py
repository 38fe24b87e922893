"""The printed numbers, held against the text of the paper's own sentences."""

import numpy as np
import pytest

from hyvae.paper import printed


def test_what_no_average_can_give_is_found():
    impossible = {
        (row, data) for row, cells in printed.TABLE_2.items() for data, errors in cells.items() if errors.impossible
    }
    assert impossible == {("macrid_vae", "flixster"), ("rec_vae", "douban"), ("rec_vae", "flixster")}


def test_hyvae_is_printed_as_the_best_everywhere():
    for data in printed.TITLES:
        errors = {row: cells[data].mrmse for row, cells in printed.TABLE_2.items()}
        assert min(errors, key=errors.get) == "hyvae"


@pytest.mark.parametrize("row", list(printed.IMPROVEMENTS))
def test_the_percentages_of_the_text_follow_from_the_table(row):
    """By how much the others are worse, as a share of Hy-VAE's error; cut, not rounded, to a tenth."""
    hyvae = printed.TABLE_2["hyvae"]
    gains = [printed.TABLE_2[row][data].mrmse / hyvae[data].mrmse - 1 for data in printed.TITLES]
    assert np.mean(gains) == pytest.approx(printed.IMPROVEMENTS[row], abs=0.001)


def test_the_sparsity_of_table_one_is_that_of_its_own_counts():
    for counts in printed.TABLE_1.values():
        assert 1 - counts.interactions / (counts.users * counts.items) == pytest.approx(counts.sparsity, abs=6e-5)
