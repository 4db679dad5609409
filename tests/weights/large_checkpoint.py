"""A published folder of several gigabytes, written in no time: its files have holes."""

import json
import math

from jaxreason.models import TransformerConfig
from jaxreason.models.llada import llada_places
from jaxreason.weights.folders import INDEX
from jaxreason.weights.llada_settings import llada_settings

MARK = b"\x80\x3f"  # 1.0 in bfloat16


def large_config(layers=20):
    """A LLaDA of 0.15 GB a layer and 0.27 GB of tables, in bfloat16."""
    return TransformerConfig(
        32768, layers, 2048, 16, 16, 128, 9216, tied=False, attention="bidirectional"
    )


def write_large(folder, config, shards=4):
    """All weights 0, but for the last of each tensor, which is 1; returns the number of bytes."""
    folder.mkdir()
    settings = llada_settings(config) | {"mask_token_id": 1, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(settings))
    names = list(llada_places(config).items())
    stride, places, total = math.ceil(len(names) / shards), {}, 0
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        header, ends = {}, []
        for name, place in names[number * stride : (number + 1) * stride]:
            begin = ends[-1] if ends else 0
            ends.append(begin + 2 * math.prod(place.stored))
            offsets = [begin, ends[-1]]
            header[name] = {"dtype": "BF16", "shape": place.stored, "data_offsets": offsets}
            places[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as opened:
            opened.write(len(text).to_bytes(8, "little") + text)
            for end in ends:
                opened.seek(8 + len(text) + end - len(MARK))
                opened.write(MARK)
        total += ends[-1]
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return total
