"""The service under fire: its fixtures are those of tests/serving."""

import importlib.util
import sys
from pathlib import Path

import pytest

SERVING = Path(__file__).parent.parent / "serving"
sys.path.append(str(SERVING))
_spec = importlib.util.spec_from_file_location("serving_fixtures", SERVING / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
run, string_run, postgres, database = (
    getattr(_fixtures, name) for name in ("run", "string_run", "postgres", "database")
)


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """An empty database of PostgreSQL."""
    return _fixtures.empty_database(postgres)
