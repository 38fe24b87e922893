"""The application: routes, each a line of what the service does."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import AfterValidator

import hyvae
from hyvae.serving import limits, problems, schemas
from hyvae.serving.guards import Credentials, Guards, reader, writer
from hyvae.serving.observing import Metrics, log
from hyvae.serving.problems import responses
from hyvae.serving.service import Service
from hyvae.serving.settings import Settings

PAGE = Path(str(files("hyvae.serving").joinpath("page")))
_PAGE_SCRIPTS = (
    "page",
    "charts",
    "dom",
    "film",
    "finder",
    "given",
    "list",
    "map",
    "memory",
    "service",
    "stars",
    "words",
)
_PAGE_FILES = {"": "text/html", "page.css": "text/css", **{f"{name}.js": "text/javascript" for name in _PAGE_SCRIPTS}}

NameInAddress = Annotated[schemas.Name, InPath()]
KeyInAddress = Annotated[schemas.Key, InPath()]
Limit = Annotated[int, Query(ge=1, le=100)]
_STILL_THERE = "Deleted, and not yet erased from the database's log"
_READING = responses(400, 401, 404, 413, 422, 429, 500, 503)
_WRITING = responses(400, 401, 404, 409, 413, 422, 429, 500, 503)


def create_app(settings: Settings) -> FastAPI:
    """The application, with its run loaded.

    Raises
    ------
    HyvaeError
        The run cannot be loaded, or the store not be opened.
    """
    metrics = Metrics()
    service = Service(settings, metrics)
    metrics.loaded.set(service.engine.loaded_at)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()
        # after this the process may end by the signal that stops it
        for handler in log.handlers:
            handler.flush()

    app = FastAPI(
        title="hyvae",
        version=hyvae.__version__,
        description="Predicted ratings and recommendations, with how sure they are and why.",
        lifespan=living,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.settings, app.state.service, app.state.metrics = settings, service, metrics
    problems.install(app)
    asked_to_read = [] if settings.read_token is None else [Depends(reader)]
    app.include_router(_reading(service), dependencies=asked_to_read, responses=_READING)
    app.include_router(_writing(service, metrics), dependencies=[Depends(writer)], responses=_WRITING)
    app.include_router(_watching(service, metrics))
    if settings.page:
        app.include_router(_page(), include_in_schema=False)
    app.add_middleware(Guards, settings=settings, metrics=metrics)
    _describe_problems(app)
    return app


def _reading(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/model")
    async def model() -> schemas.Model:
        """What answers: the model, its scale, its sizes."""
        return service.engine.description

    @routes.post("/recommend", response_model=schemas.Recommendations)
    async def recommend(ask: schemas.RecommendRequest) -> Response:
        """Recommend to a known user, or to someone given by their ratings."""
        return _answer(await service.ask(ask))

    @routes.post("/recommend/batch", response_model=schemas.RecommendationLists)
    async def recommend_batch(ask: schemas.RecommendBatch) -> Response:
        """Recommend to many at once."""
        return _answer(await service.ask_all(ask.requests))

    @routes.post("/predict", response_model=schemas.Predictions)
    async def predict(ask: schemas.PredictRequest) -> Response:
        """Predict what a known user, or someone given by their ratings, would rate items."""
        return _answer(await service.ask(ask))

    @routes.post("/predict/batch", response_model=schemas.PredictionLists)
    async def predict_batch(ask: schemas.PredictBatch) -> Response:
        """Predict for many at once."""
        return _answer(await service.ask_all(ask.requests))

    @routes.post("/predict/pairs", response_model=schemas.PairPredictions)
    async def predict_pairs(ask: schemas.PairsRequest) -> Response:
        """Predict ratings of pairs of a known user and an item."""
        return _answer(await service.pairs(ask))

    @routes.post("/explain", response_model=schemas.Explanation)
    async def explain(ask: schemas.ExplainRequest, request: Request, given: Credentials) -> Response:
        """Which ratings of someone move the prediction of an item most. Of a known user, it takes the token."""
        if ask.user is not None:
            # the reasons are the user's ratings, which GET /v1/users/ID/ratings tells nobody without it
            writer(request, given)
        return _answer(await service.explain(ask))

    @routes.get("/items", response_model=schemas.Items)
    async def items(
        query: Annotated[
            str,
            Query(max_length=schemas.LONGEST_QUERY, description="part of a title; empty: what is rated most"),
            AfterValidator(schemas.writable),
        ] = "",
        limit: Limit = 10,
    ) -> Response:
        """Find items by title."""
        catalogue = service.engine.catalogue
        if not query.strip():
            return _answer(await service.aside(lambda: catalogue.popular(limit), limits.SIMILAR))
        return _answer(await service.aside(lambda: catalogue.search(query, limit), limits.SEARCH))

    @routes.get("/items/{item:path}/similar", response_model=schemas.SimilarItems)
    async def similar(item: NameInAddress, limit: Limit = 10) -> Response:
        """Items that the model knows to be alike."""
        catalogue = service.engine.catalogue
        return _answer(await service.aside(lambda: catalogue.similar(item, limit), limits.SIMILAR))

    @routes.get("/map", response_model=schemas.Map)
    async def item_map() -> Response:
        """The most rated items in two dimensions."""
        engine = service.engine
        return _answer(await service.aside(lambda: engine.map_json, limits.SIMILAR))

    return routes


def _writing(service: Service, metrics: Metrics) -> APIRouter:
    settings = service.settings
    routes = APIRouter(prefix="/v1")

    @routes.post("/ratings", status_code=201)
    async def record(ask: schemas.EventsRequest) -> schemas.Stored:
        """Store ratings, all or none. When this answers they are on the disk, and recommendations use them."""
        stored = await service.record(ask)
        metrics.events.inc(stored.stored)
        return stored

    @routes.delete("/ratings/{key:path}")
    async def undo(key: KeyInAddress) -> schemas.StoredEvent:
        """Take a stored rating back: what was rated before counts again."""
        return await service.undo(key)

    @routes.get("/users/{user:path}/ratings")
    async def events(user: NameInAddress) -> schemas.StoredEvents:
        """All that was stored of a user."""
        return await service.events_of(user)

    @routes.delete("/users/{user:path}", responses={202: {"model": schemas.Forgotten, "description": _STILL_THERE}})
    async def forget(user: NameInAddress, response: Response) -> schemas.Forgotten:
        """Delete what was stored of a user, and answer no more from what the run holds of them."""
        forgotten = await service.forget(user)
        response.status_code = 202 if forgotten.erased is False else 200
        return forgotten

    @routes.post("/admin/reload")
    async def reload() -> schemas.Reloaded:
        """Load the run anew, check it, and let it answer; if it cannot, the one before goes on."""
        reloaded = await reload_run(service, metrics)
        if settings.supervisor is not None:
            # the other processes too
            os.kill(settings.supervisor, signal.SIGHUP)
        return reloaded

    return routes


async def reload_run(service: Service, metrics: Metrics) -> schemas.Reloaded:
    """Reload, and tell the log and the metrics what came of it."""
    try:
        reloaded = await service.reload()
    except problems.Problem as refused:
        metrics.reloads.labels("refused").inc()
        log.error("reload refused", extra={"facts": {"reason": str(refused.__cause__)}})
        raise
    metrics.reloads.labels("done").inc()
    metrics.loaded.set(service.engine.loaded_at)
    log.info("reloaded", extra={"facts": reloaded.model_dump()})
    return reloaded


def _watching(service: Service, metrics: Metrics) -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz", responses=responses(500))
    async def healthz() -> schemas.Health:
        """Whether the process lives."""
        return schemas.Health(status="ok")

    @routes.get("/readyz", responses=responses(500, 503))
    async def readyz() -> schemas.Health:
        """Whether it can answer, and ratings can be stored; if not, why."""
        await service.ready()
        return schemas.Health(status="ready")

    @routes.get("/metrics", response_class=PlainTextResponse, responses=responses(500))
    async def exposition() -> Response:
        """For Prometheus."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _page() -> APIRouter:
    routes = APIRouter()

    @routes.get("/")
    @routes.get("/{name}")
    async def page(name: str = "") -> Response:
        if name not in _PAGE_FILES:
            raise problems.Problem(404, "not-found", "there is nothing at this address; see /openapi.json")
        # its files must all be of one version: none from before an upgrade
        headers = {"cache-control": "no-cache"}
        return FileResponse(PAGE / (name or "index.html"), media_type=_PAGE_FILES[name], headers=headers)

    return routes


def _answer(content: bytes) -> Response:
    """JSON that was written in another thread, so that a long answer does not hold up this one."""
    return Response(content, media_type="application/json")


def _describe_problems(app: FastAPI) -> None:
    """In the OpenAPI document, with the schema of problems."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            components = document.setdefault("components", {}).setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                components.pop(unused, None)
            schema = problems.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(schema.pop("$defs", {}))
            components["ProblemDetails"] = schema
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
