"""What must hold after any fault, read from the store alone."""

from collections import Counter

from db.reads.soundness import IMPOSSIBLE
from tests.chaos.bad_children.sitecustomize import badness
from tests.processes import Home

# how a child is bad -> the class it must fail with
TRUE_CLASS = {
    "raise": "error",
    "exit": "lost",
    "loop": "timeout",
    "allocate": "oom",
    "nan": "diverged",
}
LOST_TRIES = 5


def broken_laws(home: Home) -> list[str]:
    """All that is wrong, a line each; empty at any moment of a search that is disturbed."""
    found = []
    for sentence, statement in IMPOSSIBLE.items():
        found += [sentence.format(row[0]) for row in home.rows(statement)]
    return found + untrue_classes(home) + repeated_work(home) + changed_batches(home)


def untrue_classes(home: Home) -> list[str]:
    """Children that ended otherwise than their kind must."""
    rows = home.rows(
        "SELECT children.id, digest, children.state, children.failure, runs.id"
        " FROM children JOIN genotypes ON genotypes.id = children.genotype_id"
        " LEFT JOIN runs ON runs.child_id = children.id"
        " WHERE duplicate_of IS NULL AND children.state <> 'open'"
    )
    lost = Counter(
        row[0] for row in home.rows("SELECT run_id FROM attempts WHERE outcome = 'lost'")
    )
    found = []
    for child, digest, state, failure, run in rows:
        if state == "skipped" and failure is None:
            continue  # withdrawn by a stop
        kind = badness(digest)
        expected = TRUE_CLASS[kind] if kind else None
        # whoever is killed so often is lost, whatever it was
        if failure != expected and not (failure == "lost" and lost[run] >= LOST_TRIES):
            found.append(f"child {child} is {kind or 'good'} and ended {state}, {failure}")
    return found


def repeated_work(home: Home) -> list[str]:
    """Runs whose last attempt trained more than what came after the newest checkpoint."""
    rows = home.rows(
        "SELECT runs.id, runs.images_trained, attempts.images_trained, epoch, step,"
        " runs.attempt, artifacts.attempt"
        " FROM runs JOIN attempts ON attempts.run_id = runs.id AND attempts.number = runs.attempt"
        " JOIN artifacts ON artifacts.id = (SELECT max(newest.id) FROM artifacts AS newest"
        " WHERE newest.run_id = runs.id AND newest.kind = 'checkpoint'"
        " AND newest.attempt < runs.attempt) WHERE runs.state = 'done'"
    )
    (config,) = home.rows("SELECT config FROM searches LIMIT 1")[0]
    training = home.config(config)["training"]
    found = []
    for run, total, trained, epoch, step, last, of in rows:
        images = total // training["epochs"]
        before = epoch * images + min(step * training["batch_size"], images)
        if trained > total - before:
            found.append(f"run {run}: attempt {last} trained {trained}, {of} had left {before}")
    return found


def changed_batches(home: Home) -> list[str]:
    """Updates that learned from more or fewer than a batch; the last before an end may."""
    (config,) = home.rows("SELECT config FROM searches LIMIT 1")[0]
    if home.config(config)["mode"] == "synchronous":
        rows = home.rows(
            "SELECT versions.version, learned, (SELECT count(*) FROM children WHERE reward"
            " IS NOT NULL AND arm = 'policy' AND children.version = versions.version - 1)"
            " FROM policy_versions AS versions WHERE versions.version > 0"
        )
        return [f"version {v}: learned from {n}, not {all_}" for v, n, all_ in rows if n != all_]
    batch = home.config(config)["controller"]["batch"]
    learned = home.rows(
        "SELECT version, learned FROM policy_versions WHERE version > 0 ORDER BY 1"
    )
    return [f"version {v}: learned from {n}" for v, n in learned[:-1] if n != batch]


def held_too_long(home: Home, seconds: float) -> list[int]:
    """Runs whose lease ended more than ``seconds`` ago and that are still held."""
    past = (
        "extract(epoch FROM now() - lease_until)"
        if home.database_url
        else "86400 * (julianday('now') - julianday(lease_until))"
    )
    rows = home.rows(f"SELECT id FROM runs WHERE state = 'running' AND {past} > {seconds}")
    return [row[0] for row in rows]


def leftovers(home: Home) -> list[str]:
    """What no process of an ended home may leave: temporary files, a socket, a live process."""
    temporary = [str(path) for path in home.folder.rglob(".*") if path.is_file()]
    socket = [str(path) for path in home.folder.glob("*.sock")]
    alive = [path.stem for path in (home.folder / "locks").glob("*.lock") if home.pid(path.stem)]
    return temporary + socket + alive


def orphaned_files(home: Home) -> list[str]:
    """Artifacts that no row points at."""
    known = {row[0] for row in home.rows("SELECT uri FROM artifacts WHERE uri IS NOT NULL")}
    files = (path for path in (home.folder / "artifacts").rglob("*.pt"))
    return [str(path) for path in files if str(path) not in known]
