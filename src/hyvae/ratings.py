"""`Ratings`: who gave what to which thing. The one noun that everything else takes and gives."""

from __future__ import annotations

import hashlib
import re
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from hyvae.errors import DataError, warn
from hyvae.forks import polars_works
from hyvae.inputs import as_float32, as_ids, as_seconds, check_text, is_missing
from hyvae.layout import SourceLayout
from hyvae.wording import say

if TYPE_CHECKING:
    from hyvae.data.splits import Split

Id = int | str
Duplicates = Literal["error", "last", "mean"]
#: bytes of UTF-8 of an id that is text: a database's index holds no longer ones
LONGEST_ID = 1_000
#: an integer as it is written, and in no other way; at most as long as 64 bits are
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
# up to so many rows NumPy sorts as fast as Polars, and needs no threads for it
_SMALL = 1 << 16


class Vocabulary:
    """The ids of users or of items, each with its index.

    Parameters
    ----------
    ids : (n,) array of int64 or of str
        Sorted and unique. Integers stay integers and strings stay strings: ``'007'`` is never ``7``.

    Raises
    ------
    DataError
        Text that no file can hold.
    """

    def __init__(self, ids: NDArray[Any]) -> None:
        self.ids = ids
        if ids.dtype == object:
            check_text(ids.tolist(), "id")

    @classmethod
    def of(cls, ids: ArrayLike) -> Vocabulary:
        """Build from ids in any order, with repeats."""
        return cls(np.unique(as_ids(ids)))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers (else strings)."""
        return self.ids.dtype != object

    @cached_property
    def _index_of(self) -> dict[Id, int]:
        return {id_: index for index, id_ in enumerate(self.ids.tolist())}

    def index(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Index of each id, −1 where the id is unknown. Ids of the other type are unknown.

        Returns
        -------
        (n,) int64 array
        """
        wanted = as_ids(ids)
        if not self.is_integer or wanted.dtype == object:
            return np.fromiter((self._index_of.get(id_, -1) for id_ in wanted.tolist()), np.int64, count=len(wanted))
        if len(self.ids) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, at, -1).astype(np.int64)

    def find(self, id_: Id) -> int:
        """Index of one id, −1 where it is unknown: as `index`, without what an array costs."""
        if not self.is_integer:
            return self._index_of.get(id_, -1)
        if isinstance(id_, str):
            return -1
        # not by NumPy, which would let another thread run meanwhile, and the caller wait for it
        at = bisect_left(self.ids, id_)
        return at if at < len(self.ids) and self.ids[at] == id_ else -1

    def parse(self, text: str) -> Id:
        """Read an id typed by a person as this vocabulary's type; text that does not fit stays text."""
        # '007', '1_0', ' 1 ' and '١' are integers to Python, and ids of nobody
        if self.is_integer and _INTEGER.fullmatch(text) and -(2**63) <= (number := int(text)) < 2**63:
            return number
        return text


def check_ids(vocabulary: Vocabulary, noun: str, source: str) -> Vocabulary:
    """The same, unless an id is longer than the service and its store take.

    Raises
    ------
    DataError
        An id of more than `LONGEST_ID` bytes.
    """
    for id_ in [] if vocabulary.is_integer else vocabulary.ids.tolist():
        if len(id_) * 4 > LONGEST_ID and (size := len(id_.encode("utf-8", "surrogatepass"))) > LONGEST_ID:
            raise DataError(
                f"{source}: the {noun} that begins with {id_[:40]!r} has {size:,} bytes; one may have {LONGEST_ID:,}, "
                "so shorten it or number them"
            )
    return vocabulary


@dataclass(frozen=True, eq=False)
class Ratings:
    """An immutable sparse users × items matrix of ratings with its id vocabularies.

    Rows are users, in the order of their ids; within a user, ratings are in the order of item ids. This
    *canonical order* numbers the ratings ("rows" everywhere in hyvae) and defines every split. A stored
    rating of 0 is a rating; what is not stored was not rated. Users and items without a rating are allowed. The arrays
    must not be written to, and some cannot be.

    Attributes
    ----------
    users, items : Vocabulary
    indptr : (n_users + 1,) int64
        CSR: user `u` owns rows ``indptr[u]:indptr[u + 1]``.
    indices : (n_ratings,) int32
        Item index of each rating.
    values : (n_ratings,) float32
    scale : (float, float)
        Lowest and highest rating that a user can give.
    timestamps : (n_ratings,) int64 or None
        Seconds since 1970.
    titles : (n_items,) object array of str or None
    parts : (n_ratings,) int8 or None
        The source's own split where it has one: 0 train, 1 validation, 2 test.
    source : str
        Where the ratings came from, as messages call it.
    unrated : (n_unrated, 2) int32 array or None
        Indices of user and item of who took what without a rating (a source's sentinels for *not rated*), sorted,
        each pair once, none of them rated. Nothing is trained on them; lists leave them out. All parts of a split
        have those of the whole.
    layout : SourceLayout or None
        What was taken for what, where a source was read.
    """

    users: Vocabulary
    items: Vocabulary
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    scale: tuple[float, float]
    timestamps: NDArray[np.int64] | None = None
    titles: NDArray[Any] | None = None
    parts: NDArray[np.int8] | None = None
    source: str = "ratings"
    unrated: NDArray[np.int32] | None = None
    layout: SourceLayout | None = None

    def __post_init__(self) -> None:
        if self.titles is not None:
            _check_titles(self.titles, self.items)

    # -- making ---------------------------------------------------------------------------------------

    @classmethod
    def from_indices(
        cls,
        users: Vocabulary,
        items: Vocabulary,
        user_index: NDArray[Any],
        item_index: NDArray[Any],
        values: ArrayLike,
        *,
        scale: tuple[float, float] | None = None,
        timestamps: NDArray[Any] | None = None,
        titles: NDArray[Any] | None = None,
        parts: NDArray[Any] | None = None,
        on_duplicates: Duplicates = "error",
        source: str = "ratings",
        place: Callable[[int], str] = "rating number {}".format,
        unrated: NDArray[Any] | None = None,
        layout: SourceLayout | None = None,
    ) -> Ratings:
        """Build from indices into known vocabularies, one entry a rating, in any order.

        Parameters
        ----------
        user_index, item_index : (n,) integer arrays
        values : (n,) array
        scale : pair of float, optional
            Default: the lowest and the highest of `values`.
        on_duplicates : ``error``, ``last`` or ``mean``
            Several ratings of one user for one item: refuse them, keep the latest (by timestamp where there is
            one; among equals the last in order), or their mean with the latest timestamp.
        source : str
            How error messages call where the data came from.
        place : callable
            How error messages call the rating with this 1-based position (readers give the line of the file).
        unrated : (n, 2) integer array, optional
            Indices of user and item of pairs without a rating, in any order, with repeats; of a pair that is rated
            too, the rating counts.
        layout : SourceLayout, optional

        Raises
        ------
        DataError
            No rating at all, a rating that is not a number, a scale that is not lowest then highest, a
            rating that is not finite or off the scale, a time that is missing, a title that is no text, or two ratings
            of one user for one item.

        Warns
        -----
        DataWarning
            Repeated pairs were merged.
        """
        numbers = as_float32(values, source)
        times = None if timestamps is None else as_seconds(timestamps, source)
        if not len(numbers):
            raise DataError(f"{source}: no ratings; give at least one row of user, item, rating")
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataError(f"{source}, {place(row + 1)}: the rating is {numbers[row]}; give a finite number")
        low, high = checked_scale((numbers.min(), numbers.max()) if scale is None else scale, source)
        off_scale = (numbers < np.float32(low)) | (numbers > np.float32(high))
        if off_scale.any():
            row = int(np.flatnonzero(off_scale)[0])
            raise DataError(
                f"{source}, {place(row + 1)}: the rating {numbers[row]:g} is off the declared scale "
                f"{low:g} to {high:g}; mend the rating or declare another scale"
            )
        columns = {"value": numbers, "time": times, "part": parts}
        rows, indices = _canonical(
            user_index,
            item_index,
            {name: np.asarray(column) for name, column in columns.items() if column is not None},
            (users, items),
            on_duplicates,
            source,
            place,
        )
        return cls(
            users=users,
            items=items,
            indptr=indices[0],
            indices=indices[1],
            values=rows["value"],
            scale=(float(low), float(high)),
            timestamps=rows.get("time"),
            titles=titles,
            parts=None if parts is None else rows["part"].astype(np.int8, copy=False),
            source=source,
            layout=layout,
        ).with_unrated(unrated)

    @classmethod
    def empty(
        cls,
        users: Vocabulary,
        items: Vocabulary,
        scale: tuple[float, float],
        titles: NDArray[Any] | None = None,
    ) -> Ratings:
        """No rating at all, between known users and items."""
        return cls(
            users,
            items,
            np.zeros(len(users) + 1, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            scale,
            titles=titles,
        )

    @classmethod
    def from_arrays(
        cls,
        user_ids: ArrayLike,
        item_ids: ArrayLike,
        ratings: ArrayLike,
        *,
        timestamps: ArrayLike | None = None,
        titles: Mapping[Any, str] | None = None,
        scale: tuple[float, float] | None = None,
        on_duplicates: Duplicates = "error",
    ) -> Ratings:
        """Build from three parallel arrays of ids and ratings.

        Parameters
        ----------
        user_ids, item_ids : (n,) arrays of int, str or `uuid.UUID`
            UUIDs become their text.
        ratings : (n,) array of float
        timestamps : (n,) array of int or of dates, optional
            Seconds since 1970, or dates of any unit (UTC where they name no zone).
        titles : dict of item id to str, optional
            An item that has none, or NaN, is called by its id.
        on_duplicates : ``error``, ``last`` or ``mean``
            See `from_indices`.

        Raises
        ------
        DataError
            Arrays of different lengths, with masked or missing values, or what `from_indices` refuses.
        """
        user_array, item_array = as_ids(user_ids), as_ids(item_ids)
        lengths = (len(user_array), len(item_array), len(np.asarray(ratings)))
        if len(set(lengths)) > 1:
            raise DataError("users, items and ratings differ in length: {}, {}, {}".format(*lengths))
        times = None if timestamps is None else as_seconds(timestamps, "timestamps")
        if times is not None and len(times) != lengths[0]:
            raise DataError(f"timestamps and ratings differ in length: {len(times)}, {lengths[0]}")
        users = check_ids(Vocabulary.of(user_array), "user id", "arrays")
        items = check_ids(Vocabulary.of(item_array), "item id", "arrays")
        return cls.from_indices(
            users,
            items,
            users.index(user_array),
            items.index(item_array),
            ratings,
            scale=scale,
            timestamps=times,
            titles=None if titles is None else title_array(items, titles),
            on_duplicates=on_duplicates,
        )

    @classmethod
    def from_scipy(
        cls, matrix: Any, *, scale: tuple[float, float] | None = None, on_duplicates: Duplicates = "error"
    ) -> Ratings:
        """Build from a scipy sparse users × items matrix; ids are the row and column numbers.

        Stored zeros are ratings of 0.

        Parameters
        ----------
        on_duplicates : ``error``, ``last`` or ``mean``
            What becomes of duplicate entries of a COO matrix; see `from_indices`.

        Raises
        ------
        DataError
            No sparse matrix of two dimensions, or what `from_indices` refuses.
        """
        if not sparse.issparse(matrix) or matrix.ndim != 2:
            raise DataError(f"from_scipy takes a scipy sparse matrix of two dimensions, got {type(matrix).__name__}")
        coo = sparse.coo_array(matrix)
        n_users, n_items = coo.shape
        return cls.from_indices(
            Vocabulary(np.arange(n_users)),
            Vocabulary(np.arange(n_items)),
            coo.coords[0],
            coo.coords[1],
            coo.data,
            scale=scale,
            on_duplicates=on_duplicates,
            source="sparse matrix",
        )

    @classmethod
    def from_table(cls, table: Any, **columns: Any) -> Ratings:
        """Build from a pandas, Polars or Arrow table; see `hyvae.data.tables.ratings_from_table`."""
        from hyvae.data.tables import ratings_from_table

        return ratings_from_table(table, **columns)

    @classmethod
    def read(cls, source: str | Path, **options: Any) -> Ratings:
        """Read a file, folder, zip or named data set; see `hyvae.data.read`."""
        from hyvae.data import read

        return read(source, **options)

    # -- looking --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"Ratings({len(self):,} ratings, {self.n_users:,} users × {self.n_items:,} items, "
            f"scale {self.scale[0]:g}–{self.scale[1]:g})"
        )

    @property
    def n_users(self) -> int:
        """Number of users in the vocabulary, with or without ratings."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the vocabulary, with or without ratings."""
        return len(self.items)

    @cached_property
    def user_index(self) -> NDArray[np.int32]:
        """User index of each rating, shape (n_ratings,)."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.indptr))

    @property
    def user_ids(self) -> NDArray[Any]:
        """User id of each rating, shape (n_ratings,)."""
        return self.users.ids[self.user_index]

    @property
    def item_ids(self) -> NDArray[Any]:
        """Item id of each rating, shape (n_ratings,)."""
        return self.items.ids[self.indices]

    @property
    def matrix(self) -> sparse.csr_array:
        """The ratings as a scipy CSR array of shape (n_users, n_items); shares memory."""
        return sparse.csr_array((self.values, self.indices, self.indptr), shape=(self.n_users, self.n_items))

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each user, shape (n_users,)."""
        return np.diff(self.indptr)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each item, shape (n_items,)."""
        return np.bincount(self.indices, minlength=self.n_items)

    def history(self, user: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Item indices and ratings of the user with index `user`."""
        rows = slice(self.indptr[user], self.indptr[user + 1])
        return self.indices[rows], self.values[rows]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, positions and values: the same ratings give the same fingerprint anywhere."""
        digest = hashlib.sha256()
        for vocabulary in (self.users, self.items):
            ids = vocabulary.ids
            digest.update(ids.astype("<i8").tobytes() if vocabulary.is_integer else "\0".join(ids.tolist()).encode())
            digest.update(b"\n")
        for column, dtype in ((self.indptr, "<i8"), (self.indices, "<i4"), (self.values, "<f4")):
            digest.update(column.astype(dtype).tobytes())
        return digest.hexdigest()

    # -- parting --------------------------------------------------------------------------------------

    def take(self, rows: NDArray[Any]) -> Ratings:
        """Take the ratings at these row numbers (or where a boolean mask holds); vocabularies stay whole."""
        keep = np.zeros(len(self), dtype=bool)
        keep[rows] = True
        indptr = np.zeros_like(self.indptr)
        np.cumsum(np.bincount(self.user_index[keep], minlength=self.n_users), out=indptr[1:])
        return replace(
            self,
            indptr=indptr,
            indices=self.indices[keep],
            values=self.values[keep],
            timestamps=None if self.timestamps is None else self.timestamps[keep],
            parts=None if self.parts is None else self.parts[keep],
        )

    @property
    def taken(self) -> Ratings:
        """The pairs without a rating, as ratings of 0 in the same vocabularies."""
        if self.unrated is None:
            return Ratings.empty(self.users, self.items, self.scale)
        users, items = self.unrated.T
        return Ratings.from_indices(self.users, self.items, users, items, np.zeros(len(users), np.float32))

    def with_unrated(self, pairs: NDArray[Any] | None) -> Ratings:
        """The same ratings beside other pairs without a rating, shape (n, 2): indices of user and item."""
        if pairs is None or not len(pairs):
            return self if self.unrated is None else replace(self, unrated=None)
        keys = np.unique(pairs[:, 0].astype(np.int64) * self.n_items + pairs[:, 1])
        rated = self.user_index.astype(np.int64) * self.n_items + self.indices
        keys = keys[~np.isin(keys, rated, assume_unique=True)]
        if not len(keys):
            return replace(self, unrated=None)
        return replace(self, unrated=np.stack(np.divmod(keys, self.n_items), axis=1).astype(np.int32))

    def split(self, kind: str = "random", *, seed: int = 0) -> Split:
        """Part into train, validation and test; see `hyvae.data.splits.split`."""
        from hyvae.data.splits import split

        return split(self, kind, seed=seed)


def checked_scale(scale: tuple[float, float], source: str) -> tuple[float, float]:
    """The scale as two floats, refused unless it is the lowest rating and then the highest."""
    try:
        low, high = map(float, scale)
    except (TypeError, ValueError):
        low = high = np.nan
    # comparisons with NaN are false, so that it is refused too
    if not (-np.inf < low <= high < np.inf):
        raise DataError(f"{source}: scale {scale!r} must be the lowest rating, then the highest")
    return low, high


def _canonical(
    user_index: NDArray[Any],
    item_index: NDArray[Any],
    columns: dict[str, NDArray[Any]],
    vocabularies: tuple[Vocabulary, Vocabulary],
    on_duplicates: Duplicates,
    source: str,
    place: Callable[[int], str],
) -> tuple[dict[str, NDArray[Any]], tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Columns in canonical order with one row a pair, and ``indptr`` and ``indices`` of their CSR matrix."""
    users, items = vocabularies
    same_user = user_index[1:] == user_index[:-1]
    in_order = (user_index[1:] > user_index[:-1]) | (same_user & (item_index[1:] > item_index[:-1]))
    if in_order.all():
        indptr = np.searchsorted(user_index, np.arange(len(users) + 1)).astype(np.int64)
        # what a caller changes later must not change the ratings
        kept = {name: column.copy() if column.flags.writeable else column for name, column in columns.items()}
        return kept, (indptr, item_index.astype(np.int32))
    # in place: to make room for 25 million numbers takes longer than to add them
    key = user_index.astype(np.int64)
    key *= len(items)
    key += item_index
    columns = {"key": key, **columns}
    ordered = _sorted(columns)
    key = ordered["key"]
    if (key[1:] == key[:-1]).any():
        if on_duplicates == "error":
            raise DataError(_repeated(columns["key"], users, items, columns["value"], source, place))
        ordered = _merged(columns, on_duplicates, source)
        key = ordered["key"]
    first_keys = np.arange(len(users) + 1) * len(items)
    indptr = np.searchsorted(key, first_keys).astype(np.int64)
    # faster than to divide the keys, or to sort the indices along
    offsets = np.repeat(first_keys[:-1], np.diff(indptr))
    indices = np.subtract(key, offsets, out=offsets).astype(np.int32)
    return ordered, (indptr, indices)


def _sorted(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Rows in the order of ``key``, in which the order of equal keys is anyone's guess."""
    if len(columns["key"]) <= _SMALL or not polars_works():
        order = np.argsort(columns["key"])
        return {name: column[order] for name, column in columns.items()}
    rows = pl.DataFrame(columns).sort("key")
    return {name: rows[name].to_numpy() for name in columns}


def _repeated(
    key: NDArray[np.int64],
    users: Vocabulary,
    items: Vocabulary,
    values: NDArray[np.float32],
    source: str,
    place: Callable[[int], str],
) -> str:
    """Name the first pair that is rated more than once, and where."""
    order = np.argsort(key, kind="stable")
    at = int(np.argmin(np.diff(key[order])))
    user, item = divmod(int(key[order[at]]), len(items))
    first, second = (f"{place(int(row) + 1)}: {values[row]:g}" for row in order[at : at + 2])
    choice = say("on_duplicates='last' or 'mean'", "--on-duplicates last or mean")
    return (
        f"{source}: user {users.ids[user : user + 1].tolist()[0]!r} rated item "
        f"{items.ids[item : item + 1].tolist()[0]!r} more than once ({first}, and {second}); keep one of them, "
        f"or choose {choice}"
    )


def _merged(columns: dict[str, NDArray[Any]], policy: Duplicates, source: str) -> dict[str, NDArray[Any]]:
    """Rows sorted by key, one of each: the latest, with the mean of all values where that is wanted."""
    order = np.lexsort([columns[name] for name in ("time", "key") if name in columns])
    ordered = {name: column[order] for name, column in columns.items()}
    last = np.append(ordered["key"][1:] != ordered["key"][:-1], True)
    kept = {name: column[last] for name, column in ordered.items()}
    if policy == "mean":
        ends = np.flatnonzero(last) + 1
        starts = np.append(0, ends[:-1])
        sums = np.add.reduceat(ordered["value"].astype(np.float64), starts)
        kept["value"] = (sums / (ends - starts)).astype(np.float32)
    repeated = len(order) - len(kept["key"])
    noun = "rating" if repeated == 1 else "ratings"
    warn(f"{source}: {repeated:,} repeated {noun} merged ({policy})")
    return kept


def title_array(items: Vocabulary, titles: Mapping[Any, str]) -> NDArray[Any]:
    """Titles aligned with `items`, shape (n_items,); an item without one gets its id as text.

    Raises
    ------
    DataError
        No mapping, or a title that is no text.
    """
    if not hasattr(titles, "get"):
        raise DataError(f"titles must be a dict of item id to title, got {type(titles).__name__}")
    out = np.empty(len(items), dtype=object)
    found = ((id_, titles.get(id_)) for id_ in items.ids.tolist())
    out[:] = [str(id_) if is_missing(title) else title for id_, title in found]
    return out


# titles that were checked: every part of a split shares them
_checked: weakref.WeakValueDictionary[int, NDArray[Any]] = weakref.WeakValueDictionary()


def _check_titles(titles: NDArray[Any], items: Vocabulary) -> None:
    """Refuse titles that a run could not hold, or that are not the items' own."""
    if _checked.get(id(titles)) is titles:
        return
    if titles.shape != (len(items),):
        raise DataError(f"there are {len(items)} items and titles of shape {titles.shape}; give one title an item")
    for id_, title in zip(items.ids.tolist(), titles.tolist(), strict=True):
        if not isinstance(title, str):
            raise DataError(f"the title of item {id_!r} is {title!r} ({type(title).__name__}); titles must be text")
    check_text(titles.tolist(), "title")
    _checked[id(titles)] = titles


def concatenate(parts: Sequence[Ratings] | Iterable[Ratings]) -> Ratings:
    """Join ratings that share their vocabularies (for example the parts of a split).

    Timestamps and the source's own parts are kept where every piece has them. Pairs without a rating are those of all
    pieces.
    """
    whole = list(parts)
    if not whole:
        raise DataError("nothing to join; give at least one Ratings")
    first = whole[0]
    if any(piece.users != first.users or piece.items != first.items for piece in whole[1:]):
        raise DataError("only ratings with the same users and items can be joined; these differ")

    def joined(columns: list[NDArray[Any] | None]) -> NDArray[Any] | None:
        present = [column for column in columns if column is not None]
        return np.concatenate(present) if len(present) == len(whole) else None

    return Ratings.from_indices(
        first.users,
        first.items,
        np.concatenate([piece.user_index for piece in whole]),
        np.concatenate([piece.indices for piece in whole]),
        np.concatenate([piece.values for piece in whole]),
        scale=first.scale,
        timestamps=joined([piece.timestamps for piece in whole]),
        titles=first.titles,
        parts=joined([piece.parts for piece in whole]),
        source=first.source,
        unrated=joined_pairs([piece.unrated for piece in whole]),
        layout=first.layout,
    )


def joined_pairs(pieces: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Pairs without a rating of several ratings with the same vocabularies, with repeats; None where there are none."""
    present = [piece for piece in pieces if piece is not None]
    return np.concatenate(present) if present else None


def require_ratings(value: Any, noun: str) -> None:
    """Refuse what is not `Ratings`, and say how to make them of it.

    Raises
    ------
    DataError
    """
    if isinstance(value, Ratings):
        return
    if hasattr(value, "columns"):
        how = "make them with Ratings.from_table(table, user=…, item=…, rating=…)"
    elif sparse.issparse(value):
        how = "make them with Ratings.from_scipy(matrix)"
    else:
        how = "make them with Ratings.from_arrays(users, items, ratings)"
    raise DataError(f"{noun} must be Ratings, got {type(value).__name__}; {how}")
