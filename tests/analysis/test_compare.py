import json

import ml_dtypes
import numpy as np
import pytest

from jaxreason.analysis.comparison import CompareSettings, compare
from jaxreason.analysis.documents import document
from jaxreason.analysis.names import Place
from jaxreason.analysis.pairing import align
from jaxreason.analysis.tensors import Checkpoint, StoredTensor
from jaxreason.errors import InputError

BF16 = ml_dtypes.bfloat16


def checkpoint(tensors, path="memory"):
    stored = {
        name: StoredTensor(name, array.shape, array.dtype, lambda array=array: array)
        for name, array in tensors.items()
    }
    return Checkpoint(path, "safetensors", None, stored)


def model(layers=2):
    random = np.random.default_rng(0)
    shapes = {"query": (6, 2, 3), "down": (8, 6), "attention_norm": (6,), "query_bias": (2, 3)}
    found = {"embedding": random.normal(size=(10, 6)), "final_norm": np.ones(6)}
    for name, shape in shapes.items():
        found[f"layers/{name}"] = random.normal(0, 0.02, size=(layers, *shape))
    return {name: array.astype(np.float32) for name, array in found.items()}


def moved(tensors):
    random = np.random.default_rng(1)
    return {
        name: (
            array.astype(np.float64)
            + 1e-4 * random.normal(size=array.shape) * (random.random(array.shape) < 0.6)
        ).astype(array.dtype)
        for name, array in sorted(tensors.items())
    }


def test_stacked_layers_compare_as_unstacked_ones_do():
    before, after = model(), moved(model())

    def split(tensors):
        found = {}
        for name, array in tensors.items():
            if name.startswith("layers/"):
                for layer, part in enumerate(array):
                    found[name.replace("layers/", f"layers/{layer}/")] = part
            else:
                found[name] = array
        return found

    stacked = document(compare(checkpoint(before), checkpoint(after)))
    flat = document(compare(checkpoint(split(before)), checkpoint(split(after))))
    mixed = document(compare(checkpoint(before), checkpoint(split(after))))
    assert stacked == flat == mixed


def test_tables_add_up():
    found = document(compare(checkpoint(model()), checkpoint(moved(model()))))
    total = sum(array.size for array in model().values())
    assert found["total"]["size"] == total
    for table in ("tensors", "matrices", "places"):
        assert sum(row["size"] for row in found[table]) == total
        for reading, count in found["total"]["unchanged"].items():
            assert sum(row["unchanged"][reading] for row in found[table]) == count
    assert [row["layer"] for row in found["layers"]] == [0, 1]
    outside = total - 10 * 6 - 6
    assert sum(row["size"] for row in found["layers"]) == outside
    norms = [row["norms"]["delta"] ** 2 for row in found["tensors"]]
    assert found["total"]["norms"]["delta"] == pytest.approx(sum(norms) ** 0.5)


def test_tensors_come_in_the_order_of_the_model():
    reports = compare(checkpoint(model()), checkpoint(moved(model()))).tensors
    names = ("query", "down", "attention_norm", "query_bias")
    inside = [f"layers/{layer}/{name}" for layer in (0, 1) for name in names]
    assert [report.name for report in reports] == ["embedding", *inside, "final_norm"]
    assert reports[-1].place == Place(None, "norm")


def test_what_is_not_in_common_is_in_the_document():
    before, after = model(), moved(model())
    del after["final_norm"]
    after["head"] = np.zeros((6, 10), np.float32)
    after["embedding"] = np.zeros((12, 6), np.float32)
    found = document(compare(checkpoint(before), checkpoint(after)))
    assert found["missing"] == [{"name": "final_norm", "shape": [6]}]
    assert found["extra"] == [{"name": "head", "shape": [6, 10]}]
    assert found["reshaped"] == [{"name": "embedding", "before": [10, 6], "after": [12, 6]}]
    names = {row["name"] for row in found["tensors"]}
    assert not names & {"final_norm", "head", "embedding"}


def test_the_checkpoint_of_another_model_is_named():
    own, other = checkpoint({"w": np.ones((2, 2))}), checkpoint({"v": np.ones(3)})
    with pytest.raises(InputError, match=r"the first has w \[2, 2\], another v \[3\]"):
        align(own, own, other)


def test_the_same_checkpoint_is_unchanged_in_every_way():
    found = document(compare(checkpoint(model()), checkpoint(model())))
    assert set(found["total"]["sparsity"].values()) == {1.0}
    assert found["paper"]["rank"] == 0
    assert found["total"]["norms"]["delta"] == 0


def test_the_document_is_json_whatever_the_weights_are():
    before, after = model(), moved(model())
    after["layers/down"][0, 0, 0] = np.nan
    before["embedding"][0, 0] = np.inf
    before["final_norm"] = np.full(6, 1e308)
    after["final_norm"] = np.full(6, -1e308)
    found = document(compare(checkpoint(before), checkpoint(after)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["total"]["non_finite"] == 2
    ranks = {row["name"]: row["rank"] for row in found["tensors"]}
    assert ranks["layers/0/down"] is None
    assert ranks["layers/1/down"] is not None


def test_progress_counts_every_weight():
    told = []
    compare(
        checkpoint(model()),
        checkpoint(model()),
        CompareSettings(rank=False),
        lambda name, size: told.append((name, size)),
    )
    assert sum(size for _, size in told) == sum(array.size for array in model().values())


@pytest.mark.parametrize("options", [{"mode": "close"}, {"tolerance": -1.0}])
def test_bad_settings_are_refused(options):
    with pytest.raises(InputError):
        CompareSettings(**options)


class TestPaper:
    """The numbers of the authors' script, computed here step by step as it does."""

    NAMES = (
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.norm.weight",
    )
    SHAPES = ((20, 8), (8, 8), (8,), (3, 2), (8, 8), (12, 8), (8,))

    def sides(self):
        random = np.random.default_rng(7)
        before, after = {}, {}
        for name, shape in zip(self.NAMES, self.SHAPES, strict=True):
            weights = random.normal(0, 0.003, shape).astype(np.float32)
            update = random.normal(0, 1e-5, shape) * (random.random(shape) < 0.5)
            before[name] = weights
            after[name] = (weights + update).astype(np.float32)
        # Low rank in one matrix: two rows moved visibly, the rest not at all.
        name = "model.layers.1.mlp.up_proj.weight"
        after[name] = before[name].copy()
        after[name][:2] += 0.01
        before["model.resized.weight"] = np.zeros((3, 4), np.float32)
        after["model.resized.weight"] = np.zeros((5, 4), np.float32)
        return before, after

    def expected(self, tolerance):
        before, after = self.sides()
        close = zeros = count = 0
        layers, ranks = {}, []
        for name in self.NAMES:
            delta = after[name].astype(BF16) - before[name].astype(BF16)
            assert delta.dtype == BF16
            zero = delta == BF16(0)
            close += int(np.sum(np.abs(delta) <= BF16(tolerance)))
            zeros += int(zero.sum())
            count += delta.size
            if name.startswith("model.layers"):
                layers.setdefault(name.split(".")[2], []).append(1 - zero.sum() / delta.size)
            if "layernorm" not in name and delta.ndim > 1:
                rank = np.linalg.matrix_rank(delta.astype(np.float32))
                ranks.append(rank / min(delta.shape))
        return {
            "zero": zeros / count,
            "within_tolerance": close / count,
            "layers": {layer: sum(shares) / len(shares) for layer, shares in layers.items()},
            "rank": sum(ranks) / len(ranks),
        }

    @pytest.mark.parametrize("tolerance", [1e-5, 1e-6, 3e-5])
    def test_paper_numbers(self, tolerance):
        before, after = self.sides()
        settings = CompareSettings(mode="paper", tolerance=tolerance)
        found = document(compare(checkpoint(before), checkpoint(after), settings))["paper"]
        expected = self.expected(tolerance)
        assert 0 < expected["zero"] < expected["within_tolerance"] < 1
        assert found["layers"] == pytest.approx(expected["layers"], abs=1e-12)
        for name in ("zero", "within_tolerance", "rank"):
            assert found[name] == pytest.approx(expected[name], abs=1e-12), name

    @pytest.mark.oracle
    @pytest.mark.parametrize("tolerance", [1e-8, 1e-6, 1e-5, 3e-5])
    def test_torch_counts_the_same(self, tolerance):
        torch = pytest.importorskip("torch")
        before, after = self.sides()
        # Differences of a few units around the tolerance, where its own rounding decides.
        edge = np.float32(BF16(tolerance)) * np.array([0.5, 0.99, 1, 1.01, 2, -1], np.float32)
        before["model.edge.weight"], after["model.edge.weight"] = np.zeros_like(edge), edge
        names = [*self.NAMES, "model.edge.weight"]
        deltas = {
            name: torch.from_numpy(after[name]).bfloat16()
            - torch.from_numpy(before[name]).bfloat16()
            for name in names
        }
        flat = torch.cat([delta.reshape(-1) for delta in deltas.values()])
        close = torch.isclose(flat, torch.zeros_like(flat), atol=tolerance).sum().item()
        ranks = [
            torch.linalg.matrix_rank(delta.float()).item() / min(delta.shape)
            for name, delta in deltas.items()
            if delta.ndim > 1 and "layernorm" not in name
        ]
        settings = CompareSettings("paper", tolerance)
        comparison = compare(checkpoint(before), checkpoint(after), settings)
        assert comparison.total().unchanged["paper"] == close
        assert comparison.total().paper_zero == (flat == 0).sum().item()
        assert comparison.paper_rank() == pytest.approx(sum(ranks) / len(ranks))

    def test_layers_weigh_tensors_alike_and_count_norms(self):
        before, after = self.sides()
        comparison = compare(checkpoint(before), checkpoint(after))
        weighted = comparison.by_layer()[0]
        share = 1 - weighted.paper_zero / weighted.size
        assert comparison.paper_layers()[0] != pytest.approx(share, abs=1e-3)

    def test_norm_weights_near_one_do_not_move_in_bfloat16(self):
        ones = {"model.norm.weight": np.ones(1000, np.float32)}
        random = np.random.default_rng(0)
        after = {"model.norm.weight": (1 + 1e-4 * random.normal(size=1000)).astype(np.float32)}
        total = compare(checkpoint(ones), checkpoint(after)).total()
        assert total.sparsity("bf16_exact") == 1.0
        assert total.sparsity("exact") < 0.01
