"""Make `src/hyvae/data/bundled/movielens-small` from GroupLens's ml-latest-small.zip.

Usage: python tools/bundle_movielens_small.py path/to/ml-latest-small.zip
"""

import sys
import zipfile
from pathlib import Path

import polars as pl

FOLDER = Path(__file__).parents[1] / "src" / "hyvae" / "data" / "bundled" / "movielens-small"
# The copy of the zip that the bundle was made from has its own address pasted into one timestamp (line 522 of
# ratings.csv: user 5, movie 39). Without it stands 847434961, as in other copies of the data set.
DAMAGED = b"84743496 https://files.grouplens.org/datasets/movielens/ml-latest-small1"
MENDED = b"847434961"

NOTE = """\
This folder holds the MovieLens data set ml-latest-small of GroupLens, University of Minnesota. For hyvae its
ratings.csv and the ids and titles of its movies.csv were converted to Parquet (ratings.parquet,
movies.parquet); tags, links and genres were left out. The timestamp of one rating (user 5, movie 39) was
damaged in the copy that was converted and was set right to 847434961. Nothing else was changed. The data are
distributed under the conditions of GroupLens's README.txt (section "Usage License"), which follows in full;
hyvae's own licence does not cover them.

--------------------------------------------------------------------------------------------------------------

"""


def main(zip_path: str) -> None:
    """Convert ratings and movies, and keep the README with its licence."""
    with zipfile.ZipFile(zip_path) as archive:
        ratings, movies, readme = (
            archive.read(f"ml-latest-small/{name}") for name in ("ratings.csv", "movies.csv", "README.txt")
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    (
        pl.read_csv(ratings.replace(DAMAGED, MENDED))
        .select(
            user=pl.col("userId").cast(pl.UInt16),
            item=pl.col("movieId").cast(pl.UInt32),
            rating=pl.col("rating").cast(pl.Float32),
            timestamp=pl.col("timestamp").cast(pl.UInt32),
        )
        .sort("user", "item")
        .write_parquet(FOLDER / "ratings.parquet", compression="zstd", compression_level=22)
    )
    (
        pl.read_csv(movies)
        .select(item=pl.col("movieId").cast(pl.UInt32), title="title")
        .sort("item")
        .write_parquet(FOLDER / "movies.parquet", compression="zstd", compression_level=22)
    )
    (FOLDER / "LICENSE.txt").write_bytes(NOTE.encode() + readme.replace(b"\r\n", b"\n"))


if __name__ == "__main__":
    main(*sys.argv[1:])
