"""Many people at once: what each is told is what they are told alone."""

import numpy as np
import pytest

from hyvae import BiasModel, DataError, HyVAE, Recommender
from hyvae.ratings import Ratings, Vocabulary

SMALL = {"samples": 4, "sample_width": 4, "chains": 2, "sweeps": 12, "epochs": 6}


@pytest.fixture(scope="module", params=["hyvae", "bias", "autorec", "ranking"])
def recommender(request, parts):
    if request.param == "bias":
        return BiasModel().fit(*parts)
    if request.param == "hyvae":
        return HyVAE(**SMALL).fit(*parts, seed=0, progress=False)
    if request.param == "ranking":
        return Recommender("mult_dae", preset="ranking", epochs=3).fit(*parts, seed=0, progress=False)
    return Recommender("autorec", epochs=3).fit(*parts, seed=0, progress=False)


@pytest.fixture(scope="module")
def someone(parts):
    """Four people, one of whom has rated nothing, of items that all have training ratings but one."""
    rng = np.random.default_rng(5)
    rated = rng.random((4, parts[0].n_items)) < 0.2
    rated[2], rated[1, -1] = False, True
    rows, columns = np.nonzero(rated)
    values = rng.integers(1, 6, len(rows))
    return Ratings.from_indices(Vocabulary.of(np.arange(4)), parts[0].items, rows, columns, values, scale=(1.0, 5.0))


def alone(recommender, someone, row):
    items, values = someone.history(row)
    return recommender.fold_in(dict(zip(someone.items.ids[items].tolist(), values.tolist(), strict=True)))


def test_lists_are_those_that_each_gets_alone(recommender, someone):
    items, scores = recommender.people(someone).best(7)
    for row in range(4):
        expected = alone(recommender, someone, row).recommend(7)
        assert someone.items.ids[items[row]].tolist() == [line.item for line in expected]
        shown = scores[row].clip(1, 5) if recommender.predicts_ratings else scores[row]
        np.testing.assert_allclose(shown, [line.score for line in expected], atol=1e-5)


def test_all_scores_are_the_pairs_predicted(recommender, someone):
    people = recommender.people(someone)
    scores = people.scores()
    rows, columns = np.indices(scores.shape)
    every = Ratings.from_indices(someone.users, someone.items, rows.ravel(), columns.ravel(), np.ones(scores.size))
    np.testing.assert_allclose(people.predict(every), scores.ravel(), atol=1e-5)
    if recommender.predicts_ratings:
        for row in range(4):
            told = alone(recommender, someone, row).predict(someone.items.ids.tolist())
            np.testing.assert_allclose(scores[row].clip(1, 5), told, atol=1e-5)


def test_evidence_is_that_of_known_users(parts):
    model = BiasModel().fit(*parts)
    users = np.flatnonzero(parts[0].user_counts)[:5]
    some = parts[0].take(np.isin(parts[0].user_index, users))
    found, expected = model.people(some).evidence(), model.evidence(some)
    np.testing.assert_allclose(found.spread[some.user_index], expected.spread, atol=1e-5)
    np.testing.assert_array_equal(found.counts[some.user_index], expected.counts)


def test_people_of_other_items_are_refused(recommender):
    other = Ratings.from_indices(Vocabulary.of([0]), Vocabulary.of([5, 6]), np.zeros(1, int), np.ones(1, int), [3.0])
    with pytest.raises(DataError, match="same items"):
        recommender.people(other)
