"""A search in a file: what goes out comes in elsewhere, the same, once, or not at all."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, func, insert, inspect, select, text, update

from db.lifecycle import attempts, searches
from db.reads import at_work, digests, ranking, soundness
from db.schema.enums import Arm
from db.schema.models import (
    Attempt,
    Child,
    Epoch,
    Genotype,
    Metric,
    PolicyVersion,
    Run,
    Search,
    Slot,
)
from db.schema.session import get_engine, snapshot, transaction
from db.transfer import restore
from pipeline.actions.search_files import Form
from pipeline.cli.search_files import export, import_
from pipeline.errors import Failure, UserError
from pipeline.search_files import importing
from pipeline.settings import get_settings
from pipeline.spaces import canonical
from pipeline.spaces.cells.genotype import CellGenotype
from tests.factories import (
    claim,
    finish,
    make_children,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)
from tests.pipeline.spaces.test_canonical import cycles

TABLES = (Search, PolicyVersion, Genotype, Child, Run, Attempt, Epoch, Metric, Slot)


def fill(name="digits"):
    """A search on its way: rewards that were learned, a repeat, a failure, a run that is held."""
    search_id = make_search(name, control=0.25)
    make_version(search_id)
    slot = make_slot()
    ids = propose(search_id, (0, 1, 2, 1, 3))
    ids += propose(search_id, (5,), arm=Arm.CONTROL)
    for number, child_id in enumerate((ids[0], ids[1], ids[2], ids[5])):
        run = run_of(child_id)
        queue_run(run.id)
        held = claim(run.id, slot)
        with transaction() as connection:
            connection.execute(
                insert(Epoch).values(
                    run_id=run.id, epoch=1, attempt=1, loss=0.1 + number, created_at=run.created_at
                )
            )
            if number == 2:
                attempts.fail(connection, run.id, held.attempt, Failure.OOM, message="no memory")
        if number != 2:
            # those that end with none stand in the file as an older release wrote them
            metrics = {"validation_loss": 0.5, "test_loss": 0.25} if number == 1 else {}
            measured = dict(parameters=2**40, macs=5, metrics=metrics)
            finish(run.id, held.attempt, 0.1 + number / 4, **measured)
    held = run_of(ids[2])
    queue_run(held.id)
    claim(held.id, slot)
    make_version(search_id, 1, learned=3, total_learned=3, consumed=[ids[0], ids[1], ids[3]])
    return search_id


def counted():
    with transaction(read_only=True) as connection:
        return {
            table.__tablename__: connection.scalar(select(func.count()).select_from(table))
            for table in TABLES
        }


def digest_of(name):
    with snapshot() as connection:
        return digests.search_digest(connection, searches.get(connection, name).id)


@pytest.fixture
def other_store(store, tmp_path, monkeypatch, request):
    """A function that turns to another, empty store of the same database."""
    from tests.conftest import _forget_process_state, database

    def turn():
        if store == "postgresql":
            server = request.getfixturevalue("postgres")
            template = request.getfixturevalue("postgres_template")
            opened = database(server, template)
            monkeypatch.setenv("NASNET_DATABASE_URL", opened.__enter__())
            request.addfinalizer(lambda: opened.__exit__(None, None, None))
        else:
            folder = tmp_path / "other"
            folder.mkdir(mode=0o700)
            shutil.copy(request.getfixturevalue("sqlite_template"), folder / "nasnet.db")
            monkeypatch.setenv("NASNET_HOME", str(folder))
        _forget_process_state()
        request.addfinalizer(_forget_process_state)

    return turn


@pytest.fixture
def exported(store, tmp_path, other_store):
    """A search's file, its digest; and the other store, empty."""
    fill()
    path = tmp_path / "digits.jsonl"
    export("digits", Form.JSONL, path)
    digest = digest_of("digits")
    other_store()
    return path, digest


def test_a_note_and_tags_travel_and_files_without_them_are_read(store, tmp_path, other_store):
    search_id = fill()
    with transaction() as connection:
        searches.write_note(connection, search_id, "as the paper\nhas it \N{PLUS-MINUS SIGN}")
        searches.add_tags(connection, search_id, ["paper", "a/b"])
    export("digits", Form.JSONL, tmp_path / "a.jsonl")
    first, *rest = lines_of(tmp_path / "a.jsonl")
    other_store()
    for number, changes in enumerate(({"tags": ["two words"]}, {"note": 3}, {"tags": "a"})):
        header = {**first, "search": {**first["search"], **changes}}
        lines = "\n".join(json.dumps(line) for line in (header, *rest))
        (tmp_path / f"{number}.jsonl").write_text(lines + "\n")
        with pytest.raises(UserError, match=r"line 1: search\.(tags|note)"):
            import_(tmp_path / f"{number}.jsonl")
    # a release that had none of the two, and another search
    del first["search"]["note"], first["search"]["tags"]
    first["search"]["uid"] = "0" * 32
    lines = "\n".join(json.dumps(line) for line in (first, *rest))
    (tmp_path / "old.jsonl").write_text(lines + "\n")
    for name in ("", "-a"):
        with pytest.raises(UserError, match=f"--name '{name}'"):
            import_(tmp_path / "old.jsonl", name=name)
    import_(tmp_path / "old.jsonl", name="old")
    import_(tmp_path / "a.jsonl")
    with transaction(read_only=True) as connection:
        old = searches.get(connection, "old")
        assert (old.note, searches.tags_of(connection, old.id)) == (None, [])
        found = searches.get(connection, "digits")
        assert found.note == "as the paper\nhas it \N{PLUS-MINUS SIGN}"
        assert searches.tags_of(connection, found.id) == ["a/b", "paper"]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_search_comes_in_as_it_went_out(exported, tmp_path):
    path, digest = exported
    import_(path)
    assert digest_of("digits") == digest
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []
        found = searches.get(connection, "digits")
    header, *before = lines_of(path)
    assert (found.uid, found.state) == (header["search"]["uid"], "imported")
    assert found.reason == "was running when it was exported"
    again = tmp_path / "again.jsonl"
    export("digits", Form.JSONL, again)
    header_again, *after = lines_of(again)
    assert header_again["digest"] == digest
    assert header_again["search"]["config"] == header["search"]["config"]
    for line, line_again in zip(before, after, strict=True):
        run = line.get("run")
        if run is not None and run["state"] in {"pending", "running"}:
            assert line_again["run"]["state"] == "cancelled"
            assert "exported" in line_again["run"]["message"]
            assert all(a["outcome"] for a in line_again["run"]["attempts"])
            line["run"] = line_again["run"] = None
        assert line == line_again
    measured = [line["run"]["metrics"] for line in after if "metrics" in (line.get("run") or {})]
    assert measured == [{"test_loss": 0.25, "validation_loss": 0.5}]


def test_numbers_are_new_and_slots_keep_their_names(exported):
    path, _ = exported
    make_children((0, 40))  # what a store has already, a genotype of the file's among it
    before = counted()
    import_(path)
    header, *lines = lines_of(path)
    digests = {line["digest"] for line in lines if line["record"] == "child"}
    assert counted()["genotypes"] == before["genotypes"] + len(digests) - 1
    with transaction(read_only=True) as connection:
        row = connection.execute(
            select(Slot.host, Slot.name, Slot.state)
            .join(Attempt, Attempt.slot_id == Slot.id)
            .distinct()
        ).one()
        assert at_work.list_slots(connection) == []
    assert row == ("host", "cpu-0", "down")
    assert header["children"] == sum(line["record"] == "child" for line in lines)


def test_a_file_comes_in_once_and_says_so(exported, capsys):
    path, _ = exported
    import_(path, as_json=True)
    before = counted()
    import_(path)
    import_(path, name="another")
    assert counted() == before
    out = capsys.readouterr().out
    assert out.count("is here already") == 2
    assert re.search(r"under the name '(\w+)'.*`nasnet search rename \1 another`", out)


def test_a_search_that_went_on_is_not_the_one_that_is_here(store, tmp_path):
    search_id = fill()
    export("digits", Form.JSONL, tmp_path / "early.jsonl")
    propose(search_id, (7,), version=1)
    before = counted()
    with pytest.raises(UserError, match="at another moment"):
        import_(tmp_path / "early.jsonl")
    assert counted() == before


def test_a_name_that_is_taken_needs_another(exported):
    path, digest = exported
    make_search("digits")
    before = counted()
    with pytest.raises(UserError, match="--name"):
        import_(path)
    with pytest.raises(UserError, match="--name"):
        import_(path, name="a/b")
    assert counted() == before
    import_(path, name="theirs")
    assert digest_of("theirs") == digest


def test_an_imported_search_is_read_only(exported, post, tmp_path):
    from pipeline.actions.searches import open_search, read_request
    from tasks import reconcile, sample, steering, update

    path, digest = exported
    import_(path)
    before = counted()
    for verb, arguments in (
        ("pause", ()),
        ("resume", ()),
        ("stop", ()),
        ("extend", ({"children": 10**6},)),
    ):
        with pytest.raises(UserError, match="imported"):
            getattr(steering, verb)("digits", *arguments)
    same = tmp_path / "same.toml"
    same.write_text("seed = 0")
    with pytest.raises(UserError, match="imported"):
        open_search(read_request(str(same), "digits", ["budget.children=100"]), resume=True)
    with transaction(read_only=True) as connection:
        search_id = searches.get(connection, "digits").id
    sample.sample(search_id)
    update.update(search_id)
    reconcile.reconcile()
    assert post.sent == []
    assert counted() == before
    assert digest_of("digits") == digest


def test_the_best_of_an_imported_search_are_trained_here(exported, start_worker, post):
    from pipeline.config.run import make_run_config
    from pipeline.config.search import load_config
    from tasks import runs
    from tests.tasks.test_runs import train_one

    path, digest = exported
    import_(path)
    start_worker()
    with transaction() as connection:
        search = searches.get(connection, "digits")
        config = load_config(search.config)
        data = make_run_config(config.run_config().model_dump(mode="json"))
        [run_id] = runs.ask_retrain(connection, search.id, data, top=1, seeds=1)
    train_one(run_id)
    with transaction(read_only=True) as connection:
        row = connection.execute(select(Run).where(Run.id == run_id)).one()
        assert soundness.impossible(connection) == []
    assert row.state == "done"
    assert digest_of("digits") == digest


def test_a_retraining_comes_along_and_asking_for_it_trains_it_here(store, tmp_path, other_store):
    from pipeline.config.search import load_config
    from tasks import runs

    search_id = fill()
    with transaction() as connection:
        config = load_config(searches.by_id(connection, search_id).config).run_config()
        [asked] = runs.ask_retrain(connection, search_id, config, top=1, seeds=1)
    queue_run(asked)
    held = claim(asked, make_slot())
    finish(asked, held.attempt, 0.75)
    path = tmp_path / "digits.jsonl"
    export("digits", Form.JSONL, path)
    other_store()
    import_(path)
    with transaction() as connection:
        search_id = searches.get(connection, "digits").id
        [row] = connection.execute(select(Run).where(Run.purpose == "retrain"))
        assert (row.state, row.accuracy) == ("done", 0.75)
        [again] = runs.ask_retrain(connection, search_id, config, top=1, seeds=1)
        assert again != row.id


def of_child(change, number=0):
    def corrupt(lines):
        children = [line for line in lines if line["record"] == "child"]
        change(children[number])

    return corrupt


def set_key(key, value, number=0):
    return of_child(lambda line: line.__setitem__(key, value), number)


def of_run(key, value, number=0):
    return of_child(lambda line: line["run"].__setitem__(key, value), number)


def of_attempt(key, value):
    return of_child(lambda line: line["run"]["attempts"][0].__setitem__(key, value))


def of_epoch(key, value):
    return of_child(lambda line: line["run"]["epochs"][0].__setitem__(key, value))


def of_version(key, value):
    return lambda lines: lines[2].__setitem__(key, value)


def encoded_otherwise(line):
    """The same graph in another order of its sides: no canonical form, a digest of its own."""
    from pipeline.spaces.cells.genotype import CellGenotype

    block = line["genotype"]["normal"]["blocks"][0]
    block[0], block[1], block[2], block[3] = 1, "identity", 0, "conv_1x1"
    line["digest"] = CellGenotype.from_data(line["genotype"]).literal_digest


def other_version(lines):
    lines[0]["search"]["config"]["format"] = 99


# What is wrong with a file, and the words of the refusal. Lines: 1 the search, 2 and 3 versions,
# 4 to 8 the policy's children, 9 the control arm's.
BROKEN = {
    "a key that is not known": (set_key("mood", 1), "line 4: mood"),
    "a key of many lines": (set_key("a\nb" * 1000, 1), "line 4: a"),
    "a block's number too large for any integer": (
        of_child(lambda line: line["genotype"]["normal"]["blocks"][0].__setitem__(0, 10**30)),
        "line 4: genotype: normal cell, block 0",
    ),
    "a key that is missing": (of_child(lambda line: line.pop("k")), "line 4: k"),
    "a number that is text": (set_key("reward", "0.5"), "line 4: reward"),
    "a number that is none": (set_key("reward", float("nan")), "line 4: .*"),
    "a number without end": (set_key("reward", float("inf")), "line 4: .*"),
    "a number too large": (set_key("macs", 2**63), "line 4: macs"),
    "a version too large": (set_key("version", 2**31), "line 4: version"),
    "a time with a zone": (
        set_key("created_at", "2026-01-31 00:00:00.000000Z"),
        "line 4: created",
    ),
    "a number that is a truth value": (set_key("reward", True), "line 4: reward"),
    "a whole number that is a fraction": (set_key("k", 0.0), "line 4: k"),
    "a number in a place that knows none": (
        of_child(lambda line: line["actions"].__setitem__(0, -1)),
        r"line 4: actions\[0\]",
    ),
    "a key of a run that is missing": (
        of_child(lambda line: line["run"]["attempts"][0].pop("outcome")),
        r"line 4: run.attempts\[0\].outcome",
    ),
    "a record of another kind": (set_key("record", "run"), "line 4: record"),
    "a library's version that is no number": (
        of_child(lambda line: line["run"]["attempts"][0].__setitem__("versions", {"a": 1e400})),
        "line 4: ",
    ),
    "a block of truth values": (
        of_child(lambda line: line["genotype"]["normal"]["blocks"][0].__setitem__(0, False)),
        "line 4: genotype: normal cell, block 0",
    ),
    "a time that is none": (
        set_key("created_at", "2026-02-30 00:00:00.000000"),
        "line 4: created",
    ),
    "an arm that is none": (set_key("arm", "leg"), "line 4: arm"),
    "a digest of another genotype": (set_key("digest", "0" * 64), "line 4: digest"),
    "a genotype that cannot be": (
        of_child(lambda line: line["genotype"]["normal"]["blocks"][0].__setitem__(0, 99)),
        "line 4: genotype: normal cell, block 0",
    ),
    "a genotype that is no genotype": (set_key("genotype", {}), "line 4: genotype"),
    "a genotype in another encoding": (of_child(encoded_otherwise), "line 4: digest"),
    "a version that is not there": (set_key("version", 7, 3), "line 7: .*(foreign|FOREIGN)"),
    "a learner that is not there": (set_key("learned_by", 7), "line 4: .*(foreign|FOREIGN)"),
    "a child twice": (set_key("k", 1), "line 5: .*(unique|UNIQUE)"),
    "a first child that is not there": (
        set_key("duplicate_of", {"version": 1, "arm": "policy", "k": 9}, 3),
        "line 7: duplicate_of",
    ),
    "a first child of another genotype": (
        set_key("duplicate_of", {"version": 0, "arm": "policy", "k": 0}, 3),
        "line 7: duplicate_of",
    ),
    "a child that repeats itself": (
        set_key("duplicate_of", {"version": 0, "arm": "policy", "k": 3}, 3),
        "line 7: duplicate_of",
    ),
    "a scoring that is not there": (set_key("score_run", 0), "line 4: score_run"),
    "a configuration that is not there": (of_run("config", 5), "line 4: config"),
    "a metric whose name is a sentence": (
        of_run("metrics", {"how good": 1.0}),
        r"line 4: run\.metrics",
    ),
    "a metric that is no number": (of_run("metrics", {"loss": None}), r"line 4: run\.metrics"),
    "a metric without end": (of_run("metrics", {"loss": 1e40}), r"line 4: run\.metrics"),
    "a metric of a run that is not done": (
        of_child(lambda line: line["run"].update(metrics={"loss": 1.0}), 2),
        r"line 6: run\.metrics",
    ),
    "a purpose of another kind": (of_run("purpose", "retrain"), "line 4: .*child"),
    "fewer numbers than decisions": (set_key("log_probs", []), "line 4: log_probs"),
    "an attempt twice": (
        of_child(lambda line: line["run"]["attempts"].append(line["run"]["attempts"][0])),
        "line 4: .*(unique|UNIQUE)",
    ),
    "an attempt that is missing": (of_run("attempts", []), "line 4: run of this line has more or"),
    "a reward that is missing": (
        set_key("reward", None),
        "line 4: child of this line is rewarded",
    ),
    "a reward that its run knows nothing of": (
        of_run("accuracy", 0.9),
        "line 4: child of this line and its run",
    ),
    "a reward that no version learned from": (
        set_key("learned_by", None),
        "line 3: policy version of this line learned",
    ),
    "a reward of the control arm that was learned from": (
        set_key("learned_by", 1, 5),
        "line 9: child of this line of the control arm",
    ),
    "another size": (set_key("parameters", 7), "line 1: digest"),
    "a reward that its accuracy does not earn": (set_key("reward", 0.123), "line 4: reward"),
    "a reward that no accuracy earns": (set_key("reward", 1.7e308), "line 4: reward"),
    "a failure with another reward than failures have": (
        set_key("failure", "oom"),
        "line 4: reward",
    ),
    "a failure of a child that is open": (set_key("failure", "oom", 2), "line 6: failure"),
    "a time before there were clocks": (
        set_key("created_at", "0001-01-01 00:00:00.000000"),
        "line 4: created_at",
    ),
    "a time that is to come": (
        of_run("ended_at", "9999-12-31 23:59:59.999999"),
        "line 4: run.ended_at",
    ),
    "an end before its beginning": (
        of_attempt("ended_at", "2001-01-01 00:00:00.000000"),
        r"line 4: run.attempts\[0\].ended_at",
    ),
    "an export that is to come": (
        lambda lines: lines[0].__setitem__("exported_at", "9999-12-31 23:59:59.999999"),
        "line 1: exported_at",
    ),
    "a search that began with no clock": (
        lambda lines: lines[0]["search"].__setitem__("resumed_at", "0001-01-01 00:00:00"),
        "line 1: search.resumed_at",
    ),
    "a choice that a decision does not have": (
        of_child(lambda line: line["actions"].__setitem__(0, 99)),
        r"line 4: actions\[0\]: expected a choice",
    ),
    "fewer choices than decisions": (
        of_child(lambda line: (line["actions"].pop(), line["log_probs"].pop())),
        "line 4: actions: expected one for each",
    ),
    "a probability above one": (
        of_child(lambda line: line["log_probs"].__setitem__(0, 1.0)),
        "line 4: log_probs",
    ),
    "shares of a decision that are not all": (
        of_version("probabilities", [[0.5, 0.25]] * 20),
        r"line 3: probabilities\[0\]",
    ),
    "shares of decisions that are not there": (
        of_version("probabilities", [[1.0]]),
        "line 3: probabilities: expected a list",
    ),
    "more entropy than choices have": (of_version("entropy", 1e6), "line 3: entropy"),
    "a loss that no network has": (of_version("loss", 1.7e308), "line 3: loss"),
    "a baseline that rewards never had": (of_version("baseline", 2.0), "line 3: baseline"),
    "more repeats than rewards": (of_version("duplicates", 9), "line 3: duplicates"),
    "an epoch that was not configured": (of_epoch("epoch", 2), r"line 4: run.epochs\[0\].epoch"),
    "an epoch of an attempt that was not made": (
        of_epoch("attempt", 2),
        r"line 4: run.epochs\[0\].attempt",
    ),
    "an epoch of negative seconds": (of_epoch("seconds", -1.0), r"line 4: run.epochs\[0\].sec"),
    "an attempt that ended in no way": (
        of_attempt("outcome", None),
        r"line 4: run.attempts\[0\].outcome",
    ),
    "an attempt that failed in no way": (
        of_attempt("outcome", "failed"),
        r"line 4: run.attempts\[0\].failure",
    ),
    "a run that is done and has failed": (of_run("failure", "oom"), "line 4: run.failure"),
    "a run that is done without an end": (of_run("ended_at", None), "line 4: run.ended_at"),
    "a run with more tries than attempts": (of_run("tries", 5), "line 4: run.tries"),
    "a training that looked at the test images": (
        of_run("test_accuracy", 0.5),
        "line 4: run.test_accuracy",
    ),
    "a device that is none": (of_run("device", "abacus"), "line 4: run.device"),
    "more multiply-adds than can be summed up": (set_key("macs", 2**60), "line 4: macs"),
    "a library whose version is no text": (
        of_attempt("versions", {"torch": [2]}),
        r"line 4: run.attempts\[0\].versions",
    ),
    "a name of another length": (
        of_attempt("slot", {"host": "h" * 300, "name": "cpu-0"}),
        r"line 4: run.attempts\[0\].slot.host",
    ),
    "versions with a gap": (lambda lines: lines[2].__setitem__("version", 5), "line 3: version"),
    "lines in another order": (lambda lines: lines.reverse(), "line 1: not a search"),
    "a child too many": (lambda lines: lines.append(lines[-1]), "line 10: line 1 announces"),
    "a child too few": (lambda lines: lines.pop(), "line 9: the file ends"),
    "another format": (lambda lines: lines[0].__setitem__("format", 2), "line 1: format 2"),
    "a configuration of another format": (other_version, "line 1: .*format 99"),
    "a configuration that cannot be": (
        lambda lines: lines[0]["search"]["config"].__setitem__("seed", -1),
        "line 1: seed",
    ),
}


def test_a_broken_file_is_refused_by_its_line_and_leaves_nothing(exported):
    path, digest = exported
    whole = path.read_bytes()
    before = counted()
    for what, (corrupt, words) in BROKEN.items():
        path.write_bytes(whole)
        lines = lines_of(path)
        corrupt(lines)
        write_lines(path, lines)
        with pytest.raises(UserError) as raised:
            import_(path)
        said = str(raised.value)
        assert re.match(f"{re.escape(str(path))}, {words}", said), f"{what}: {said}"
        assert "\n" not in said
        assert len(said) < 1000, what
        assert counted() == before, what
    path.write_bytes(whole)
    import_(path)
    assert digest_of("digits") == digest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"PAR1\x00\xff\xfe",
        b"[" * 100_000,
        b'{"record": "search"}',
        b'{"record": "search", "format": true}',
        b"5\n",
    ],
    ids=["empty", "blank", "binary", "deep", "bare", "true", "number"],
)
def test_a_file_of_another_kind_is_refused(home, tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UserError, match="line 1: "):
        import_(path)
    assert not (home / "nasnet.db").exists()


@pytest.mark.parametrize(
    "written",
    [
        b'"reward":0.1,"reward":0.1',
        b'"reward" :0.9,"reward":0.1',
        b'"rew\\u0061rd":0.9,"reward":0.1',
    ],
)
def test_a_key_that_is_there_twice_is_refused(exported, written):
    path, _ = exported
    before = counted()
    whole = path.read_bytes()
    assert whole.count(b'"reward":0.1') == 1
    path.write_bytes(whole.replace(b'"reward":0.1', written))
    with pytest.raises(UserError, match="line 4: the key 'reward' is there twice"):
        import_(path)
    path.write_bytes(whole.replace(b'"format":1', b'"format":1,"format":1', 1))
    with pytest.raises(UserError, match="line 1: the key 'format' is there twice"):
        import_(path)
    assert counted() == before


def test_texts_that_look_like_keys_are_none(exported):
    path, digest = exported
    lines = lines_of(path)
    lines[4]["run"]["message"] = 'a":1,"reward":2 "b" :3'
    write_lines(path, lines)
    import_(path)
    assert digest_of("digits") == digest


def test_a_file_that_was_cut_anywhere_is_refused(sqlite_store, tmp_path, exported_text):
    path = tmp_path / "cut.jsonl"
    before = counted()
    for length in range(0, len(exported_text) - 1, len(exported_text) // 40):
        path.write_bytes(exported_text[:length])
        with pytest.raises(UserError, match="line "):
            import_(path)
    assert counted() == before


@pytest.fixture
def exported_text(sqlite_store, sqlite_template, tmp_path):
    """A search's file; the store is empty again."""
    fill()
    path = tmp_path / "whole.jsonl"
    export("digits", Form.JSONL, path)
    get_engine().dispose()
    for file in sqlite_store.parent.glob("nasnet.db*"):
        file.unlink()
    shutil.copy(sqlite_template, sqlite_store)
    return path.read_bytes()


def test_a_line_longer_than_memory_is_refused(exported, monkeypatch):
    path, _ = exported
    monkeypatch.setattr(importing, "LONGEST_LINE", 50_000)
    lines = lines_of(path)
    lines[4]["run"]["message"] = "x" * 10**5
    write_lines(path, lines)
    with pytest.raises(UserError, match="line 5: is longer"):
        import_(path)


@pytest.mark.parametrize(
    ("line", "key", "what"),
    [(0, "configs", {}), (4, "actions", 0), (4, "log_probs", 0.5)],
)
def test_a_list_longer_than_any_of_ours_is_refused(exported, line, key, what):
    path, _ = exported
    lines = lines_of(path)
    lines[line][key] = [what] * 10_001
    write_lines(path, lines)
    with pytest.raises(UserError, match=f"line {line + 1}: {key}: .*10000"):
        import_(path)


def test_letters_that_postgresql_does_not_hold_are_replaced(exported):
    path, _ = exported
    lines = lines_of(path)
    lines[4]["run"]["message"] = "a\0b\\u0000"
    write_lines(path, lines)
    import_(path)
    with transaction(read_only=True) as connection:
        messages = connection.scalars(select(Run.message).where(Run.message.is_not(None))).all()
    assert "a\ufffdb\\u0000" in messages


def test_portions_find_what_earlier_ones_wrote(exported, monkeypatch):
    path, digest = exported
    monkeypatch.setattr(importing, "PORTION", 1)
    import_(path)
    assert digest_of("digits") == digest


def indexes():
    """Those of tables that an import fills; to import makes some of them anew."""
    found = inspect(get_engine())
    return {
        index["name"]: (table, index["column_names"], index["unique"])
        for table in ("children", "runs", "attempts")
        for index in found.get_indexes(table)
    }


@pytest.fixture
def made_anew(monkeypatch):
    """The indexes that imports made; few children are enough for it."""
    monkeypatch.setattr(restore, "MANY_CHILDREN", 1)
    found = []

    def note(connection, cursor, statement, *_):
        if statement.startswith("CREATE INDEX"):
            found.append(statement.split()[2])

    event.listen(get_engine(), "before_cursor_execute", note)
    return found


def test_many_children_come_in_before_the_indexes_that_only_answer_questions(exported, made_anew):
    path, digest = exported
    before = indexes()
    import_(path)
    assert digest_of("digits") == digest
    assert indexes() == before
    assert set(made_anew) == {name for name, (*_, unique) in before.items() if not unique}


def test_a_file_that_is_refused_leaves_every_index(exported, made_anew):
    path, _ = exported
    before = indexes()
    lines = lines_of(path)
    lines[-1]["digest"] = "0" * 64
    write_lines(path, lines)
    with pytest.raises(UserError, match=f"line {len(lines)}: digest"):
        import_(path)
    assert indexes() == before
    assert not made_anew


@pytest.mark.parametrize("why", ["a search is active", "as many children are here"])
def test_a_store_in_use_keeps_its_indexes_while_a_search_comes_in(exported, made_anew, why):
    path, digest = exported
    here = make_search("here")
    if why == "as many children are here":
        make_version(here)
        propose(here, range(lines_of(path)[0]["children"]))
        with transaction() as connection:
            searches.pause(connection, here, "asked")
    import_(path)
    assert digest_of("digits") == digest
    assert not made_anew


def test_an_import_waits_for_nobody_who_reads(exported, made_anew):
    path, digest = exported
    other = create_engine(get_engine().url)
    with other.connect() as connection:
        connection.execute(text("SELECT count(*) FROM runs"))
        import_(path)
    other.dispose()
    assert digest_of("digits") == digest
    on_postgresql = get_engine().dialect.name == "postgresql"
    assert bool(made_anew) != on_postgresql


def test_lines_that_other_processes_check_are_refused_in_their_order(exported, monkeypatch):
    path, digest = exported
    monkeypatch.setattr(importing, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(importing, "MOST_CHECKERS", 1)
    monkeypatch.setattr(importing, "PORTION", 1)
    monkeypatch.setattr(importing, "AHEAD", 10)  # the file's end is met before line 4 is written
    whole, before = path.read_bytes(), counted()
    lines = lines_of(path)
    lines[3]["learned_by"] = 7  # which the database refuses
    write_lines(path, lines)
    with pytest.raises(UserError, match=r"line 4: .*(foreign|FOREIGN)"):
        import_(path)
    lines[4]["digest"] = "0" * 64  # which is seen without one
    write_lines(path, lines[:-1])
    with pytest.raises(UserError, match=r"line 5: digest"):
        import_(path)
    assert counted() == before
    path.write_bytes(whole)
    import_(path)
    assert digest_of("digits") == digest


def test_nothing_is_locked_while_lines_are_checked(exported, monkeypatch):
    path, digest = exported
    held = []

    def asked(genotype):
        held.append(get_engine().pool.checkedout())
        return True

    monkeypatch.setattr(CellGenotype, "is_canonical", property(asked))
    import_(path)
    assert held
    assert set(held) == {0}
    assert digest_of("digits") == digest


def test_a_file_that_changes_while_it_is_read_is_refused(exported):
    path, _ = exported
    before = counted()
    header = importing.read_header(path)
    with importing.checked_file(path, header) as checked:
        lines = lines_of(path)
        lines[5]["genotype"], lines[5]["digest"] = lines[4]["genotype"], "0" * 64
        write_lines(path, lines)
        with pytest.raises(UserError, match="changed while it was read"), transaction() as held:
            importing.import_search(held, checked, "digits")
    assert counted() == before


def test_a_genotype_that_would_take_too_long_is_refused_by_its_line(exported, monkeypatch):
    path, _ = exported
    monkeypatch.setattr(canonical, "MOST_LOOKS", 100_000)
    lines = lines_of(path)
    genotype = cycles(2, 2, 3, 3, 4, 5, 6, 7)
    lines[4]["genotype"], lines[4]["digest"] = genotype.to_data(), genotype.literal_digest
    write_lines(path, lines)
    with pytest.raises(UserError, match="line 5: genotype: too many parts of it look alike"):
        import_(path)


def test_a_time_of_another_kind_is_refused_or_written_as_all_are(exported):
    path, digest = exported
    lines = lines_of(path)
    lines[3]["created_at"] = "2026-01-31T12:00:00"
    write_lines(path, lines)
    import_(path)
    assert digest_of("digits") == digest
    with transaction(read_only=True) as connection:
        times = connection.scalars(select(Child.created_at).order_by(Child.id)).all()
    assert times[0].isoformat() == "2026-01-31T12:00:00+00:00"


def test_an_import_that_is_killed_leaves_nothing_and_can_be_repeated(exported, tmp_path):
    """Killed in its transaction, once rows of children have been written.

    The processes that checked them end, too: until then its output stays open.
    """
    path, digest = exported
    before = counted()
    script = """
import os, signal, sys
from pathlib import Path
from pipeline.cli.search_files import import_
from pipeline.search_files import importing
importing.WORTH_PROCESSES, importing.MOST_CHECKERS = 0, 1
importing._check_whole = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
import_(Path(sys.argv[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert counted() == before
    import_(path)
    assert digest_of("digits") == digest


def test_an_export_is_of_one_moment(store, tmp_path, monkeypatch):
    """What others commit between its statements is not in it."""
    import threading

    from db.schema.session import database_url, make_engine
    from db.transfer import dump

    search_id = fill()
    versions = dump.versions

    def disturbed(connection, of_search):
        def write():
            engine = make_engine(database_url(get_settings()))
            with engine.begin() as other:
                other.execute(
                    update(Child).where(Child.search_id == search_id).values(k=Child.k + 100)
                )
            engine.dispose()

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return versions(connection, of_search)

    digest = digest_of("digits")
    monkeypatch.setattr(dump, "versions", disturbed)
    path = tmp_path / "digits.jsonl"
    export("digits", Form.JSONL, path)
    header, *lines = lines_of(path)
    assert header["digest"] == digest
    assert max(line["k"] for line in lines if line["record"] == "child") < 100


def test_tables_have_a_row_for_each_child(store, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    search_id = fill()
    frames = []
    for form, read in ((Form.CSV, pandas.read_csv), (Form.PARQUET, pandas.read_parquet)):
        path = tmp_path / f"digits.{form}"
        path.write_text("what was there before")
        export("digits", form, path)
        frames.append(read(path))
    with transaction(read_only=True) as connection:
        rows = connection.execute(
            select(Child, Genotype.digest, Genotype.body)
            .join(Genotype, Genotype.id == Child.genotype_id)
            .where(Child.search_id == search_id)
            .order_by(Child.id)
        ).all()
    for frame in frames:
        assert len(frame) == len(rows)
        for place, row in enumerate(rows):
            got = frame.iloc[place]
            assert (got.digest, got.arm, got.k) == (row.digest, row.arm, row.k)
            assert json.loads(got.genotype) == row.body
            for name in ("reward", "accuracy", "parameters", "duplicate_of", "learned_by"):
                assert pandas.isna(got[name]) if getattr(row, name) is None else True
                assert getattr(row, name) in (None, got[name])
    assert str(frames[1].created_at.dtype).startswith("datetime64")


def test_scalars_are_what_tensorboard_reads(sqlite_store, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fill()
    folder = tmp_path / "digits.tensorboard"
    export("digits", Form.TENSORBOARD, folder)
    events = accumulator.EventAccumulator(str(folder)).Reload()
    rewards = [event.value for event in events.Scalars("policy/reward")]
    best = [event.value for event in events.Scalars("policy/best_reward")]
    assert len(rewards) == 3
    assert best == [max(rewards[: n + 1]) for n in range(3)]
    assert [event.step for event in events.Scalars("policy/total_learned")] == [0, 1]
    with pytest.raises(UserError, match="is there already"):
        export("digits", Form.TENSORBOARD, folder)


def test_nothing_is_written_for_a_search_that_is_not_there(store, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(UserError, match="no search"):
        export("nothing", Form.CSV, path)
    with pytest.raises(UserError, match="no folder"):
        export("nothing", Form.CSV, tmp_path / "nowhere" / "out.csv")
    assert path.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".out")] == []


def test_an_imported_search_is_reported_and_watched_like_any_other(exported, tmp_path, capsys):
    pytest.importorskip("fastapi")
    from pipeline.cli import search_lists as commands
    from pipeline.cli.report import report
    from tests.pipeline.dashboard.test_dashboard import client_of

    path, _ = exported
    import_(path)
    report("digits", tmp_path / "digits.html")
    assert (tmp_path / "digits.html").stat().st_size > 10_000
    client = client_of()
    for address in ("/", "/searches/digits", "/searches/digits/genotypes", "/workers"):
        assert client.get(address).status_code == 200
    assert 'action="/searches/digits/extend"' not in client.get("/searches/digits").text
    commands.show("digits")
    commands.list_searches()
    assert "imported" in capsys.readouterr().out
    with transaction(read_only=True) as connection:
        best = ranking.best(connection, searches.get(connection, "digits").id, limit=1)
    assert best[0].reward == 0.1 + 3 / 4
