"""What the service answers is what the library answers."""

import json

import numpy as np
import pytest
from listening import TOKEN, WRITING, served

from hyvae import Ratings, Recommender
from hyvae.serving.catalogue import Catalogue
from hyvae.serving.settings import Settings


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender.load(run)


@pytest.fixture(scope="module")
def someone(recommender):
    """Ratings of someone new, by id."""
    ids = recommender.history.items.ids[np.flatnonzero(recommender.item_counts)[:8]].tolist()
    return dict(zip(ids, [5.0, 4.0, 1.0, 3.0, 5.0, 2.0, 4.0, 1.0], strict=True))


def given(ratings):
    return [{"item": item, "rating": rating} for item, rating in ratings.items()]


def ask(client, path, **question):
    answer = client.post(f"/v1/{path}", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestRecommending:
    def test_someone_new_gets_the_librarys_list(self, reading, recommender, someone):
        found = ask(reading, "recommend", ratings=given(someone), n=6)["recommendations"]
        expected = recommender.recommend(someone, 6)
        assert [line["item"] for line in found] == [line.item for line in expected]
        assert [line["title"] for line in found] == [line.title for line in expected]
        np.testing.assert_allclose([x["prediction"] for x in found], [x.score for x in expected], atol=1e-5)

    def test_a_known_user_gets_the_librarys_list(self, reading, recommender):
        user = int(recommender.history.users.ids[4])
        found = ask(reading, "recommend", user=user, n=6)["recommendations"]
        assert [line["item"] for line in found] == [line.item for line in recommender.recommend(user, 6)]

    def test_seen_denied_and_not_allowed_items_stay_out(self, reading, someone):
        def items(**more):
            lines = ask(reading, "recommend", ratings=given(someone), n=100, **more)["recommendations"]
            return [line["item"] for line in lines]

        everything = items()
        assert not set(everything) & set(someone)
        assert set(someone) & set(items(include_seen=True))
        assert items(deny=everything[:2]) == everything[2:]
        assert items(allow=everything[3:6]) == everything[3:6]
        assert items(allow=everything[3:6], deny=everything[4:5]) == [everything[3], everything[5]]

    def test_least_certainty_leaves_out_what_is_less_sure(self, reading, someone):
        everything = ask(reading, "recommend", ratings=given(someone), n=70)["recommendations"]
        middle = float(np.median([line["sd"] for line in everything]))
        sure = ask(reading, "recommend", ratings=given(someone), n=70, max_sd=middle)["recommendations"]
        assert [x["item"] for x in sure] == [x["item"] for x in everything if x["sd"] <= middle]
        assert 0 < len(sure) < len(everything)

    def test_a_diverse_list_begins_with_the_best_and_is_less_alike(self, reading, recommender, someone):
        def alike(items):
            rows = recommender.model.item_rows[recommender.history.items.index(items)].numpy()[:, :-1]
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            return (rows @ rows.T)[np.triu_indices(len(items), 1)].mean()

        def items(diversity):
            lines = ask(reading, "recommend", ratings=given(someone), n=8, diversity=diversity)["recommendations"]
            return [line["item"] for line in lines]

        assert items(0.0)[0] == items(0.7)[0]
        assert len(set(items(0.7))) == 8
        assert alike(items(0.7)) < alike(items(0.0)) - 0.1

    def test_a_diverse_list_of_nothing_is_empty(self, reading, someone):
        for nothing in ({"max_sd": 1e-6}, {"allow": []}):
            answer = ask(reading, "recommend", ratings=given(someone), diversity=0.5, **nothing)
            assert answer["recommendations"] == []

    def test_many_at_once_are_told_what_each_is_told_alone(self, reading, someone):
        requests = [
            {"ratings": given(someone), "n": 3},
            {"user": 103, "n": 5, "diversity": 0.4},
            {"ratings": [], "n": 2},
        ]
        found = ask(reading, "recommend/batch", requests=requests)["results"]
        for request, answer in zip(requests, found, strict=True):
            alone = ask(reading, "recommend", **request)["recommendations"]
            assert [x["item"] for x in answer["recommendations"]] == [x["item"] for x in alone]

    def test_the_model_knows_uncertainty_only_if_it_was_validated(self, string_run):
        with served(Settings(run=string_run, token=TOKEN, rate=0)) as client:
            assert client.get("/v1/model").json()["knows_uncertainty"] is False
            line = ask(client, "recommend", user="07", n=1)["recommendations"][0]
            assert (line["sd"], line["low"], line["high"]) == (None, None, None)
            refused = client.post("/v1/recommend", json={"user": "07", "max_sd": 0.5})
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "max_sd")
            # an id that looks like a number is none
            assert client.post("/v1/recommend", json={"user": 7}).status_code == 404


class TestPredicting:
    def test_predictions_are_the_librarys(self, reading, recommender, someone):
        items = recommender.history.items.ids[[70, 2, 40, 2, 79]].tolist()
        found = ask(reading, "predict", ratings=given(someone), items=items, distribution=True)["predictions"]
        folded = recommender.fold_in(someone)
        table = folded.predict_table(items)
        assert [x["item"] for x in found] == items
        np.testing.assert_allclose([x["prediction"] for x in found], table["prediction"], atol=1e-5)
        for ours, theirs in (("sd", "sd"), ("low", "interval_low"), ("high", "interval_high")):
            np.testing.assert_allclose([x[ours] for x in found], table[theirs], atol=1e-4)
        shares = folded.predict_distribution(items)
        for place, line in enumerate(found):
            assert sum(line["distribution"].values()) == pytest.approx(1, abs=1e-5)
            for level, share in line["distribution"].items():
                assert share == pytest.approx(shares[level][place], abs=1e-4)
        # the last item has no training ratings
        assert [x["fallback"] for x in found] == ["", "", "", "", "item"]

    def test_pairs_are_the_librarys(self, reading, recommender):
        users, items = [100, 103, 100, 106], recommender.history.items.ids[[3, 4, 5, 3]].tolist()
        pairs = [{"user": user, "item": item} for user, item in zip(users, items, strict=True)]
        found = ask(reading, "predict/pairs", pairs=pairs, coverage=0.8)["predictions"]
        table = recommender.predict_table(users, items, coverage=0.8)
        assert [x["user"] for x in found] == users
        np.testing.assert_allclose([x["prediction"] for x in found], table["prediction"], atol=1e-5)
        np.testing.assert_allclose([x["low"] for x in found], table["interval_low"], atol=1e-4)

    def test_branches_sum_to_the_networks_prediction(self, reading, recommender, someone):
        item = recommender.history.items.ids[30:31].tolist()
        said = ask(reading, "predict", ratings=given(someone), items=item, branches=True)["predictions"][0]["branches"]
        with recommender.model.network_alone():
            alone = float(recommender.fold_in(someone).predict(item)[0])
        low, high = recommender.history.scale
        total = said["effects"] + said["variational"] + said["deterministic"]
        assert min(max(total, low), high) == pytest.approx(alone, abs=1e-4)
        both = 0.7 * said["draws"] + 0.3 * total
        answer = float(recommender.fold_in(someone).predict(item)[0])
        assert min(max(both, low), high) == pytest.approx(answer, abs=1e-4)

    def test_explanations_are_the_librarys(self, reading, recommender, someone):
        item = recommender.history.items.ids[30:31].tolist()[0]
        found = ask(reading, "explain", ratings=given(someone), item=item, n=4)
        expected = recommender.explain(someone, item, 4)
        assert [x["item"] for x in found["reasons"]] == [reason.item for reason in expected]
        np.testing.assert_allclose([x["effect"] for x in found["reasons"]], [r.effect for r in expected], atol=1e-5)


class TestTheCatalogue:
    def test_items_are_found_by_any_words_of_their_title(self, reading):
        found = reading.get("/v1/items", params={"query": "film 7", "limit": 3}).json()["items"]
        assert found[0]["title"] == "Film 7 (1957)"
        assert reading.get("/v1/items", params={"query": "7 film"}).json()["items"]
        assert reading.get("/v1/items", params={"query": "Fulm 7"}).json()["items"][0]["title"] == "Film 7 (1957)"
        assert reading.get("/v1/items", params={"query": "zzzzzz"}).json()["items"] == []

    def test_with_nothing_typed_the_most_rated_come(self, reading, recommender):
        found = reading.get("/v1/items", params={"limit": 5}).json()["items"]
        assert [x["ratings"] for x in found] == sorted(recommender.item_counts.tolist(), reverse=True)[:5]

    def test_similar_items_leave_out_the_item_and_the_unrated(self, reading, recommender):
        found = reading.get("/v1/items/100/similar", params={"limit": 100}).json()["items"]
        assert 100 not in [x["item"] for x in found]
        assert len(found) == np.count_nonzero(recommender.item_counts) - 1
        assert [x["similarity"] for x in found] == sorted((x["similarity"] for x in found), reverse=True)

    def test_the_map_places_every_item_within_its_bounds(self, reading):
        places = reading.get("/v1/map").json()["items"]
        assert len(places) == 80
        assert max(max(abs(each["x"]), abs(each["y"])) for each in places) == pytest.approx(1)

    def test_the_map_is_of_the_principal_components(self, recommender):
        catalogue = Catalogue(recommender)
        items = [each.item for each in catalogue.map.items]
        rows = catalogue.directions(np.array([catalogue.index(item, "") for item in items]))
        left, _, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        for name, principal in zip("xy", left.T[:2], strict=True):
            places = np.array([getattr(each, name) for each in catalogue.map.items])
            assert abs(np.corrcoef(places, principal)[0, 1]) == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize("n_items", [2, 3])
    def test_a_map_of_few_items(self, n_items):
        some = Ratings.from_arrays([0, 1, 2], [0, 1 % n_items, 2 % n_items], [1.0, 2.0, 3.0])
        found = Catalogue(Recommender("mf").fit(some)).map.items
        assert len(found) == n_items
        assert all(np.isfinite([each.x, each.y]).all() for each in found)

    def test_the_model_is_described(self, reading, recommender):
        model = reading.get("/v1/model").json()
        assert (model["users"], model["items"]) == (58, 77)
        assert model["fingerprint"] == recommender.fingerprint
        assert model["scale"] == [1.0, 5.0]
        assert model["levels"] == [1.0, 2.0, 3.0, 4.0, 5.0]
        assert model["has_branches"] is True


class TestWhatUsersDo:
    def record(self, client, *events):
        rows = [dict(zip(("user", "item", "rating", "key"), event, strict=True)) for event in events]
        return client.post("/v1/ratings", json={"events": rows}, headers=WRITING)

    def test_the_next_recommendation_uses_a_rating(self, client, recommender):
        user = int(recommender.history.users.ids[4])
        items, values = recommender.history.history(4)
        history = dict(zip(recommender.history.items.ids[items].tolist(), values.tolist(), strict=True))
        best = ask(client, "recommend", user=user, n=1)["recommendations"][0]["item"]
        changed = next(iter(history))
        assert self.record(client, (user, best, 1.0, "k1"), (user, changed, 5.0, "k2")).json() == {
            "stored": 2,
            "repeated": 0,
        }
        found = ask(client, "recommend", user=user, n=5)["recommendations"]
        expected = recommender.recommend({**history, best: 1.0, changed: 5.0}, 5)
        assert [x["item"] for x in found] == [x.item for x in expected]
        for key in ("k1", "k2"):
            assert client.delete(f"/v1/ratings/{key}", headers=WRITING).json()["undone"] is True
        assert ask(client, "recommend", user=user, n=1)["recommendations"][0]["item"] == best

    def test_someone_new_is_known_from_their_first_rating(self, client, recommender):
        assert client.post("/v1/recommend", json={"user": 5}).status_code == 404
        assert self.record(client, (5, "Film 3 (1953)", 5.0, "k")).status_code == 201
        found = ask(client, "recommend", user=5, n=4)["recommendations"]
        assert [x["item"] for x in found] == [x.item for x in recommender.recommend({"Film 3 (1953)": 5.0}, 4)]

    def test_forgotten_someone_is_unknown_even_to_the_run(self, client):
        self.record(client, (103, 100, 5.0, "k"))
        assert client.delete("/v1/users/103", headers=WRITING).json() == {
            "user": 103,
            "events": 1,
            "in_run": True,
            "erased": True,
        }
        assert client.post("/v1/recommend", json={"user": 103}).status_code == 404
        assert client.get("/v1/users/103/ratings", headers=WRITING).json() == {"events": []}
        # who comes again begins anew
        self.record(client, (103, 100, 5.0, "k2"))
        alone = ask(client, "recommend", ratings=[{"item": 100, "rating": 5.0}], n=5)
        assert ask(client, "recommend", user=103, n=5) == alone

    def test_sent_again_it_is_stored_once_and_another_use_of_the_key_refused(self, client):
        assert self.record(client, (1, 100, 5.0, "k")).json() == {"stored": 1, "repeated": 0}
        assert self.record(client, (1, 100, 5.0, "k"), (1, 103, 2.0, "l")).json() == {"stored": 1, "repeated": 1}
        refused = self.record(client, (1, 106, 2.0, "new"), (1, 100, 4.0, "k"))
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (409, "events.1.key")
        assert [x["key"] for x in client.get("/v1/users/1/ratings", headers=WRITING).json()["events"]] == ["k", "l"]

    @pytest.mark.parametrize(
        ("event", "field"),
        [
            ((1, 100, 5.5, "k"), "events.0.rating"),
            ((1, 99, 5.0, "k"), "events.0.item"),
            (("one", 100, 5.0, "k"), "events.0.user"),
            ((1, 100, 5.0, ""), "events.0.key"),
            ((1, 100, 5.0, "a\x00b"), "events.0.key"),
            ((1.5, 100, 5.0, "k"), "events.0.user"),
            ((True, 100, 5.0, "k"), "events.0.user"),
            ((2**63, 100, 5.0, "k"), "events.0.user"),
        ],
    )
    def test_what_could_not_be_used_is_refused_by_field(self, client, event, field):
        refused = self.record(client, event)
        assert refused.status_code in (404, 422)
        assert refused.headers["content-type"] == "application/problem+json"
        assert any(error["field"].startswith(field) for error in refused.json()["errors"])

    def test_a_service_without_a_store_says_so(self, reading):
        assert self.record(reading, (1, 100, 5.0, "k")).json()["type"] == "/problems/no-store"


def test_every_answer_is_json_that_any_reader_takes(reading, someone):
    text = reading.post("/v1/recommend", json={"ratings": given(someone), "n": 50}).text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
