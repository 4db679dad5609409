"""Packages whose names load on first use."""

import importlib

import pytest

PACKAGES = [
    *("jaxreason.analysis", "jaxreason.data", "jaxreason.evaluation"),
    *("jaxreason.masks", "jaxreason.mazes"),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads_and_no_other(package):
    module = importlib.import_module(package)
    assert module.__all__ == dir(module)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = module.absent
