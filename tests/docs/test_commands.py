"""Every command on a page of the documentation runs, or is listed here with why it does not.

They run in the order of these lists, on one tiny finished search, with real workers.
"""

import contextlib
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import commands
from tests.docs.typed import Terminal
from tests.processes import Home, wait_until

# What stands on a page, and what is typed in its place: mostly the same with less to train.
SMALL = (
    "--set training.epochs=1 --set network.num_filters=2 --set budget.children=2 "
    "--set then.retrain.top=1 --set retrain.training.epochs=1 "
    "--set retrain.network.num_filters=2 --set retrain.network.num_cells=1"
)
SMALLER = {
    "nasnet run digits": "nasnet run tiny.toml --name digits",
    ".venv/bin/nasnet run digits": "nasnet run tiny.toml --name digits",
    "nasnet run pets.toml": f"nasnet run pets.toml {SMALL}",
    "nasnet data check /data/pets": "nasnet data check pets",
    "nasnet init /data/pets --out pets.toml": "nasnet init pets --out data-pets.toml",
    "python examples/search_images.py pets": (
        "python examples/search_images.py pets --size 8 --filters 2 --epochs 1 --children 2"
    ),
    "python examples/compare_controllers.py digits evolution random": (
        "python examples/compare_controllers.py tiny.toml random"
    ),
    # pets has finished by then
    "nasnet search pause pets": "nasnet search pause another",
    "nasnet search resume pets": "nasnet search resume another",
    # nobody can be asked here; tests/test_cli.py has somebody at a terminal
    "nasnet search delete digits-12": "nasnet search delete digits-12 --yes",
    "nasnet genotype export digits:1 --run 42 --format onnx --normalize --out photos.onnx": (
        "nasnet genotype export digits:1 --run {run} --format onnx --normalize --out photos.onnx"
    ),
}

WITH_WORKERS = """
nasnet run digits
.venv/bin/nasnet run digits
nasnet search watch digits
nasnet search watch digits --json
nasnet search list
nasnet search list --json
nasnet search show digits
nasnet search digest digits
nasnet worker list
nasnet doctor
nasnet data check pets
nasnet data check /data/pets
nasnet init pets --out pets.toml
nasnet init /data/pets --out pets.toml
nasnet run pets.toml
nasnet search accept-data pets
nasnet retrain digits --top 3
nasnet transfer digits:1 --dataset imagefolder:photos
nasnet baseline resnet18 --like digits
nasnet leaderboard
nasnet genotype export digits:1 --run 42 --format onnx --normalize --out photos.onnx
nasnet predict photos.onnx photos/ --top 3
python examples/search_images.py pets
python examples/compare_controllers.py digits evolution random
python examples/export_and_predict.py digits photos
nasnet down
"""

WITHOUT_WORKERS = """
python examples/ask_store.py digits
nasnet preset list
nasnet preset show digits
nasnet preset show nasnet-cifar10
nasnet preset show enas-macro-cifar10
nasnet query 'SELECT name, state FROM searches'
nasnet query 'SELECT name, state FROM searches' --csv
nasnet query 'SELECT * FROM leaderboard' --parquet runs.parquet
nasnet query "SELECT operation, count(*) AS uses FROM blocks WHERE cell = 'reduction' \
GROUP BY operation ORDER BY uses DESC"
nasnet genotype list --search digits
nasnet genotype list --search digits --limit 5
nasnet genotype list --search digits --max-params 3e6 --sort parameters
nasnet genotype list --search digits --uses sep_conv_5x5 --in reduction --without max_pool_7x7 \
--min-accuracy 0.2 --limit 20
nasnet genotype show digits:1
nasnet genotype draw digits:1 --out best.svg
nasnet genotype draw digits:1 --network --out network.svg
nasnet genotype compare digits:1 nasnet-a --out difference.svg
nasnet genotype export digits:1 --out best.json
nasnet genotype import best.json
nasnet network digits:1
nasnet network nasnet-a --cells 6 --filters 32 --size 32 --classes 10
nasnet network nasnet-a-cifar
nasnet report digits --out best.html
nasnet report digits --out digits.html
nasnet search export digits --format jsonl --out digits.jsonl
nasnet search export digits --format parquet
nasnet search export digits --format tensorboard
NASNET_HOME=elsewhere nasnet search import digits.jsonl
nasnet db upgrade
nasnet db check
nasnet db backup backup.db
nasnet search note digits 'as the paper, with 12 filters'
nasnet search tag digits --add paper --add small --remove old
nasnet search list --tag paper
nasnet search extend digits --children 60
nasnet search pause digits
nasnet search resume digits
nasnet search stop digits
nasnet search create digits --name another
nasnet search pause pets
nasnet search resume pets
nasnet search rename digits digits-12
nasnet search delete digits-12
nasnet search create digits
"""

INSTALLS = "installs packages from the network; .ci/run installs what it names"
LASTS = "a process that lasts; tests/test_processes.py starts it"
MINUTES = "takes minutes or longer, and needs no more than the presets that run here"
SERVERS = "needs servers, or a machine of its own; tests/test_two_hosts.py has a second host"
ELSEWHERE = "runs in another test of this suite"
NOT_RUN = {
    "python3 -m venv .venv": INSTALLS,
    ".venv/bin/pip install .": INSTALLS,
    ".venv/bin/pip install -e '.[test]'": INSTALLS,
    ".venv/bin/pip install '.[dashboard,export]'": INSTALLS,
    "pip install '.[dashboard]'": INSTALLS,
    ". .venv/bin/activate": INSTALLS,
    ".venv/bin/python -m pytest": "is these tests",
    "nasnet up": LASTS,
    "nasnet dashboard": LASTS,
    "nasnet worker start control": LASTS,
    "nasnet worker start reconcile": LASTS,
    "nasnet worker start train": LASTS,
    "NASNET_NOTIFY=mailto://user:password@example.org nasnet up": LASTS,
    "tensorboard --logdir digits.tensorboard": "another project's server, which lasts",
    "nasnet run nas-digits": MINUTES,
    "nasnet run enas-macro-digits": MINUTES,
    "nasnet run mine.toml": "needs /data/images.npz; its keys are read in test_pages.py",
    "nasnet run digits --name with-control --set control=0.25 --set budget.children=80": MINUTES,
    "python -m tests.chaos --minutes 10 --seed 1": MINUTES,
    "python -m tests.chaos --minutes 10 --seed 1 --database postgresql "
    "--mode synchronous": MINUTES,
    "python benchmarks/search_quality.py --table nasbench201_cifar10.csv.gz --key ops "
    "--sizes 5,5,5,5,5,5 --reward c10_valid_12 --report c10_test_200 --evaluations 100,300,500 "
    "--seeds 100 --batch 10,20": MINUTES,
    "python benchmarks/trained_controllers.py --home FOLDER "
    "--figure docs/images/controllers.png": MINUTES,
    "nasnet genotype export flowers:1 --run 42 --format onnx --out flowers.onnx": ELSEWHERE,
    "nasnet predict flowers.onnx photos/ rose.jpg --top 3": ELSEWHERE,
    "nasnet --install-completion": "writes into the user's shell; tests/test_cli.py completes",
    "nasnet --show-completion": "asks for the shell that it is typed in; tests/test_cli.py has it",
    "export NASNET_DATABASE_URL=postgresql://nasnet:PASSWORD@db.example/nasnet": SERVERS,
    "export NASNET_BROKER_URL=redis://nasnet:PASSWORD@redis.example/0": SERVERS,
    "export NASNET_ARTIFACTS=s3://bucket/nasnet": SERVERS,
    "cp 'docs/systemd/nasnet-*.service' /etc/systemd/system/": SERVERS,
    "systemctl enable --now nasnet-control nasnet-reconcile 'nasnet-train@{1..8}'": SERVERS,
}

TINY = """
dataset = "npz:images.npz"

[space]
blocks = 1

[controller]
batch = 2

[network]
num_cells = 1
num_filters = 2

[training]
epochs = 1
batch_size = 16

[budget]
children = 4

[retrain.network]
num_cells = 1
num_filters = 2

[retrain.training]
epochs = 1
batch_size = 16
"""


def listed(text):
    """The commands of a list, as those of the pages are written."""
    return [shlex.join(shlex.split(line)) for line in text.strip().splitlines()]


def test_every_command_is_run_or_listed_with_the_reason_why_not():
    run = {*listed(WITH_WORKERS), *listed(WITHOUT_WORKERS)}
    assert not run & NOT_RUN.keys()
    assert commands().keys() - run - NOT_RUN.keys() == set()
    assert (run | NOT_RUN.keys() | SMALLER.keys()) - commands().keys() == set()


@pytest.fixture
def folder(tmp_path):
    """Images in the places that pages name."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (96, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "images.npz", x_train=images, y_train=np.arange(96) % 2)
    (tmp_path / "tiny.toml").write_text(TINY)
    for place in ("pets", "photos"):
        for number in range(40):
            file = tmp_path / place / ("cat", "dog")[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(file)
    return tmp_path


@pytest.fixture
def home(folder):
    with contextlib.closing(Home(folder / "home", loaders="0", devices="cpu*1")) as home:
        home.start("up")
        yield home


@pytest.fixture
def terminal(folder, home):
    with contextlib.closing(Terminal(folder, home.environment)) as terminal:
        yield terminal


def transferred(terminal):
    """The number of the run that trained the best of `digits` on other images."""

    def rows(*words):
        return json.loads(terminal.type(["nasnet", *words, "--json"])[1])

    [best] = rows("genotype", "list", "--search", "digits", "--limit", "1")
    [run] = [
        row["run"]
        for row in rows("leaderboard")
        if row["purpose"] == "transfer" and row["digest"].startswith(best["digest"])
    ]
    return run


def test_every_command_of_the_documentation_runs(home, terminal):
    """Each ends with exit code 0, and what it was to write is there."""
    for extra in ("onnxruntime", "pandas", "pygraphviz", "tensorboard"):
        pytest.importorskip(extra, reason="needs the extra `test`")
    wait_until(lambda: home.pid("control"), what="control")
    for command in [*listed(WITH_WORKERS), *listed(WITHOUT_WORKERS)]:
        typed = SMALLER.get(command, command)
        if "{run}" in typed:
            typed = typed.format(run=transferred(terminal))
        code, said = terminal.type(shlex.split(typed))
        assert code == 0, f"{typed}\n{said}"
