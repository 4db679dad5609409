"""A tiny image-text model in published layouts, and benchmarks of a few pictures and questions."""

import json
from pathlib import Path

import numpy as np
import tiny_models
import tiny_tokenizers
from PIL import Image
from tokenizers import Tokenizer

from jaxreason.models import TransformerConfig
from jaxreason.models.magvit import MagvitConfig
from jaxreason.models.magvit_names import from_published, published_shapes
from jaxreason.weights.llada import LladaMetadata, export_llada
from jaxreason.weights.magvit import export_magvit

IMAGE_TOKENIZER = MagvitConfig(8, (1, 2), (1, 1), (1, 2), (1, 1), code_bits=4, groups=4)
MODEL = TransformerConfig(
    vocabulary_size=320,
    layers=1,
    width=16,
    heads=4,
    kv_heads=4,
    head_size=4,
    mlp_width=24,
    tied=False,
    attention="bidirectional",
)
OFFSET, IDS = 302, (10, 11, 12)
"""Id of image code 0; ids of <mmu>, <soi> and <eoi>."""
SIDE = 8
POPE = (("Is there a dog in the image?", "yes"), ("Is there a cat?", "no"), ("Is it red?", "no"))


def write_model(folder: Path) -> None:
    """A LLaDA with 16 image codes, and its tokenizer."""
    tiny_tokenizers.write_tiny_tokenizer(folder / "words", chat="llada")
    known = Tokenizer.from_file(str(folder / "words" / "tokenizer.json"))
    ids = [known.token_to_id(f"<|{name}|>") for name in ("mdm_mask", "endoftext", "eot_id")]
    about = LladaMetadata(mask=ids[0], eos=ids[1], eot=ids[2], image_offset=OFFSET, image_codes=16)
    export_llada(tiny_models.tiny_params(MODEL, 3), folder / "model", MODEL, metadata=about)
    tiny_tokenizers.write_tiny_tokenizer(folder / "model", chat="llada")
    draw = np.random.default_rng(0)

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) > 1:
            return (draw.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        return (draw.normal(0, 0.1, shape) + name.endswith("weight")).astype(np.float32)

    drawn = {
        name: weight(name, shape)
        for name, shape in published_shapes(IMAGE_TOKENIZER).items()
        if not name.startswith("quantize")  # tables, which are no weights
    }
    params = from_published(IMAGE_TOKENIZER, drawn)
    export_magvit(params, folder / "pictures", IMAGE_TOKENIZER)


def write_picture(path: Path, seed: int, size: tuple[int, int] = (12, 9)) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def write_benchmarks(folder: Path) -> None:
    """Questions of every benchmark in FOLDER/NAME..., pictures in FOLDER/NAME_images."""
    for number in (7, 42):
        write_picture(folder / "vqav2_images" / f"COCO_val2014_{number:012d}.jpg", number)
        write_picture(folder / "gqa_images" / f"n{number}.jpg", number, (9, 20))
    for number in range(3):
        write_picture(folder / "pope_images" / f"{number}.jpg", number)
    for name in ("existence/1.jpg", "color/images/1.jpg"):
        write_picture(folder / "mme_images" / name, 5)
    write(
        folder / "vqav2.json",
        {
            "data_subtype": "val2014",
            "questions": [
                {"question_id": 7000 + i, "image_id": image, "question": f"What is {i}?"}
                for i, image in enumerate((7, 42, 7))
            ],
        },
    )
    lines = [
        {"question_id": i + 1, "image": f"{i}.jpg", "text": text, "label": label}
        for i, (text, label) in enumerate(POPE)
    ]
    (folder / "pope.json").write_text("\n".join(map(json.dumps, lines)))
    types = {"structural": "query", "semantic": "obj", "detailed": "x"}
    more = {"isBalanced": True, "types": types, "groups": {"global": "thing"}, "semantic": []}
    write(
        folder / "gqa.json",
        {
            f"0{i}": {"question": "Who?", "imageId": f"n{n}", "answer": "a", "entailed": [], **more}
            for i, n in enumerate((7, 42))
        },
    )
    (folder / "mme").mkdir()
    for subtask in ("existence", "color"):
        lines = [f"1.jpg\tIs it {w}? Please answer yes or no.\t{t}" for w, t in PAIR]
        (folder / "mme" / f"{subtask}.txt").write_text("\n".join(lines) + "\n")


PAIR = (("there", "Yes"), ("away", "No"))


def write(path: Path, document: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(document))
    return path
