"""Files of every released version go on decoding to the same tokens."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dqcodec.bitstream import WHOLE, Details, DetailTable, Extra, Frame, Ladder, StaticTables, Tokens, read, write
from tests.bitstream import reference_decoder
from tests.bitstream.samples import VECTORS, finder, load_vector_maker, same

NAMES = sorted(path.stem for path in VECTORS.glob("*.dq"))
FORMAT = Path(__file__).parents[2] / "docs" / "FORMAT.md"


def load(name: str) -> tuple[bytes, dict]:
    return (VECTORS / f"{name}.dq").read_bytes(), json.loads((VECTORS / f"{name}.json").read_text())


def model_of(expected: dict) -> StaticTables:
    ladder = Ladder(tuple(expected["factors"]), tuple(expected["codebook_sizes"]), expected["region"])
    tables = tuple(np.array(table, np.uint32) for table in expected["tables"])
    return StaticTables(ladder, bytes.fromhex(expected["fingerprint"]), tables)


def tokens_of(expected: dict) -> Tokens:
    codes = tuple(np.array(grid, np.int32) for grid in expected["codes"])
    return Tokens(*frame_of(expected).coded, np.array(expected["levels"], np.uint8), codes)


def frame_of(expected: dict) -> Frame:
    return Frame(expected["width"], expected["height"], expected["grey"], expected.get("scale", WHOLE),
                 expected.get("grain", 0))


def details_of(expected: dict) -> Details | None:
    """The detail of a golden file, if it has some."""
    if "detail" not in expected:
        return None
    known = expected["detail"]
    table = np.array(known["table"], np.uint32)
    layer = DetailTable(bytes.fromhex(known["fingerprint"]), known["side"], table, known.get("sparse", False))
    return Details(np.array(known["codes"], np.int32), layer)


def test_every_case_has_its_golden_file():
    assert set(NAMES) >= set(load_vector_maker().CASES)


@pytest.mark.parametrize("name", NAMES)
def test_golden_bytes_decode_to_the_pinned_tokens(name):
    data, expected = load(name)
    details = details_of(expected)
    parsed = read(data, finder(model_of(expected)), find_detail=details and finder(details.layer))
    assert (parsed.details is None) == (details is None)
    assert details is None or np.array_equal(parsed.details.codes, details.codes)
    assert same(parsed.tokens, tokens_of(expected))
    assert parsed.header.frame == frame_of(expected) and parsed.problem is None
    assert {extra.kind: extra.data.hex() for extra in parsed.extras} == expected["extras"]


@pytest.mark.parametrize("name", NAMES)
def test_writer_still_writes_the_golden_bytes(name):
    data, expected = load(name)
    extras = [Extra(kind, bytes.fromhex(text)) for kind, text in expected["extras"].items()]
    written = write(tokens_of(expected), model_of(expected), extras=extras, frame=frame_of(expected),
                    details=details_of(expected))
    assert written == data


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_written_from_the_specification_reads_golden_files(name):
    data, expected = load(name)
    decoded = reference_decoder.decode(data, expected["factors"], expected["region"], expected["tables"],
                                       expected.get("detail"))
    assert decoded == {key: {"scale": WHOLE, "grain": 0, "detail": None, **expected}[key] for key in decoded}


@pytest.mark.parametrize("name", sorted(load_vector_maker().CASES))
def test_generator_still_makes_the_pinned_tokens_and_tables(name):
    maker = load_vector_maker()
    _, expected = load(name)
    assert json.loads(json.dumps(maker.describe(*maker.CASES[name]()))) == expected


def test_the_worked_example_of_the_specification_is_the_golden_file():
    dump = re.search(r"```hex\n(.*?)```", FORMAT.read_text(), re.S).group(1)
    digits = "".join(line.split("|")[0] for line in dump.splitlines())
    assert bytes.fromhex(digits) == load("worked_example")[0]
