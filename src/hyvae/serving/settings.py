"""What a service is set to."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Settings(BaseModel):
    """Settings of a service; the same in all its processes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Path = Field(description="run folder; read again at a reload")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    database: str | None = Field(None, description="URL of the store of ratings; None: nothing can be stored")
    token: SecretStr | None = Field(None, description="for writing and administration; None: neither is possible")
    read_token: SecretStr | None = Field(None, description="for reading; None: anyone who reaches the port")
    max_body: int = Field(1_000_000, ge=1_000, description="bytes of a request")
    rate: float = Field(100.0, ge=0, description="requests a second of one address, on average; 0: no limit")
    burst: int = Field(200, ge=1, description="requests of one address at once")
    timeout: float = Field(10.0, gt=0, description="seconds after which a request is given up")
    batch: int = Field(32, ge=1, le=1024, description="questions that are answered together")
    connections: int = Field(1_000, ge=1, description="connections of each process")
    connections_each: int = Field(50, ge=1, description="connections of one address, unless it is a trusted proxy")
    queue: int = Field(1_000, ge=1, description="questions that may wait; more are told to come again")
    supervisor: int | None = Field(None, description="process that starts the others, where there are several")
    page: bool = Field(True, description="whether the page is served")
