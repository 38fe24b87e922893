"""Write a tiny run with this version of hyvae, for the test that keeps older runs loadable.

    .venv/bin/python tools/make_run_fixture.py tests/fixtures/run-schema1

Ratings are drawn from a fixed seed. The `.expected.csv` beside the run holds the predictions that it must go on giving.
"""

import sys
from pathlib import Path

import numpy as np

from hyvae import HyVAE, Ratings


def main(out: Path) -> None:
    """Write the run and its expected predictions."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 30, 400, replace=False)
    ratings = Ratings.from_arrays(
        [f"{user:03d}" for user in pairs // 30],
        pairs % 30,
        rng.integers(1, 6, len(pairs)),
        titles={item: f"Film {item} (2000)" for item in range(30)},
        scale=(1.0, 5.0),
    )
    train, valid, test = ratings.split(seed=0)
    model = HyVAE(epochs=10, hidden=8, latent=3, deep_layers=3).fit(train, valid, seed=0)
    model.save(out, held_out={"validation": valid, "test": test})
    model.predict_table(test.user_ids, test.item_ids).write_csv(out.with_suffix(".expected.csv"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
