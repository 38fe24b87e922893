"""`hyvae.Client` against the service: what a program in Python does."""

import pytest
from listening import TOKEN

import hyvae
from hyvae import Recommender, ServiceError


@pytest.fixture
def asking(client):
    with hyvae.Client(str(client.base_url), token=TOKEN) as asking:
        yield asking


def test_it_answers_as_the_library_does(asking, run):
    recommender = Recommender.load(run)
    someone = {"Film 3 (1953)": 5.0, 100: 2.0}
    assert [x["item"] for x in asking.recommend(someone, 5)] == [x.item for x in recommender.recommend(someone, 5)]
    assert [x["item"] for x in asking.recommend(103, 3, diversity=0.0)] == [
        x.item for x in recommender.recommend(103, 3)
    ]
    assert asking.predict(103, ["Film 3 (1953)"])[0]["prediction"] == pytest.approx(
        float(recommender.predict([103], [109])[0]), abs=1e-5
    )
    assert asking.explain(103, 109)["reasons"]
    assert asking.items("film 3")[0]["title"] == "Film 3 (1953)"
    assert len(asking.similar(109, 4)) == 4
    assert asking.model()["fingerprint"] == recommender.fingerprint


def test_it_stores_undoes_and_forgets(asking):
    key = asking.rate(5, "Film 3 (1953)", 4.0)
    assert asking.rate(5, "Film 3 (1953)", 4.0, key=key) == key
    assert [each["item"] for each in asking.ratings(5)] == [109]
    assert asking.recommend(5)
    assert asking.undo(key)["undone"] is True
    assert asking.forget(5)["events"] == 1
    assert asking.reload()["changed"] is False


def test_problems_are_errors_with_their_status(asking):
    with pytest.raises(ServiceError, match="did you mean") as told:
        asking.recommend({"Film 3x": 5.0})
    assert (told.value.status, told.value.problem["errors"][0]["field"]) == (404, "ratings.0.item")
    with pytest.raises(ServiceError) as told:
        hyvae.Client("http://127.0.0.1:1").model()
    assert told.value.status == 0
    with pytest.raises(ServiceError) as told:
        hyvae.Client(str(asking.http.base_url)).rate(1, 100, 5.0)
    assert told.value.status == 401


def test_ids_with_any_characters_reach_it(asking):
    with pytest.raises(ServiceError) as told:
        asking.similar("a/b?c#d %")
    assert told.value.status == 404
    assert "a/b?c#d %" in str(told.value)
