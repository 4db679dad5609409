"""ImageNet captions, LLaVA's instructions, GeoQA and CLEVR."""

import re

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.json_rows import open_json
from jaxreason.data.language.known.imagenet import caption, imagenet_rows
from jaxreason.data.language.known.known_set import KnownSet, Row, need, others
from jaxreason.data.language.messages import column_names
from jaxreason.data.language.rows import Rows
from jaxreason.errors import InputError
from jaxreason.paths import as_path

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def llava(row: Row, kind: str, where: str) -> Row:
    """Liu et al. 2023 (arXiv:2304.08485): conversations of human and gpt about a picture."""
    if not isinstance(row.get("conversations"), list):
        columns = column_names(row)
        raise InputError(f"{where}: no list of conversations, as LLaVA has (columns: {columns})")
    return row


def geoqa(row: Row, kind: str, where: str) -> Row:
    """GeoQA as R1-V trains on it: `image`, `problem` and `<answer> ... </answer>` as solution."""
    problem, solution = (need(row, name, where, "R1-V's GeoQA") for name in ("problem", "solution"))
    found = _ANSWER.search(solution)
    if found is None:
        raise InputError(f"{where}: solution has no <answer>...</answer>, as R1-V's GeoQA has")
    if "image" not in row:
        raise InputError(f"{where}: no image, as R1-V's GeoQA has")
    return _asked(row, kind, problem, found[1].strip(), "problem", "solution")


def clevr(row: Row, kind: str, where: str) -> Row:
    """Johnson et al. 2017 (arXiv:1612.06890): questions of CLEVR_v1.0 with their pictures."""
    names = ("question", "image_filename")
    question, file = (need(row, name, where, "CLEVR") for name in names)
    if row.get("answer") is None:
        raise InputError(f"{where}: no answer; CLEVR's test split has none")
    answer = need(row, "answer", where, "CLEVR")
    split = need(row, "split", where, "CLEVR")
    row = {**row, "image": f"images/{split}/{file}"}
    return _asked(row, kind, question, answer, "question", "answer", "program")


def _asked(row: Row, kind: str, question: str, answer: str, *taken: str) -> Row:
    rest = others(row, *taken, "answer")
    if kind == "prompts":
        return {**rest, "question": f"<image>\n{question}", "answer": answer}
    return {**rest, "question": question, "answer": answer}


def clevr_rows(config: DataConfig) -> Rows:
    """Of the folder CLEVR_v1.0 and a split of it."""
    if config.tfds:
        raise InputError("data.tfds is given; clevr is read from the folder CLEVR_v1.0")
    if not config.split:
        raise InputError("data.split is ''; clevr has train and val (and test, without answers)")
    folder = as_path(config.path) / "questions"
    return open_json(folder / f"CLEVR_{config.split}_questions.json", "questions")


LLAVA = KnownSet(
    name="llava",
    title="instructions about pictures of COCO, written by GPT-4 (arXiv:2304.08485)",
    kinds=("image_text",),
    size="158k train",
    source="on the hub liuhaotian/LLaVA-Instruct-150K; pictures: COCO train2017",
    licence="CC BY 4.0 (the text); pictures as COCO says",
    disk="229 MB, and about 19 GB of pictures",
    layout="llava_instruct_150k.json, and in data.images the folder its image names start in",
    adapt=llava,
)

GEOQA = KnownSet(
    name="geoqa",
    title="geometry with a diagram (arXiv:2105.14517), in R1-V's form",
    kinds=("image_text", "prompts"),
    size="about 8,000 train",
    source="on the hub leonardPKU/GEOQA_R1V_Train_8K; from github chen-judge/GeoQA",
    licence="as the publishers say; not verified",
    disk="about 100 MB",
    layout="the folder of data/*.parquet, or jsonl with image, problem, solution",
    adapt=geoqa,
)

CLEVR = KnownSet(
    name="clevr",
    title="compositional questions about rendered scenes (arXiv:1612.06890)",
    kinds=("image_text", "prompts"),
    size="699,989 train, 149,991 val",
    source="the project page of CLEVR (cs.stanford.edu/people/jcjohns/clevr), CLEVR_v1.0.zip",
    licence="CC BY 4.0",
    disk="about 18 GB zipped, the same again unpacked",
    layout="the folder CLEVR_v1.0 with split train or val",
    adapt=clevr,
    rows=clevr_rows,
)

IMAGENET = KnownSet(
    name="imagenet_captions",
    title="ImageNet-1k with its classes' names as captions (arXiv:1409.0575)",
    kinds=("image_text",),
    size="1,281,167 train, 50,000 validation",
    source="the project page of ImageNet (image-net.org), after registration",
    licence="ImageNet's terms of access: research, not commercial",
    disk="about 145 GB train, 6 GB validation",
    layout="a folder of folders n01440764/*.JPEG, and synset_words.txt or LOC_synset_mapping.txt "
    "in it or above it",
    adapt=caption,
    rows=imagenet_rows,
)
