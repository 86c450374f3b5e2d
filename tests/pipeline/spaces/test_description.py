"""What a key means stands beside it, for all that show keys to people."""

import pytest
from pydantic import BaseModel

import pipeline.config.search  # noqa: F401  declares all parts
from pipeline.io.config_model import Config
from pipeline.settings import Settings


def all_models(model=Config):
    yield model
    for part in model.__subclasses__():
        yield from all_models(part)


MODELS = sorted({Settings, *all_models()}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_says_what_it_means(model: type[BaseModel]):
    silent = [name for name, field in model.model_fields.items() if not field.description]
    assert silent == []
