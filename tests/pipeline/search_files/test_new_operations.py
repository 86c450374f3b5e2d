"""A search with an operation that is not built in travels, and lists are filtered by it there."""

from dataclasses import replace

from sqlalchemy import delete

from db.lifecycle import children, deletion, searches
from db.reads import ranking
from db.schema.models import Operation
from db.schema.session import transaction
from pipeline.actions.search_files import Form
from pipeline.cli.search_files import export, import_
from pipeline.config.search import load_config
from pipeline.spaces.cells import genotype
from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from tests.factories import (
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    new_child,
    queue_run,
    run_of,
)

NEW = "sep_conv_9x9"


def test_a_search_with_a_new_operation_is_filtered_by_it_where_it_was_imported(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(genotype, "OPERATIONS", (*genotype.OPERATIONS, NEW))
    monkeypatch.setattr(genotype, "_KNOWN", {*genotype.OPERATIONS})
    search_id = make_search("s", space={"blocks": 1, "operations": ["identity", NEW]})
    make_version(search_id)
    cell = Cell.with_unused_concat([Block(0, NEW, 1, "identity")])
    found = CellGenotype(cell, cell).canonical()
    child = replace(
        new_child(0),
        actions=(0, 1, 1, 0, 0) * 2,
        log_probs=bytes(80),
        digest=found.digest,
        body=found.to_data(),
        operations=found.operations,
    )
    with transaction() as connection:
        config = load_config(searches.by_id(connection, search_id).config)
        template = children.RunTemplate(config.run_config().model_dump(mode="json"), "cpu")
        children.propose(connection, search_id, 0, [child], template)
    run = run_of(1)
    queue_run(run.id)
    finish(run.id, claim(run.id, make_slot()).attempt, 0.5)
    export("s", Form.JSONL, tmp_path / "s.jsonl")
    with transaction() as connection:
        searches.pause(connection, search_id, "asked")
        deletion.delete_search(connection, searches.get(connection, "s"))
        connection.execute(delete(Operation).where(Operation.name == NEW))
    import_(tmp_path / "s.jsonl")
    with transaction(read_only=True) as connection:
        imported = searches.get(connection, "s")
        wanted = ranking.Filter(uses=(NEW,))
        [row] = ranking.ranked(connection, imported.id, wanted, limit=5)
        assert row.digest == found.digest
