import pytest

from db.schema.config_keys import _key
from db.schema.models import Run, Search
from pipeline.config.run import RunConfig
from pipeline.config.search import SearchConfig


@pytest.mark.parametrize(
    ("column", "model", "keys"),
    [
        (Search.config, SearchConfig, ("training", "devics")),
        (Run.config, RunConfig, ("budget",)),
        (Search.config, SearchConfig, ("seed", "value")),
    ],
)
def test_a_key_that_a_configuration_lacks_is_no_column(column, model, keys):
    with pytest.raises((KeyError, AttributeError)):
        _key(column, model, *keys)
