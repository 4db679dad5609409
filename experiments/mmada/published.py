"""What MMaDA's authors published of its training: settings and results, as data.

Sources: the configs of the repository Gen-Verse/MMaDA
(`configs/mmada_pretraining_stage*_llada_instruct*.yaml`) and the paper (Yang et al. 2025,
arXiv:2505.15809, sections 2 and 4, tables 5 and 6). The two do not agree on the number of steps;
both are kept. Nothing in this file was measured by this project.

    python experiments/mmada/published.py        # prints the stages
"""

from dataclasses import dataclass

from jaxreason.models import TransformerConfig
from jaxreason.models.presets import preset
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.tokens.layouts import LayoutConfig
from jaxreason.tokens.multimodal_vocabulary import mmada_ids
from jaxreason.training.optimizer import OptimizerConfig

VOCABULARY = 134_656
"""Rows of the embedding: 126,464 of LLaDA and 8,192 image codes; the last ones are not used."""


@dataclass(frozen=True)
class ReleasedStage:
    """One config of the repository.

    Attributes:
        name: of the config.
        script: the training script it goes with.
        learning_rate: the peak.
        steps: optimizer steps.
        final_fraction: last learning rate over the peak (0 where the config names none).
        resolution: side of a picture in pixels.
        image_tokens: N as the model sees it, (resolution / 16) squared.
        stated_image_tokens: N as the config says; stale in stage 3.
        text_length: S, tokens of text in a row.
        chat_text_length: tokens of a row of text alone, where it has a length of its own.
        rows: rows of (t2i, lm, mmu) in a device's micro-batch.
        accumulation: micro-batches in a step.
        coefficients: weight of the losses of (t2i, lm, mmu).
        guidance: classifier-free guidance of the pictures made while training.
        sampling_steps: their denoising steps.
        data: what it was trained on.
        warmup_steps: of the learning rate.
    """

    name: str
    script: str
    learning_rate: float
    steps: int
    final_fraction: float
    resolution: int
    image_tokens: int
    stated_image_tokens: int
    text_length: int
    rows: tuple[int, int, int]
    accumulation: int
    coefficients: tuple[float, float, float]
    guidance: float
    sampling_steps: int
    data: str
    chat_text_length: int | None = None
    warmup_steps: int = 5_000

    def optimizer(self) -> OptimizerConfig:
        """AdamW and its schedule as released.

        The release decays every tensor, norms included (its list of exceptions matches no name);
        this project never decays norms.
        """
        return OptimizerConfig(
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            total_steps=self.steps,
            final_fraction=self.final_fraction,
            schedule="cosine",
            b1=0.9,
            b2=0.999,
            eps=1e-8,
            weight_decay=0.01,
            clip_norm=1.0,
        )

    def layout(self) -> LayoutConfig:
        """Length of a row and its special tokens."""
        return LayoutConfig(self.text_length, self.image_tokens, mmada_ids())

    def objective(self) -> MaskedDiffusionConfig:
        """The unified loss with this stage's weights, attending as the release trains."""
        t2i, lm, mmu = self.coefficients
        return MaskedDiffusionConfig(
            coefficients=TaskCoefficients(t2i=t2i, lm=lm, lm_chat=lm, mmu=mmu, r2i=mmu),
            mask_mode="legacy_float",
        )


RELEASED = (
    ReleasedStage(
        "stage1", "train_mmada.py", 1e-4, 500_000, 0.0, 256, 256, 256, 128,
        (7, 2, 6), 2, (1.0, 0.1, 1.0), 1.5, 12,
        "ImageNet-1k; captions of SA-1B, CC12M, LAION-aesthetics-12M; RefinedWeb",
    ),
    ReleasedStage(
        "stage2", "train_mmada_stage2.py", 5e-5, 1_000_000, 0.1, 256, 256, 256, 256,
        (7, 2, 3), 2, (1.0, 0.1, 0.5), 3.0, 12,
        "pictures of SA-1B, CC12M, LAION-aesthetics-12M; their captions; RefinedWeb",
    ),
    ReleasedStage(
        "stage3", "train_mmada_stage3.py", 5e-5, 1_000_000, 0.1, 512, 1_024, 256, 512,
        (4, 1, 1), 4, (1.0, 0.4, 0.5), 3.0, 12,
        "JourneyDB, LAION-aesthetics-12M, text-to-image-2M; instructions",
    ),
    ReleasedStage(
        "stage3_512_cot", "train_mmada_cot_sft.py", 5e-5, 1_000_000, 0.1, 512, 1_024, 1_024, 512,
        (1, 2, 1), 4, (1.0, 0.5, 0.5), 5.0, 20,
        "as stage 3; reasoning on ai2d, clevr, docvqa and geometry",
        chat_text_length=1_536,
    ),
    ReleasedStage(
        "stage4", "train_mmada_stage4.py", 5e-5, 1_000_000, 0.1, 512, 1_024, 1_024, 512,
        (1, 2, 1), 4, (0.05, 0.6, 0.4), 5.0, 20,
        "reasoning 3.5, LLaVA-1.5 665k 5.5, CLEVR 0.5, geo170k 0.5; text 0.02, instructions 0.98",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PaperTraining:
    """What section 4.1 of the paper says.

    Attributes:
        stage1_steps: of its two parts, the first on ImageNet.
        stage2_steps: of mixed chain-of-thought fine-tuning.
        stage3_steps: of UniGRPO.
        batch: rows of a step over all devices.
        learning_rate: of AdamW with a cosine schedule.
        devices: number and kind.
    """

    stage1_steps: tuple[int, int] = (200_000, 400_000)
    stage2_steps: int = 50_000
    stage3_steps: int = 50_000
    batch: int = 1_280
    learning_rate: float = 5e-5
    devices: str = "64 A100 (80 GB)"


PAPER = PaperTraining()

STAGE_COLUMNS = ("GSM8K", "MATH500", "GeoQA", "CLEVR", "CLIP score", "ImageReward")
STAGE_TABLE = {
    "Stage 1": (17.4, 4.2, 8.3, 10.3, 23.1, 0.69),
    "+ mixed long CoT": (65.2, 26.5, 15.9, 27.5, 29.4, 0.84),
    "+ UniGRPO": (73.4, 36.0, 21.0, 34.5, 32.5, 1.15),
}
"""Table 5 of the paper (MMaDA-8B), without errors as published."""


def released(name: str) -> ReleasedStage:
    """The released stage called `name`."""
    return next(stage for stage in RELEASED if stage.name == name)


def model() -> TransformerConfig:
    """The 8 B model: LLaDA-8B with room for the image codes."""
    return preset("mmada_8b", VOCABULARY)


def _main() -> None:
    for stage in RELEASED:
        layout = stage.layout()
        print(
            f"{stage.name:15s} lr {stage.learning_rate:.0e}  steps {stage.steps:>9,}  "
            f"row {layout.length:>5,} tokens  rows t2i/lm/mmu {stage.rows} x "
            f"{stage.accumulation}  weights {stage.coefficients}"
        )


if __name__ == "__main__":
    _main()
