"""Items by what people call them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae import BiasModel, Ratings
from hyvae.errors import DataError
from hyvae.titles import TitleIndex, normalise

TITLES = ["Matrix, The (1999)", "Alien (1979)", "Aliens (1986)", "Solaris (1972)", "Solaris (2002)", "Heat"]


@pytest.fixture
def index():
    return TitleIndex(np.array(TITLES, dtype=object))


@pytest.fixture(scope="module")
def model():
    titles = dict(enumerate(TITLES, start=1))
    users, items = [1, 1, 1, 2, 2, 2], [1, 2, 3, 4, 5, 6]
    return BiasModel().fit(Ratings.from_arrays(users, items, [5, 4, 4, 2, 1, 3], titles=titles, scale=(1, 5)))


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("Matrix, The (1999)", "the matrix"),
        ("The Matrix", "the matrix"),
        ("Beautiful Mind, A (2001)", "a beautiful mind"),
        ("American in Paris, An (1951)", "an american in paris"),
        ("  Heat ", "heat"),
        ("STRASSE", normalise("straße")),
        ("2001: A Space Odyssey (1968)", "2001: a space odyssey"),
        ("1984", "1984"),
        ("(500) Days of Summer (2009)", "(500) days of summer"),
    ],
)
def test_normalise(title, wanted):
    assert normalise(title) == wanted


@settings(deadline=None)
@given(st.text())
def test_normalising_does_not_depend_on_case(title):
    assert normalise(title.casefold()) == normalise(title)


@pytest.mark.parametrize("text", ["Matrix, The (1999)", "The Matrix", "the matrix", "Matrix, The", "The Matrix (1999)"])
def test_find_takes_what_people_type(index, text):
    assert index.find(text) == [0]


def test_find_takes_whole_titles_only(index):
    assert index.find("Alien") == [1]


def test_an_ambiguous_title_gives_all(index):
    assert index.find("solaris") == [3, 4]


def test_the_exact_title_is_not_ambiguous(index):
    assert index.find("Solaris (2002)") == [4]


def test_find_gives_nothing_for_what_is_not_there(index):
    assert index.find("Stalker") == []


@pytest.mark.parametrize(("text", "hint"), [("matrx", TITLES[0]), ("solar", TITLES[3]), ("Alein", TITLES[1])])
def test_similar_hints_at_misspelt_and_partial_titles(index, text, hint):
    assert hint in index.similar(text)


def test_similar_has_no_hint_for_nonsense(index):
    assert index.similar("qqqqqqqq") == []
    assert index.similar("") == []


def test_similar_gives_at_most_n(index):
    assert len(index.similar("a", n=2)) <= 2


class TestAsPeopleUseThem:
    def test_a_title_is_as_good_as_the_id(self, model):
        by_title, by_id = model.fold_in({"The Matrix": 5.0}), model.fold_in({1: 5.0})
        assert by_title.predict(["Alien"]) == by_id.predict([2])

    def test_an_id_typed_as_text_is_the_id(self, model):
        assert model.fold_in({"1": 5.0}).ratings.indices.tolist() == [0]

    def test_an_ambiguous_title_is_refused_with_the_ids(self, model):
        with pytest.raises(DataError, match=r"2 items are called 'solaris'.*id 4.*id 5.*give the id"):
            model.recommend({"solaris": 5.0})

    def test_an_unknown_title_is_refused_with_a_hint(self, model):
        with pytest.raises(DataError, match="'the matrx' is not known; did you mean 'Matrix, The"):
            model.recommend({"the matrx": 5.0})

    def test_an_unknown_id_is_refused(self, model):
        with pytest.raises(DataError, match="item 77 is not known; give the id"):
            model.recommend({77: 5.0})

    def test_one_item_by_id_and_by_title_is_refused(self, model):
        with pytest.raises(DataError, match="'The Matrix' and 1 are the same item"):
            model.recommend({"The Matrix": 5.0, 1: 4.0})

    def test_without_titles_items_are_known_by_id(self):
        plain = BiasModel().fit(Ratings.from_arrays([1, 2], [1, 2], [3.0, 4.0]))
        assert plain.recommend({1: 3.0})[0].title == "2"
        with pytest.raises(DataError, match="is not known; give the id of an item"):
            plain.recommend({"The Matrix": 3.0})

    def test_fitting_again_forgets_the_old_titles(self):
        first = Ratings.from_arrays([1, 1, 2], [1, 2, 3], [3, 4, 5], titles={1: "A", 2: "B", 3: "C"}, scale=(1, 5))
        second = Ratings.from_arrays([1, 1, 2], [1, 2, 3], [3, 4, 5], titles={1: "C", 2: "B", 3: "A"}, scale=(1, 5))
        model = BiasModel().fit(first)
        assert model.fold_in({"A": 5.0}).ratings.indices.tolist() == [0]
        model.fit(second)
        assert model.fold_in({"A": 5.0}).ratings.indices.tolist() == [2]
