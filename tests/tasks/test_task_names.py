"""The names that messages carry."""

from tasks.app import app as celery_app
from tasks.messages import Task


def test_every_task_is_registered_by_its_name():
    import tasks.reconcile
    import tasks.sample
    import tasks.train
    import tasks.update  # noqa: F401

    registered = {name for name in celery_app.tasks if name.startswith("tasks.")}
    assert registered == {task.value for task in Task}
