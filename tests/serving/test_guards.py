"""Safe by default: tokens, limits, headers, problems that tell nothing of the inside."""

import json
import socket

import httpx
import pytest
from listening import TOKEN, WRITING, served

from hyvae.serving.guards import RateLimit
from hyvae.serving.settings import Settings

ASK = {"ratings": [{"item": 100, "rating": 5.0}], "n": 1}


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/ratings"),
            ("DELETE", "/v1/ratings/k"),
            ("GET", "/v1/users/100/ratings"),
            ("DELETE", "/v1/users/100"),
            ("POST", "/v1/admin/reload"),
        ],
    )
    @pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1], TOKEN + "x", "Ünïcode"])
    def test_writing_and_administration_take_the_token(self, reading, method, path, token):
        headers = {} if token is None else {"authorization": f"Bearer {token}".encode()}
        refused = reading.request(method, path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["type"] == "/problems/not-authorised"

    def test_without_a_token_nobody_may_write(self, run):
        with served(Settings(run=run, rate=0)) as client:
            assert client.post("/v1/admin/reload").status_code == 401
            assert client.post("/v1/admin/reload", headers={"authorization": "Bearer None"}).status_code == 401
            assert client.post("/v1/admin/reload", headers={"authorization": "Basic Og=="}).status_code == 401
            assert client.post("/v1/recommend", json=ASK).status_code == 200

    def test_reading_takes_one_where_one_is_set(self, run):
        with served(Settings(run=run, token=TOKEN, read_token="reading only", rate=0)) as client:
            assert client.post("/v1/recommend", json=ASK).status_code == 401
            for token in ("reading only", TOKEN):
                headers = {"authorization": f"Bearer {token}"}
                assert client.post("/v1/recommend", json=ASK, headers=headers).status_code == 200
            refused = client.post("/v1/admin/reload", headers={"authorization": "Bearer reading only"})
            assert refused.status_code == 401
            assert client.get("/healthz").status_code == 200


class TestLimits:
    def test_a_body_too_long_is_refused_before_it_is_read(self, run):
        with served(Settings(run=run, max_body=2000, rate=0)) as client:
            refused = client.post("/v1/recommend", content=b" " * 2001)
            assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-large")
            chunks = client.post("/v1/recommend", content=iter([b" " * 1500, b" " * 1500]))
            assert chunks.status_code == 413
            assert client.post("/v1/recommend", json=ASK).status_code == 200

    def test_too_many_requests_of_one_address_are_told_when_to_come_again(self, run):
        with served(Settings(run=run, rate=0.5, burst=3)) as client:
            answers = [client.post("/v1/recommend", json=ASK) for _ in range(5)]
            assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
            assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
            assert client.get("/healthz").status_code == 200

    def test_a_bucket_fills_again_and_addresses_do_not_share_one(self):
        limit = RateLimit(rate=2.0, burst=2)
        assert [limit.wait("a", 0.0) for _ in range(3)] == [0, 0, 0.5]
        assert limit.wait("b", 0.0) == 0
        assert limit.wait("a", 0.5) == 0
        assert limit.wait("a", 0.5) > 0
        assert [limit.wait("a", 100.0) for _ in range(3)] == [0, 0, 0.5]

    def test_a_request_that_never_ends_is_given_up(self, run):
        with served(Settings(run=run, timeout=0.3, rate=0)) as client:
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as slow:
                slow.sendall(b"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{")
                assert b"503" in slow.recv(4096).split(b"\r\n")[0]
            assert client.post("/v1/recommend", json=ASK).status_code == 200


class TestHostileRequests:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b'"text"',
            b'{"ratings": [{"item": 100, "rating": NaN}]}',
            b'{"ratings": [{"item": 100, "rating": Infinity}]}',
            b'{"ratings": [{"item": 100, "rating": 1e999}]}',
            b'{"ratings": [{"item": 100, "rating": "5"}, {"item": null}]}',
            b'{"ratings": {"100": 5}}',
            b'{"ratings": [{"item": {"$gt": ""}, "rating": 5}]}',
            b'{"ratings": [{"item": 100, "rating": 5}, {"item": 100, "rating": 4}]}',
            b'{"ratings": [{"item": 100, "rating": 6}]}',
            b'{"ratings": [{"item": "\\ud800", "rating": 5}]}',
            b'{"ratings": [{"item": "a\\u0000b", "rating": 5}]}',
            b'{"ratings": [{"item": "\\u202e", "rating": 5}]}',
            b'{"ratings": [{"item": 99999999999999999999999999, "rating": 5}]}',
            b'{"ratings": [{"item": -9223372036854775809, "rating": 5}]}',
            b'{"ratings": [], "n": 1000000}',
            b'{"ratings": [], "n": -1}',
            b'{"ratings": [], "n": 1.5}',
            b'{"ratings": [], "surprise": 1}',
            b'{"ratings": [], "user": 100}',
            b"{}",
            b'{"user": true}',
            b'{"user": "' + b"x" * 100_000 + b'"}',
            b'{"user": 100, "diversity": 2}',
            b'{"user": 100, "deny": ["no such film"]}',
            b"[" * 100_000,
            b'{"ratings": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
            b"\xff\xfe{}",
            b'{"ratings": [' + b",".join(b'{"item": 100, "rating": 5}' for _ in range(10_000)) + b"]}",
        ],
        ids=lambda body: body[:40].decode("latin-1"),
    )
    def test_what_cannot_be_answered_gets_a_typed_4xx(self, reading, body):
        answer = reading.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.content)
        assert problem["status"] == answer.status_code
        assert problem["type"].startswith("/problems/")
        assert len(answer.content) < 20_000
        for inside in ("Traceback", "/src/", "site-packages", "File "):
            assert inside not in answer.text

    def test_a_million_items_are_refused(self, run):
        with served(Settings(run=run, rate=0, max_body=50_000_000)) as client:
            body = b'{"user": 100, "items": [' + b",".join([b"100"] * 1_000_000) + b"]}"
            answer = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")

    @pytest.mark.parametrize(
        "path",
        [
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/..%2f..%2fetc%2fpasswd",
            "/page.js/../../app.py",
            "/index.html%00",
            "/v1/items/..%2f..%2fconfig.json/similar",
            "/v1/items/%00/similar",
            "/v1/items/%ff/similar",
            "/v1/items/%ED%A0%80/similar",
            "/v1/items/" + "9" * 100 + "/similar",
            "/v1/items?limit=0",
            "/v1/items?limit=99999999999999999999",
            "/v1/items?query=%00",
            "/v1/items?query=" + "x" * 5000,
            "/docs",
            "/v1",
            "//v1/model",
        ],
    )
    def test_paths_that_lead_nowhere(self, reading, path):
        with socket.create_connection((reading.base_url.host, reading.base_url.port), timeout=10) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            answer = b""
            while part := raw.recv(65536):
                answer += part
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 500, answer
        assert b"root:" not in answer
        assert b"application/problem+json" in answer

    def test_a_method_that_is_not_there(self, reading):
        answer = reading.put("/v1/recommend", json=ASK)
        assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")

    @pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    def test_a_form_of_a_page_elsewhere_is_no_request(self, reading, content_type):
        body = json.dumps(ASK)
        answer = reading.post("/v1/recommend", content=body, headers={"content-type": content_type})
        assert 400 <= answer.status_code < 500

    def test_a_name_that_was_made_to_lead_here_is_refused(self, reading):
        answer = reading.get("/v1/model", headers={"host": "evil.example"})
        assert (answer.status_code, answer.json()["type"]) == (421, "/problems/wrong-host")
        assert reading.get("/v1/model", headers={"host": "localhost:8000"}).status_code == 200
        assert reading.get("/v1/model", headers={"host": "[::1]:8000"}).status_code == 200


def test_every_answer_carries_the_headers_and_none_lets_other_sites_read(reading):
    for answer in (reading.get("/v1/model"), reading.get("/nothing"), reading.post("/v1/recommend", content=b"{")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    asked = reading.options(
        "/v1/recommend", headers={"origin": "https://elsewhere", "access-control-request-method": "POST"}
    )
    assert asked.status_code == 405


def test_what_fails_inside_says_nothing_of_it(run, monkeypatch, caplog):
    from hyvae.serving.engine import Engine

    def failing(self, *given):
        raise RuntimeError("secret inside")

    with served(Settings(run=run, rate=0)) as client:
        monkeypatch.setattr(Engine, "answer", failing)
        answer = client.post("/v1/recommend", json=ASK)
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert "secret" not in answer.text


def test_logs_hold_no_ids_addresses_or_bodies(run, tmp_path, caplog):
    caplog.set_level("INFO", logger="hyvae.serving")
    with served(Settings(run=run, token=TOKEN, rate=0, database=f"sqlite:///{tmp_path}/events.db")) as client:
        client.post("/v1/recommend", json={"user": 103})
        event = {"user": 31415926, "item": 100, "rating": 5, "key": "key-27182818"}
        client.post("/v1/ratings", json={"events": [event]}, headers=WRITING)
        client.delete("/v1/users/31415926", headers=WRITING)
        client.get("/v1/items", params={"query": "privatequery"})
    said = " ".join(str(vars(record)) for record in caplog.records)
    assert "'route': '/v1/users/{user}'" in said
    for private in ("31415926", "27182818", "privatequery", "127.0.0.1", TOKEN):
        assert private not in said


def test_metrics_count_by_route_never_by_path(reading):
    reading.get("/v1/items/100/similar")
    reading.get("/nowhere/at/all")
    text = reading.get("/metrics").text
    assert 'hyvae_requests_total{method="GET",route="/v1/items/{item}/similar",status="200"}' in text
    assert 'route="unmatched",status="404"' in text
    assert "nowhere" not in text


def test_too_many_that_wait_are_told_to_come_again(run):
    with served(Settings(run=run, rate=0, queue=1, batch=1)) as client:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            url = client.base_url.join("/v1/recommend")
            found = list(pool.map(lambda _: httpx.post(url, json=ASK, timeout=30).status_code, range(64)))
    assert set(found) <= {200, 503}
    assert 200 in found
