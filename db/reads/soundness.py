"""Is the record sound? Plain SQL, the same on both databases: each query finds what cannot be.

Where no statement finds anything, a run has at most one holder, and an attempt for each time it
was taken; a failed one has a class; no reward is learned from twice, or by its own version; no
child waits for one that has ended; versions are numbered without a gap.
"""

from sqlalchemy import Connection, text

# What no clock says; times beyond have no local time in some zones.
TIMES = "'1970-01-01' AND '2999-01-01'"

SHOWN = 5  # rows of each kind that are named

# what is wrong -> the rows where it is
IMPOSSIBLE = {
    "run {} is running without a holder": (
        "SELECT id FROM runs WHERE state = 'running' AND (slot_id IS NULL OR lease_until IS NULL)"
    ),
    "run {} is held though it is not running": (
        "SELECT id FROM runs WHERE state <> 'running'"
        " AND (slot_id IS NOT NULL OR lease_until IS NOT NULL)"
    ),
    "run {} has more or fewer attempts than it was taken": (
        "SELECT id FROM runs WHERE attempt <>"
        " (SELECT count(*) FROM attempts WHERE attempts.run_id = runs.id)"
    ),
    "run {} is not running and has an attempt without an end": (
        "SELECT runs.id FROM runs JOIN attempts ON attempts.run_id = runs.id"
        " WHERE runs.state <> 'running' AND attempts.ended_at IS NULL"
    ),
    "run {} has an attempt without an end that is not its last": (
        "SELECT runs.id FROM runs JOIN attempts ON attempts.run_id = runs.id"
        " WHERE attempts.ended_at IS NULL AND attempts.number <> runs.attempt"
    ),
    "run {} has ended and more or fewer than one of its attempts is done": (
        "SELECT id FROM runs WHERE state IN ('done', 'failed')"
        " AND (CASE WHEN state = 'done' THEN 1 ELSE 0 END) <> (SELECT count(*) FROM attempts"
        " WHERE attempts.run_id = runs.id AND attempts.outcome = 'done')"
    ),
    "run {} has failed without a class": (
        "SELECT id FROM runs WHERE state = 'failed' AND failure IS NULL"
    ),
    "child {} is rewarded without a reward, or has one and is not": (
        "SELECT id FROM children WHERE (state = 'rewarded') <> (reward IS NOT NULL)"
    ),
    "child {} has ended without a time, or has a time and has not": (
        "SELECT id FROM children WHERE (state = 'open') <> (ended_at IS NULL)"
    ),
    "child {} was learned from and carries no reward": (
        "SELECT id FROM children WHERE learned_by IS NOT NULL AND reward IS NULL"
    ),
    "child {} was learned from by a version that is no later than its own": (
        "SELECT id FROM children WHERE learned_by <= version"
    ),
    "child {} of the control arm was learned from": (
        "SELECT id FROM children WHERE arm = 'control' AND learned_by IS NOT NULL"
    ),
    "search {} has children of the control arm whose numbers have a gap": (
        "SELECT search_id FROM children WHERE arm = 'control' GROUP BY search_id"
        " HAVING count(*) <> max(k) + 1"
    ),
    "child {} is open, and neither trained nor waiting for another": (
        "SELECT id FROM children WHERE state = 'open' AND duplicate_of IS NULL"
        " AND score_run_id IS NULL AND NOT EXISTS (SELECT 1 FROM runs WHERE"
        " runs.child_id = children.id AND runs.state IN ('pending', 'queued', 'running'))"
        # an imported search's are open for ever: it was exported while it ran
        " AND search_id NOT IN (SELECT id FROM searches WHERE state = 'imported')"
    ),
    "child {} is open, and the run that scores it is done": (
        "SELECT children.id FROM children JOIN runs ON runs.id = children.score_run_id"
        " WHERE children.state = 'open' AND runs.state = 'done'"
    ),
    "child {} waits for another that has ended": (
        "SELECT children.id FROM children JOIN children AS first"
        " ON first.id = children.duplicate_of"
        " WHERE children.state = 'open' AND first.state <> 'open'"
    ),
    "child {} is rewarded and its run is not done, though it was trained": (
        "SELECT children.id FROM children JOIN runs ON runs.child_id = children.id"
        " WHERE children.state = 'rewarded' AND children.failure IS NULL"
        " AND runs.state <> 'done'"
    ),
    "child {} and its run have different accuracies": (
        "SELECT children.id FROM children JOIN runs ON runs.child_id = children.id"
        " WHERE runs.state = 'done' AND children.accuracy <> runs.accuracy"
    ),
    "search {} has policy versions with a gap": (
        "SELECT search_id FROM policy_versions GROUP BY search_id"
        " HAVING count(*) <> max(version) + 1"
    ),
    "policy version {} learned from more or fewer rewards than it says": (
        "SELECT policy_versions.id FROM policy_versions LEFT JOIN (SELECT search_id, learned_by,"
        " count(*) AS rewards FROM children WHERE learned_by IS NOT NULL"
        " GROUP BY search_id, learned_by) AS used ON used.search_id = policy_versions.search_id"
        " AND used.learned_by = policy_versions.version"
        " WHERE policy_versions.learned <> coalesce(used.rewards, 0)"
    ),
    "policy version {} counts another total than all up to it": (
        "SELECT id FROM (SELECT id, total_learned, sum(learned) OVER (PARTITION BY search_id"
        " ORDER BY version) AS total FROM policy_versions) AS counted"
        " WHERE total_learned <> total"
    ),
    "child {} has a reward or an accuracy that is not from 0 to 1": (
        "SELECT id FROM children WHERE reward NOT BETWEEN 0 AND 1 OR accuracy NOT BETWEEN 0 AND 1"
    ),
    "run {} has an accuracy that is not from 0 to 1": (
        "SELECT id FROM runs WHERE accuracy NOT BETWEEN 0 AND 1"
        " OR test_accuracy NOT BETWEEN 0 AND 1"
    ),
    "run {} was measured and is not done": (
        "SELECT runs.id FROM runs JOIN metrics ON metrics.run_id = runs.id"
        " WHERE runs.state <> 'done'"
    ),
    "search {} has a time that no clock says": (
        f"SELECT id FROM searches WHERE created_at NOT BETWEEN {TIMES}"
        f" OR resumed_at NOT BETWEEN {TIMES} OR ended_at NOT BETWEEN {TIMES}"
    ),
    "policy version {} has a time that no clock says": (
        f"SELECT id FROM policy_versions WHERE created_at NOT BETWEEN {TIMES}"
    ),
    "child {} has a time that no clock says": (
        f"SELECT id FROM children WHERE created_at NOT BETWEEN {TIMES}"
        f" OR ended_at NOT BETWEEN {TIMES}"
    ),
    "run {} has a time that no clock says": (
        f"SELECT id FROM runs WHERE created_at NOT BETWEEN {TIMES}"
        f" OR state_since NOT BETWEEN {TIMES} OR ended_at NOT BETWEEN {TIMES}"
        f" OR id IN (SELECT run_id FROM attempts WHERE started_at NOT BETWEEN {TIMES}"
        f" OR ended_at NOT BETWEEN {TIMES})"
    ),
    "search {} has finished and still has open children or unlearned rewards": (
        "SELECT id FROM searches WHERE state = 'finished' AND EXISTS (SELECT 1 FROM children"
        " WHERE children.search_id = searches.id AND ((children.arm IN ('policy', 'control')"
        " AND children.state = 'open') OR (children.arm = 'policy'"
        " AND children.state = 'rewarded' AND children.learned_by IS NULL)))"
    ),
}


def impossible(connection: Connection) -> list[str]:
    """What stands in the store and cannot be, a line each."""
    found = []
    for sentence, statement in IMPOSSIBLE.items():
        rows = connection.execute(text(f"{statement} LIMIT {SHOWN + 1}")).scalars().all()
        found += [sentence.format(row) for row in rows[:SHOWN]]
        if len(rows) > SHOWN:
            found.append(f"... and more: {sentence.format('ID')}")
    return found


# What a sentence is about -> which of them are a search's
OF_SEARCH = {
    "run": "SELECT id FROM runs WHERE search_id = :search_id",
    "child": "SELECT id FROM children WHERE search_id = :search_id",
    "policy": "SELECT id FROM policy_versions WHERE search_id = :search_id",
    "search": "SELECT id FROM searches WHERE id = :search_id",
}


def first_impossible(connection: Connection, search_id: int) -> tuple[str, int] | None:
    """Something of one search that cannot be: a sentence of ``IMPOSSIBLE``, and the row's id."""
    for sentence, statement in IMPOSSIBLE.items():
        of_search = OF_SEARCH[sentence.split()[0]]
        found = connection.scalar(
            text(
                f"WITH impossible (id) AS ({statement})"
                f" SELECT min(id) FROM impossible WHERE id IN ({of_search})"
            ),
            {"search_id": search_id},
        )
        if found is not None:
            return sentence, found
    return None
