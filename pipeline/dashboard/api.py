"""The same as JSON, for programs; described by /api/openapi.json."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from db.lifecycle import searches
from db.reads import lineage
from db.schema.session import transaction
from pipeline.actions.genotypes import find_stored
from pipeline.config.search import load_config
from pipeline.dashboard import failures, genotypes, summaries, workers
from pipeline.dashboard.access import Access
from pipeline.dashboard.searches import steer
from pipeline.errors import Failure
from pipeline.spaces.cells.published import PUBLISHED

router = APIRouter(prefix="/api")


class Budget(BaseModel):
    """What `extend` changes."""

    children: int | None = None
    hours: float | None = None
    device_hours: float | None = None
    target_reward: float | None = None
    plateau: int | None = None


@router.get("/searches")
def list_searches() -> list[dict[str, object]]:
    """All searches, the newest last."""
    with transaction(read_only=True) as connection:
        return [summaries.overview(connection, row) for row in searches.list_all(connection)]


@router.get("/searches/{name}")
def show_search(name: str) -> dict[str, object]:
    """A search: its status and its whole configuration."""
    with transaction(read_only=True) as connection:
        config = load_config(searches.get(connection, name).config).model_dump(mode="json")
        return {**summaries.status(connection, name), "config": config}


@router.post("/searches/{name}/{verb}")
def change(request: Request, name: str, verb: str, budget: Budget | None = None) -> dict[str, str]:
    """pause, resume, stop or extend a search; needs the token."""
    access: Access = request.app.state.access
    access.require_form(request, "")
    asked = budget.model_dump(exclude_none=True) if budget is not None else {}
    return {"done": steer(name, verb, asked)}


@router.get("/searches/{name}/genotypes")
def list_genotypes(
    name: str,
    asked: Annotated[genotypes.GenotypeQuery, Query()],
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
) -> list[dict[str, object]]:
    """Genotypes with a reward, ranked and filtered; pages of ``limit``."""
    with transaction(read_only=True) as connection:
        return genotypes.listed(connection, name, asked, limit, (asked.page - 1) * limit)


@router.get("/genotypes/{digest}")
def show_genotype(digest: str) -> dict[str, object]:
    """A genotype, by six letters or more of its digest."""
    with transaction(read_only=True) as connection:
        genotype = genotypes.found(connection, digest)
        stored = find_stored(connection, digest) if digest not in PUBLISHED else None
        rows = lineage.children_of_genotype(connection, stored.id) if stored is not None else []
    return {
        "digest": genotype.digest,
        "genotype": genotype.to_data(),
        "children": [child._asdict() for child in rows],
    }


@router.get("/workers")
def list_workers() -> list[dict[str, object]]:
    """Worker processes, what each holds, and how long it has been silent."""
    with transaction(read_only=True) as connection:
        return workers.slots(connection)


@router.get("/failures")
def list_failures(
    search: str = "",
    failure: Failure | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> list[dict[str, object]]:
    """Attempts that failed, the newest first."""
    with transaction(read_only=True) as connection:
        return failures.listed(connection, search, failure, limit, offset)
