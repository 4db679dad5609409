"""Damaged files: records or one sentence that names the file, never anything else.

They are read in a process whose memory is limited, a thousand of each format where there is time.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from language_files import turn, write_rows

from jaxreason.data.language import DataConfig, read_records
from jaxreason.errors import FailureError, InputError

NAMES = ("a.jsonl", "a.json", "a.jsonl.gz", "a.parquet")
TALK = [turn("user", "Wie viel ist 2 + 2? é😀"), turn("assistant", "4")]
ROWS = [
    {"prompt": TALK[:1], "chosen": TALK[1:], "rejected": TALK[1:], "n": [1, 2.5, None, True]},
    {"prompt": "2+2?", "chosen": "4", "rejected": "5", "n": []},
]
NESTED = [{"prompt": TALK[:1], "chosen": TALK[1:], "rejected": TALK[1:], "n": i} for i in range(9)]
PIECES = (
    *(b"\x00", b"\xff", b'"', b"{", b"[" * 2000, b"\\ud800", b"\r\n", b"\xef\xbb\xbf", b"null"),
    *(b"1e999", b"9" * 5000, b"NaN", b"\\u0000", b"\xed\xa0\x80", b',"prompt":', b"}\n{"),
)


def mutated(content, random):
    """One to three changes: bytes changed, cut out, doubled, or pieces put in."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(data) + 1))
        kind = random.integers(10)
        if kind < 6:
            data[at : at + 1] = bytes([int(random.integers(256))])
        elif kind == 6:
            del data[at : at + int(random.integers(1, 30))]
        elif kind == 7:
            data[at:at] = data[at : at + int(random.integers(1, 60))]
        elif kind == 8:
            data[at:at] = PIECES[int(random.integers(len(PIECES)))]
        else:
            data = data[:at] or data
    return bytes(data)


def read_all(folder, name, count):
    """How many of the damaged files still gave records."""
    random = np.random.default_rng(0)
    rows = NESTED if name.endswith("parquet") else ROWS
    original = write_rows(folder / name, rows).read_bytes()
    good = 0
    for _ in range(count):
        path = folder / name
        path.write_bytes(mutated(original, random))
        try:
            read_records(DataConfig(path=str(path), kind="preference"))
            good += 1
        except (InputError, FailureError) as error:
            sentence = str(error)
            assert str(path) in sentence, sentence
            assert "\n" not in sentence, sentence
            assert len(sentence) < 1000, sentence
    return good


PROGRAM = """
import resource, sys
from pathlib import Path
import pyarrow.parquet
sys.path.insert(0, sys.argv[1])
import test_language_fuzz as fuzz
folder, count = Path(sys.argv[2]), int(sys.argv[3])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))
print(*(fuzz.read_all(folder, name, count) for name in fuzz.NAMES))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_files(tmp_path, count):
    arguments = [str(Path(__file__).parent), str(tmp_path), str(count)]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    *good, megabytes = map(int, done.stdout.split())
    # Some changes do no harm, except under a checksum; most do.
    assert max(good) < 0.8 * count
    assert sum(good) > 0
    assert megabytes < 500
