"""Errors as answers: problem details (RFC 9457) that name the field and the mend, and nothing of the inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
_UNKNOWN_ROUTE = {404: "there is nothing at this address; see /openapi.json", 405: "this address takes another method"}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="where it is in the request, such as ratings.0.item")
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = Field(description="which kind of problem, a relative URI that stays the same")
    title: str
    status: int
    detail: str = Field(description="what is wrong here, and the mend")
    errors: list[FieldError] = Field(default=[], description="the fields at fault, where there are some")


class Problem(Exception):  # noqa: N818 — the RFC's word
    """A request that cannot be answered as it is.

    Parameters
    ----------
    status : int
        Of HTTP.
    kind : str
        Last part of the problem's type, such as ``unknown-item``.
    detail : str
        For the caller: what is wrong, and the mend.
    field : str, optional
        Which one is at fault.
    headers : dict, optional
        Of the answer.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.field, self.headers = status, kind, detail, field, headers

    def at(self, prefix: str) -> Problem:
        """The problem, said of a request within another."""
        self.field = prefix if self.field is None else f"{prefix}.{self.field}"
        return self

    def response(self) -> JSONResponse:
        """As an answer."""
        errors = [] if self.field is None else [FieldError(field=self.field, detail=self.detail)]
        return problem_response(self.status, self.kind, self.detail, errors, self.headers)


def problem_response(
    status: int, kind: str, detail: str, errors: Sequence[FieldError] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem as JSON."""
    title = kind.replace("-", " ").capitalize()
    content = ProblemDetails(type=f"/problems/{kind}", title=title, status=status, detail=detail, errors=list(errors))
    return JSONResponse(content.model_dump(), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error that an application foresees a problem; `hyvae.serving.guards` answers for the rest."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


async def _of_problem(request: Request, error: Any) -> JSONResponse:
    return error.response()


async def _of_validation(request: Request, error: Any) -> JSONResponse:
    # what was sent is not repeated: it may be what no JSON can hold, such as NaN
    errors = [
        FieldError(field=_place(one["loc"]), detail=_plain(one["msg"].removeprefix("Value error, ")))
        for one in error.errors()[:20]
    ]
    first = f"{errors[0].field}: {errors[0].detail}" if errors else "it is not what /openapi.json describes"
    return problem_response(422, "invalid-request", f"the request cannot be used; {first}", errors)


def _place(where: Sequence[int | str]) -> str:
    inside = where[1:] if where and where[0] in ("body", "query", "path", "header") else where
    return _plain(".".join(str(part) for part in inside)) or "body"


def _plain(text: str) -> str:
    """Text of a caller's making as UTF-8 can write it."""
    return text.encode("utf-8", "replace").decode()[:300]


async def _of_http(request: Request, error: Any) -> JSONResponse:
    detail = _UNKNOWN_ROUTE.get(error.status_code, str(error.detail))
    kinds = {404: "not-found", 405: "method-not-allowed", 400: "bad-request"}
    kind = kinds.get(error.status_code, "http-error")
    return problem_response(error.status_code, kind, detail, headers=error.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says in the OpenAPI document of the problems that it may answer with."""
    described = {
        400: "Not readable as a request",
        401: "No token, or a wrong one",
        404: "Unknown user or item, with a hint",
        409: "Contradicts what is stored",
        413: "More than is taken at once",
        422: "Not as described here; the fields are named",
        429: "Too many requests; Retry-After says when",
        500: "The service failed",
        503: "Not able now; try again",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"description": described[status], "content": content} for status in sorted(statuses)}
