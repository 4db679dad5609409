"""The paper-compatible stream, against hashes of the authors' own program's output.

The hashes are SHA-256 of the first k lines that the JavaScript modules of
github.com/kstechly/beyond-semantics-maze-visualizer write under node for seed 42, 30x30, A*.
"""

import hashlib
from itertools import islice

import pytest

from jaxreason.errors import InputError
from jaxreason.mazes.paper_stream import PAPER_GENERATORS, paper_lines, paper_problems

GOLDEN = {
    "wilson": (
        "69ab4f31e4d8f63e6bfbc398c8eef58bd6a3c882c3514c866a771f699ca78695",
        "d6ea0d395cad55778394f7a4dc1fb46dfe9fc8ae74471f640a68588ab8377845",
        "bce6ff37104d69fad3088d59b6ee640ccd6a979b81f1d7ef6ffc58ad7d78c557",
    ),
    "kruskal": (
        "fb0520ac4bc3332bc7230b8436603da5330d8a25434452106a82fe96d9f1eab9",
        "ac881a501db355f63a776a5fd4e2d56216ff78a5eb43bfb9018da9770e179865",
        "3d20afcfb5b886681efb94ab2ae8af8af00003562c6a339e410e0bb9af1ce741",
    ),
    "dfs": (
        "dbaaa7a661fa46f3aa5fe647ffd750501b00e457ce96bfb6e1d09e2ed4fcbecb",
        "8113945fb6eb7c2d47fd677c0656778bd03cb00a406a8cde07d5ddf10f4a4b20",
        "7b99837e7095d1136e15ea36e061f824335b837024fc69a2dc28200d8977ba3a",
    ),
    "drunkards_walk": (
        "1e4095a336374fec7c46436df30c71b58695022e16719b4788455eaf31cbc596",
        "106d785701b34922dc1e7747c4dbff30f7e8584df6fcefaacc5e8265bbdc6f28",
        "976238adcbade5f7ea661f38f60e8060b43104b80feec1b0dc36e30fddcf2ba5",
    ),
    "searchformer": (
        "9e8b2d01171e704ee10b0bb1f8f6df260776cad7697d02d3e10dd3a86374b041",
        "277c04db2052ed91740b7c31d3bacb78f1594b6b9cf16322e1a7ef0356459c87",
        "c4d071af760165e77952712a18f662415c886a2a18b3530bc4c297da1da868ce",
    ),
}


@pytest.mark.parametrize("generator", GOLDEN)
def test_the_first_1_100_and_1000_lines_are_the_authors_bytes(generator):
    digest, hashes = hashlib.sha256(), {}
    for count, line in enumerate(islice(paper_lines(generator), 1000), start=1):
        digest.update(line.encode())
        hashes[count] = digest.hexdigest()
    assert (hashes[1], hashes[100], hashes[1000]) == GOLDEN[generator]


@pytest.mark.parametrize("generator", GOLDEN)
def test_the_test_split_is_another_stream(generator):
    train, test = (next(paper_problems(generator, split=split)) for split in ("train", "test"))
    assert train.digest() != test.digest()


@pytest.mark.parametrize("generator", PAPER_GENERATORS)
@pytest.mark.parametrize("size", [3, 4, 7, 10])
def test_small_sizes_run(generator, size):
    for problem in islice(paper_problems(generator, size, seed=0), 20):
        assert problem.floor.shape == (size, size)
        assert problem.generator == generator


def test_a_stream_is_a_sequence_and_starts_over_for_a_new_iterator():
    first = [problem.digest() for problem in islice(paper_problems("wilson", 8), 5)]
    assert [problem.digest() for problem in islice(paper_problems("wilson", 8), 5)] == first
    assert len(set(first)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generator": "free_space"}, "'free_space' has no paper-compatible stream"),
        ({"generator": "wilson", "size": 2}, "size is 2"),
        ({"generator": "wilson", "size": 100_000}, "at most 1048576 cells"),
        ({"generator": "wilson", "split": "validation"}, "split 'validation'"),
        ({"generator": "wilson", "seed": -1}, "seed is -1"),
    ],
)
def test_what_the_authors_program_cannot_do_is_refused_at_the_call(arguments, message):
    with pytest.raises(InputError, match=message):
        paper_problems(**arguments)
