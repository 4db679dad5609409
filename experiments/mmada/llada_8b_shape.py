"""LLaDA-8B as a base that is not here: `jaxreason preflight FILE --base` this file compiles for it.

Shape and ids are those of GSAI-ML/LLaDA-8B-Instruct as far as public code tells them; for training,
`--base` is the folder with the weights instead.
"""

from jaxreason.models.presets import preset
from jaxreason.training.diffusion.imported import (
    LLADA_EOS,
    LLADA_EOT,
    LLADA_MASK,
    ImportedModel,
)

experiment = ImportedModel(
    preset("llada_8b", dtype="bfloat16"), mask=LLADA_MASK, eos=LLADA_EOS, eot=LLADA_EOT
)
