"""A client of `hyvae serve`, for programs in Python: `hyvae.Client`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from hyvae.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    import httpx

Id = int | str
Who = Id | Mapping[Id, float]
#: what a token may be made of
SENDABLE = re.compile(r"[!-~]+")


class Client:
    """Asks a service; answers are what it sends, as dicts and lists.

    Parameters
    ----------
    address : str
        Where it is, such as ``http://127.0.0.1:8000``.
    token : str, optional
        For what takes one.
    timeout : float
        Seconds to wait for an answer.
    http : httpx.Client, optional
        Asks in its place, with its own settings.

    Raises
    ------
    ConfigError
        httpx is not installed, or the token cannot be sent.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 10.0,
        http: httpx.Client | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ConfigError("the client needs httpx: pip install 'hyvae[client]'") from error
        self._failed = httpx.HTTPError
        if token and not SENDABLE.fullmatch(token):
            raise ConfigError("the token has blanks, or characters other than ASCII's; no service has such a one")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = http or httpx.Client(base_url=address, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its connections."""
        self.http.close()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Any request of the API.

        Raises
        ------
        ServiceError
            The service refuses, or is not reached.
        """
        try:
            answer = self.http.request(method, path, **request)
        except self._failed as error:
            raise ServiceError(f"{self.http.base_url}: {error}", 0) from error
        if answer.is_success:
            return answer.json()
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        raise ServiceError(str(problem.get("detail", answer.reason_phrase)), answer.status_code, problem)

    def model(self) -> dict[str, Any]:
        """What answers: model, scale, sizes."""
        return self.ask("GET", "/v1/model")

    def recommend(self, who: Who, n: int = 10, **options: Any) -> list[dict[str, Any]]:
        """A list for a known user, or for someone given by their ratings.

        Parameters
        ----------
        who : id, or dict of item id or title to rating
        options
            ``include_seen``, ``allow``, ``deny``, ``max_sd``, ``diversity``, ``coverage``.
        """
        return self.ask("POST", "/v1/recommend", json={**_whom(who), "n": n, **options})["recommendations"]

    def predict(self, who: Who, items: Iterable[Id], **options: Any) -> list[dict[str, Any]]:
        """Predicted ratings of items, each with its standard deviation and interval.

        Parameters
        ----------
        options
            ``coverage``, ``distribution``, ``branches``.
        """
        return self.ask("POST", "/v1/predict", json={**_whom(who), "items": list(items), **options})["predictions"]

    def explain(self, who: Who, item: Id, n: int = 5) -> dict[str, Any]:
        """Which ratings move the prediction of an item most. Of a known user, it takes the token."""
        return self.ask("POST", "/v1/explain", json={**_whom(who), "item": item, "n": n})

    def items(self, query: str = "", limit: int = 10) -> list[dict[str, Any]]:
        """Items whose titles hold what is asked for; with nothing asked for, what is rated most."""
        return self.ask("GET", "/v1/items", params={"query": query, "limit": limit})["items"]

    def similar(self, item: Id, limit: int = 10) -> list[dict[str, Any]]:
        """Items like another."""
        return self.ask("GET", f"/v1/items/{_part(item)}/similar", params={"limit": limit})["items"]

    def rate(self, user: Id, item: Id, rating: float, *, key: str | None = None) -> str:
        """Store a rating; it is on the disk when this returns, and the next recommendation uses it.

        Parameters
        ----------
        key : str, optional
            Of this event: sent again, it is stored once. Default: a new one.

        Returns
        -------
        str
            The key, by which it can be undone.
        """
        key = uuid.uuid4().hex if key is None else key
        self.ask("POST", "/v1/ratings", json={"events": [{"user": user, "item": item, "rating": rating, "key": key}]})
        return key

    def undo(self, key: str) -> dict[str, Any]:
        """Take a stored rating back."""
        return self.ask("DELETE", f"/v1/ratings/{_part(key)}")

    def ratings(self, user: Id) -> list[dict[str, Any]]:
        """All that was stored of a user."""
        return self.ask("GET", f"/v1/users/{_part(user)}/ratings")["events"]

    def forget(self, user: Id) -> dict[str, Any]:
        """Delete what was stored of a user, and answer no more from what the run holds of them.

        Returns
        -------
        dict
            ``erased`` is False while a log of the database still holds what was deleted.
        """
        return self.ask("DELETE", f"/v1/users/{_part(user)}")

    def reload(self) -> dict[str, Any]:
        """Let the run that is in its place now answer."""
        return self.ask("POST", "/v1/admin/reload")


def _whom(who: Who) -> dict[str, Any]:
    if isinstance(who, Mapping):
        return {"ratings": [{"item": item, "rating": rating} for item, rating in who.items()]}
    return {"user": who}


def _part(name: Id) -> str:
    """A name as one segment of a path."""
    quoted = quote(str(name), safe="")
    # these two would be taken for the folder itself, and the one above
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted
