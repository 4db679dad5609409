r"""UniGRPO of MMaDA-8B on questions about pictures, CLEVR's or GeoQA's: one H200, or a pod.

    jaxreason train experiments/mmada/llm_unigrpo_pictures.py --run runs/llm_unigrpo_pictures \
        --base runs/mmada --pictures.tokenizer models/magvitv2 --data.path data/CLEVR_v1.0 \
        --evaluation.path data/CLEVR_v1.0

`--base` is MMaDA as published, or the run of `jaxreason convert` with its tokenizer beside it;
`--pictures.tokenizer` the folder of showlab/magvitv2's weights as safetensors, or a run of an image
tokenizer. Prompts are MMaDA's: the picture's 1,024 tokens, then the question; answers are text and
earn 2 for the right word and 0.5 for `<think> reasoning </think> answer`. GeoQA's answers are
numbers and choices:

    --data.known geoqa --data.split "" --data.path geoqa/data --answers math

One H200 (141 GB) as for `llm_unigrpo.py`, with half the rows in a micro-batch. Not run yet at this
size.

    jaxreason preflight experiments/mmada/llm_unigrpo_pictures.py --base mmada_8b --topology h200
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxreason.data.language import DataConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.pictured_prompts import PictureConfig
from jaxreason.training.runs import load_module

words: Any = load_module(Path(__file__).parent / "llm_unigrpo.py")

experiment = replace(
    words.experiment,
    base="models/MMaDA-8B-MixCoT",
    data=DataConfig("data/CLEVR_v1.0", known="clevr", split="train", kind="prompts"),
    evaluation=DataConfig("data/CLEVR_v1.0", known="clevr", split="val", kind="prompts"),
    template="mmada",
    answers="words",
    pictures=PictureConfig("models/magvitv2", side=512),
    prompt_tokens=192,
    decoding=DecodingConfig(length=128, block=64, tokens_per_step=2, temperature=0.9),
    train=replace(words.experiment.train, accumulation=16),
)
