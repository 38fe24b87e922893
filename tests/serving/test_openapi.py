"""What the OpenAPI document promises, asked with all that it allows and more."""

import os
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from listening import TOKEN, served
from schemathesis.specs.openapi.checks import positive_data_acceptance

from hyvae.serving.app import create_app
from hyvae.serving.settings import Settings

EXAMPLES = int(os.environ.get("HYVAE_OPENAPI_EXAMPLES", "25"))


@pytest.fixture(scope="module")
def listening(run, tmp_path_factory):
    """With a store, and a token that schemathesis is given."""
    database = f"sqlite:///{tmp_path_factory.mktemp('openapi')}/events.db"
    with served(Settings(run=run, token=TOKEN, read_token=TOKEN, rate=0, database=database)) as client:
        yield client


def test_no_5xx_and_no_answer_that_is_not_declared(listening):
    address = str(listening.base_url).rstrip("/")
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def holds(case):
            # a schema cannot say all, such as that ids must be known and ratings on the scale
            case.call_and_validate(
                headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[positive_data_acceptance]
            )

        holds()


def test_every_route_is_described_with_its_problems(run: Path):
    document = create_app(Settings(run=run)).openapi()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["description"], (path, method)
            assert any(status.startswith("2") for status in route["responses"])
            if path.startswith("/v1"):
                assert {"401", "422", "429"} <= set(route["responses"]), (path, method)
    assert "ProblemDetails" in document["components"]["schemas"]
    assert "HTTPValidationError" not in str(document)
