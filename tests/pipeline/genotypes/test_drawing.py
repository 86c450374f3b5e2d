"""Drawings say what a genotype says, mark what differs, and take no text for markup."""

import json
import random
import re
import threading
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pipeline.cli.drawing import draw
from pipeline.errors import UserError
from pipeline.genotypes import differences, drawing
from pipeline.networks.inputs import Inputs
from pipeline.spaces import pictures
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.genotype import COMBINES, OPERATIONS, Block, Cell, CellGenotype
from pipeline.spaces.cells.published import AMOEBANET_A, DARTS_V1, DARTS_V2, NASNET_A, PUBLISHED
from pipeline.spaces.cells.skeleton_picture import picture_of_network
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer
from tests.processes import Home

SVG = "{http://www.w3.org/2000/svg}"
MALICIOUS = [
    "</svg><script>alert(1)</script>",
    "<b>bold</b>",
    "<<table><tr><td>x</td></tr></table>>",
    "\"'><img src=x onerror=alert(1)>",
    "]]><!-- --><?php ?>&lt;script&gt;&amp;&#60;",
    r"\N \G \L \E \T \H \l \r \n \\",
    "two\nlines\r\n\x00\x01\x1b[31m\u202e\ud800\ufeff",
    "%s %n {0} ${x}",
    "x" * 10_000,
    "<" * 10_000,
    "",
    "\\",
]


def random_cell(generator, blocks=5):
    return Cell.with_unused_concat(
        [
            Block(
                generator.randrange(b + 2),
                generator.choice(OPERATIONS),
                generator.randrange(b + 2),
                generator.choice(OPERATIONS),
                generator.choice(COMBINES),
            )
            for b in range(blocks)
        ]
    )


def random_genotype(seed, blocks=5):
    generator = random.Random(seed)
    return CellGenotype(random_cell(generator, blocks), random_cell(generator, blocks))


def drawn(picture, prefix=""):
    """The parsed <svg> element of a picture."""
    return ElementTree.fromstring(drawing.svg_fragment(picture, prefix))


def ids(root, kind):
    return [g.get("id") for g in root.iter(f"{SVG}g") if g.get("class") == kind]


def texts(root):
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def marked(picture, prefix):
    named = [*picture.nodes, *picture.edges]
    return {thing.name: thing.mark for thing in named if thing.mark and thing.name[0] == prefix}


GENOTYPES = [*PUBLISHED.values(), *(random_genotype(seed, 1 + seed % 12) for seed in range(12))]
every_genotype = pytest.mark.parametrize("genotype", GENOTYPES)


@every_genotype
def test_each_block_is_two_operations_and_a_combination(genotype):
    root = drawn(drawing.picture_of(genotype))
    expected = []
    for place, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        expected += [f"{place}-{name}" for name in ("h0", "h1", "concat", "output")]
        for state in range(2, len(cell.blocks) + 2):
            expected += [f"{place}-h{state}{end}" for end in ("", "-left", "-right")]
    assert sorted(ids(root, "node")) == sorted(expected)
    assert ids(root, "cluster") == ["normal", "reduction"]


@every_genotype
def test_each_operation_of_the_genotype_stands_in_the_picture_as_often(genotype):
    blocks = genotype.normal.blocks + genotype.reduction.blocks
    operations = [operation for block in blocks for _, operation in block.sides]
    said = Counter(texts(drawn(drawing.picture_of(genotype))))
    for label, times in Counter(map(pictures.operation_label, operations)).items():
        assert said[label] == times
    titles = [title.text for title in drawn(drawing.picture_of(genotype)).iter(f"{SVG}title")]
    assert sorted(t.split()[0] for t in titles if t.split()[0] in OPERATIONS) == sorted(operations)


@every_genotype
def test_arrows_are_the_inputs_of_the_genotype_and_its_concat(genotype):
    expected = []
    for place, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        for state, block in enumerate(cell.blocks, start=2):
            for side, read in (("left", block.left_input), ("right", block.right_input)):
                expected.append(f"{place}-h{read}--{place}-h{state}-{side}")
                expected.append(f"{place}-h{state}-{side}--{place}-h{state}")
        expected += [f"{place}-h{state}--{place}-concat" for state in cell.concat]
        expected.append(f"{place}-concat--{place}-output")
    assert sorted(ids(drawn(drawing.picture_of(genotype)), "edge")) == sorted(expected)


def test_every_operation_has_a_name_of_its_own_and_a_look():
    assert len({pictures.operation_label(operation) for operation in OPERATIONS}) == len(
        OPERATIONS
    )
    cell = Cell.with_unused_concat([Block(0, name, 1, name) for name in OPERATIONS])
    nodes = drawing.picture_of(CellGenotype(cell, cell)).nodes
    assert {node.look for node in nodes} <= drawing._LOOKS.keys()


@pytest.mark.parametrize("form", drawing.FORMATS)
@pytest.mark.parametrize("genotype", [NASNET_A, KnownNetwork("resnet18")])
def test_the_same_picture_is_the_same_bytes(genotype, form):
    first = drawing.draw(drawing.picture_of(genotype, "a title"), form)
    assert drawing.draw(drawing.picture_of(genotype, "a title"), form) == first
    assert first.startswith({"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml "}[form])


def test_threads_that_draw_at_once_draw_what_one_alone_draws():
    pictures = [drawing.picture_of(genotype) for genotype in PUBLISHED.values()]
    alone = [drawing.svg_fragment(picture) for picture in pictures]
    together = [""] * len(pictures)

    def run(number):
        together[number] = drawing.svg_fragment(pictures[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_fragment_is_one_element_with_a_title_and_no_id_of_another_fragment():
    picture = drawing.picture_of(NASNET_A, "mine")
    first, second = (drawing.svg_fragment(picture, prefix) for prefix in ("a-", "b-"))
    root = ElementTree.fromstring(first)
    assert first.startswith("<svg ")
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "mine"
    assert root.find(f"{SVG}title").get("id") == root.get("aria-labelledby") == "a-title"
    assert "state 2 = sep_conv_5x5(0) add sep_conv_3x3(1)" in root.find(f"{SVG}desc").text
    found = re.findall(r' id="([^"]*)"', first + second)
    assert len(found) == len(set(found)) > 100
    assert all(name.startswith(("a-", "b-")) for name in found)


def test_a_picture_stands_on_pages_of_any_colour():
    root = drawn(drawing.picture_of(NASNET_A))
    graph = root.find(f"{SVG}g")
    assert [p.get("fill") for p in graph.findall(f"{SVG}polygon")] in (
        [],
        ["none"],
        ["transparent"],
    )
    outside = [t.get("fill") for t in root.iter(f"{SVG}text") if (t.text or "").endswith(" cell")]
    assert outside == ["currentColor"] * 2


def elements_with_text(name):
    """Every picture that a free text gets into, as parsed elements."""
    known = KnownNetwork(name)
    skeleton = {"Stem": (3, 8, 8), "Cell_0": (4, 8, 8), "Logits": (10,)}
    yield drawn(drawing.picture_of(known, name))
    yield drawn(drawing.picture_of(NASNET_A, name))
    yield drawn(picture_of_network(NetworkConfig(), skeleton, (3, 8, 8), name))
    yield drawn(drawing.picture_of_comparison(known, NASNET_A, (name, name)))
    yield drawn(drawing.picture_of_comparison(known, KnownNetwork("b"), (name, "b")))
    yield ElementTree.fromstring(drawing.draw(drawing.picture_of(known, name), "svg"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_no_name_becomes_markup_and_each_arrives_as_text(name):
    shown = drawing.plain(name)
    for root in elements_with_text(name):
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {
            "svg",
            "g",
            "title",
            "desc",
            "text",
            "path",
            "polygon",
            "polyline",
            "ellipse",
        }
        keys = {key for element in root.iter() for key in element.attrib}
        assert not {key for key in keys if key.startswith("on") or "href" in key}
        assert not shown or shown in [text.strip() for text in texts(root)]
    assert drawing.draw(drawing.picture_of(KnownNetwork(name), name), "png")


def test_a_long_name_is_cut_and_a_control_character_is_a_blank():
    assert drawing.plain("x" * 10_000) == "x" * 57 + "..."
    assert drawing.plain(" a\n\x00b\u202e ") == "a b"


@pytest.mark.parametrize("seed", range(8))
def test_two_encodings_of_a_genotype_have_no_differences(seed):
    genotype = random_genotype(seed)
    other = genotype.canonical()
    assert differences.differences(genotype, other) == []
    picture = drawing.picture_of_comparison(genotype, other)
    assert marked(picture, "a") == marked(picture, "b") == {}
    assert "no difference" in drawn(picture).find(f"{SVG}desc").text


def with_changed_side(genotype, generator):
    """A genotype whose graph differs in one side of a block, and in nothing else."""
    while True:
        blocks = list(genotype.normal.blocks)
        b, side = generator.randrange(len(blocks)), generator.choice(pictures.SIDES)
        what = generator.choice([["op"], ["input"], ["op", "input"]])
        new = {"op": generator.choice(OPERATIONS), "input": generator.randrange(b + 2)}
        blocks[b] = replace(blocks[b], **{f"{side}_{part}": new[part] for part in what})
        changed = replace(genotype, normal=Cell(tuple(blocks), genotype.normal.concat))
        live = len(changed.normal.live_blocks()) == len(blocks)
        if live and changed.digest != genotype.digest:
            return changed


@pytest.mark.parametrize("seed", range(60))
def test_one_changed_side_is_marked_once_in_each_picture(seed):
    genotype = random_genotype(seed, blocks=2 + seed % 7)
    changed = with_changed_side(genotype, random.Random(seed))
    [found] = differences.differences(genotype, changed)
    assert found.cell == "normal"
    assert found.part in {"operation", "input", "side"}
    picture = drawing.picture_of_comparison(genotype, changed)
    for prefix, names in (("a", found.first_names), ("b", found.second_names)):
        assert marked(picture, prefix) == {f"{prefix}-{name}": "differs" for name in names}
        assert len(names) == 1
    assert texts(drawn(picture)).count("differs") == 2


@pytest.mark.parametrize("seed", range(8))
def test_a_block_that_only_one_has_is_marked_whole(seed):
    genotype = random_genotype(seed)
    more = Block(0, "sep_conv_7x7", 1, "max_pool_7x7")
    cell = genotype.reduction
    bigger = replace(genotype, reduction=Cell((*cell.blocks, more), (*cell.concat, 7)))
    [found] = differences.differences(genotype, bigger)
    assert (found.cell, found.part, found.first) == ("reduction", "block", None)
    picture = drawing.picture_of_comparison(genotype, bigger)
    assert marked(picture, "a") == {}
    assert list(marked(picture, "b").values()) == ["only here"] * 3
    [mirrored] = differences.differences(bigger, genotype)
    assert (mirrored.first, mirrored.second) == (found.second, None)


def test_a_combination_and_an_output_that_differ_are_marked():
    blocks = (Block(0, "identity", 1, "conv_3x3"), Block(2, "conv_1x1", 0, "conv_1x1", "concat"))
    first = CellGenotype(Cell(blocks, (3,)), Cell(blocks, (3,)))
    added = (blocks[0], replace(blocks[1], combine="add"))
    second = CellGenotype(Cell(added, (3,)), Cell(blocks, (1, 2, 3)))
    combination, *outputs = differences.differences(first, second)
    assert (combination.part, combination.first) == ("combination", "state 3: concat")
    assert [(o.part, o.first, o.second) for o in outputs] == [
        ("output", None, "state 1"),
        ("output", None, "state 2"),
    ]
    assert marked(drawing.picture_of_comparison(first, second), "b") == {
        "b-normal-h3": "differs",
        "b-reduction-h1--b-reduction-concat": "only here",
        "b-reduction-h2--b-reduction-concat": "only here",
    }


def test_blocks_that_differ_stand_for_one_another_by_place():
    found = differences.differences(DARTS_V1, DARTS_V2)
    assert [(d.part, d.first, d.second) for d in found if d.cell == "normal"] == [
        ("operation", "state 3: identity(1)", "state 3: sep_conv_3x3(1)"),
        ("operation", "state 5: sep_conv_3x3(1)", "state 5: identity(1)"),
        ("operation", "state 5: identity(4)", "state 5: dil_conv_3x3(4)"),
    ]


def test_what_differs_is_dashed_thick_and_said():
    picture = drawing.picture_of_comparison(NASNET_A, AMOEBANET_A)
    root = drawn(picture)
    dashed = [
        g.get("id")
        for g in root.iter(f"{SVG}g")
        if any(e.get("stroke-dasharray") and float(e.get("stroke-width")) > 2 for e in g)
    ]
    assert sorted(dashed) == sorted(marked(picture, "a").keys() | marked(picture, "b").keys())
    said = Counter(texts(root))
    said = Counter({key.strip(): count for key, count in said.items()})
    marks = Counter([*marked(picture, "a").values(), *marked(picture, "b").values()])
    assert {mark: said[mark] for mark in marks} == dict(marks)


def test_a_large_comparison_ends_though_its_matchings_are_too_many():
    found = differences.differences(random_genotype(1, 12), random_genotype(2, 12))
    assert found == differences.differences(random_genotype(1, 12), random_genotype(2, 12))


def test_known_networks_are_a_box_with_a_name_and_compared_by_it():
    resnet, densenet = KnownNetwork("resnet18"), KnownNetwork("densenet121")
    assert ids(drawn(drawing.picture_of(resnet)), "node") == ["network"]
    assert "resnet18" in texts(drawn(drawing.picture_of(resnet)))
    assert differences.differences(resnet, KnownNetwork("resnet18")) == []
    [found] = differences.differences(resnet, densenet)
    assert (found.part, found.mark) == ("network", "differs")
    picture = drawing.picture_of_comparison(resnet, NASNET_A)
    assert marked(picture, "a") == {"a-network": "differs"}


def chain(*layers):
    return MacroGenotype(tuple(MacroLayer(*layer) for layer in layers))


def test_a_macro_genotype_is_a_chain_whose_skips_are_dashed():
    genotype = chain(("conv_3x3",), ("sep_conv_5x5", (0, 1)), ("max_pool_3x3",))
    picture = drawing.picture_of(genotype)
    drawn(picture)
    assert {(e.tail, e.head, e.label) for e in picture.edges if not e.dashed} == {
        ("layer-0", "layer-1", ""),
        ("layer-1", "layer-2", "and joined"),
        ("layer-2", "layer-3", ""),
        ("layer-3", "classifier", ""),
    }
    assert [(e.tail, e.head) for e in picture.edges if e.dashed] == [("layer-0", "layer-2")]
    labels = [node.label for node in picture.nodes]
    assert labels[1:4] == ["conv 3x3 (1)", "sep 5x5 (2)", "max 3x3 (3)"]
    assert "layer 2 = sep_conv_5x5(1), joined with 0, 1;" in picture.description


def test_macro_genotypes_are_compared_layer_by_layer():
    first = chain(("conv_3x3",), ("conv_3x3", (1,)), ("conv_5x5",))
    second = chain(("conv_3x3",), ("avg_pool_3x3",))
    said = [(d.cell, d.part, d.first, d.second) for d in differences.differences(first, second)]
    assert said == [
        ("layer 2", "operation", "conv_3x3", "avg_pool_3x3"),
        ("layer 2", "skips", "1", "none"),
        ("layer 3", "layer", "layer 3 = conv_5x5(2)", None),
    ]
    [added] = differences.differences(
        second, chain(("conv_3x3",), ("avg_pool_3x3",), ("conv_5x5",))
    )
    assert (added.first, added.mark) == (None, "only here")
    picture = drawing.picture_of_comparison(first, second)
    assert marked(picture, "a") == {"a-layer-2": "differs", "a-layer-3": "only here"}
    assert marked(picture, "b") == {"b-layer-2": "differs"}
    assert marked(drawing.picture_of_comparison(first, NASNET_A), "a")
    assert differences.differences(first, first) == []


@pytest.mark.parametrize("config", [{}, {"auxiliary": True, "num_cells": 3}, {"stem": "imagenet"}])
def test_a_network_is_drawn_from_its_image_to_its_classes_with_its_shapes(config):
    from pipeline.spaces.description import describe

    skeleton = NetworkConfig(num_filters=8, **config)
    found = describe(DARTS_V2, skeleton, Inputs((3, 32, 32), 7))
    picture = picture_of_network(skeleton, found.endpoints, (3, 32, 32), "mine")
    labels = [node.label for node in picture.nodes]
    assert labels.count(f"normal cell x {skeleton.num_cells}") == 3
    assert labels.count("reduction cell") == 2
    assert ("reduction cell x 2" in labels) == (skeleton.stem == "imagenet")
    assert ("auxiliary head" in labels) == skeleton.auxiliary
    said = [text.strip() for text in texts(drawn(picture))]
    shapes = [" x ".join(map(str, s)) for s in found.endpoints.values() if len(s) == 3]
    assert {"7 classes", "mine", "3 x 32 x 32", *shapes} <= set(said)
    if skeleton.auxiliary:  # it reads what the last reduction cell reads
        read = {edge.head: edge.tail for edge in picture.edges}
        assert read["auxiliary"] == read["Reduction_Cell_1"] == "Cell_5"


def test_without_the_extra_drawings_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pygraphviz", None)
    with pytest.raises(UserError, match=r"extra `dashboard`: pip install 'nasnet-pipeline\[dash"):
        drawing.draw(drawing.picture_of(NASNET_A), "svg")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_draw_writes_what_the_ending_says_or_svg_by_digest(home):
    home.nasnet("genotype", "draw", "nasnet-a")
    [path] = home.folder.glob("*.svg")
    assert path.stem == NASNET_A.digest[:12]
    assert ElementTree.fromstring(path.read_bytes()).find(f"{SVG}title").text == "nasnet-a"
    home.nasnet("genotype", "draw", "darts-v1", "--output", "here.PNG")
    assert (home.folder / "here.PNG").read_bytes().startswith(b"\x89PNG")
    assert not list(home.folder.glob(".*.svg*"))


def test_draw_network_takes_a_genotype_or_a_published_network(home):
    options = ["--cells", "1", "--filters", "8", "--size", "16", "--classes", "3"]
    home.nasnet("genotype", "draw", "darts-v2", "--network", *options, "--output", "n.svg")
    published = home.folder / "published.svg"  # here: a process would load torch once more
    draw("nasnet-a-cifar", published, network=True, cells=1, filters=8, size=16, classes=3)
    for path in (home.folder / "n.svg", published):
        said = {t.strip() for t in texts(ElementTree.fromstring(path.read_bytes()))}
        assert {"3 classes", "normal cell x 1", "3 x 16 x 16"} <= said


def test_compare_prints_what_differs_and_draws_it_where_it_is_told(home):
    done = home.nasnet("genotype", "compare", "darts-v1", "darts-v2", "--out", "c.svg")
    assert "state 5: dil_conv_3x3(4)" in done.stdout
    assert "state 5: identity(4)" in (home.folder / "c.svg").read_text()
    found = home.json("genotype", "compare", "darts-v1", "darts-v2")
    assert found["first"] == DARTS_V1.digest
    assert found["differences"][0] == {
        "cell": "normal",
        "part": "operation",
        "first": "state 3: identity(1)",
        "second": "state 3: sep_conv_3x3(1)",
    }
    same = home.nasnet("genotype", "compare", "darts-v1", "darts-v1")
    assert "the same architecture" in same.stdout
    assert (
        json.loads(home.nasnet("genotype", "compare", *["darts-v1"] * 2, "--json").stdout)[
            "differences"
        ]
        == []
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["draw", "nasnet-a", "--output", "x.gif"], "x.gif: expected a name that ends in .svg or"),
        (
            ["draw", "nasnet-a", "--output", "svg"],
            "svg: expected a name that ends in .svg or .png",
        ),
        (["draw", "nasnet-a", "--output", "no/x.svg"], "no/x.svg: there is no folder no"),
        (["draw", "nasnet-a", "--output", "full.svg"], "full.svg: is a folder, not a file"),
        (["draw", "nasnet-a", "--cells", "3"], "are of a network: --network"),
        (["draw", "nothing"], "no genotype 'nothing'"),
        (["draw", "known.json", "--network"], "is no stack of cells"),
        (["compare", "nasnet-a", "nothing"], "no genotype 'nothing'"),
        (["compare", "nasnet-a", "darts-v1", "--output", "x.jpg"], "x.jpg: expected a name"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_nothing_written(home, arguments, said):
    (home.folder / "full.svg").mkdir()
    (home.folder / "known.json").write_text(KnownNetwork("resnet18").to_json())
    before = sorted(home.folder.iterdir())
    done = home.nasnet("genotype", *arguments, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "Fontconfig" not in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(home.folder.iterdir()) == before


def test_the_missing_extra_is_one_line_on_the_command_line(home):
    (home.folder / "pygraphviz.py").write_text("raise ImportError('no such wheel')")
    home.command = list(home.command)  # a process that looks for modules in its folder
    done = home.nasnet("genotype", "draw", "nasnet-a", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "pip install 'nasnet-pipeline[dashboard]'" in done.stderr
    assert not list(home.folder.glob("*.svg"))


def test_a_name_from_a_file_reaches_the_drawing_as_text(home):
    (home.folder / "evil.json").write_text(KnownNetwork(MALICIOUS[0]).to_json())
    home.nasnet("genotype", "draw", "evil.json", "--output", "e.svg")
    root = ElementTree.fromstring((home.folder / "e.svg").read_bytes())
    assert MALICIOUS[0] in texts(root)
    assert not [element for element in root.iter() if "script" in element.tag]
