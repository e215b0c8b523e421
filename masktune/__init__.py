"""Find the shortcuts an image classifier takes, mask them, and finetune it to explore the rest.

The names below are loaded when they are first used, so that `import masktune` costs next to nothing. Everything else lies in the
modules: `masktune.data`, `published`, `datasets`, `models`, `files`, `erm`, `sources`, `xgradcam`, `masking`, `finetune`, `processes`, `features`, `selective`, `report`,
`resume`, `recipes`, `runs`, `ablations`, `panels`, `widgets`, `launcher`, `coverage`, `cli`.
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ablations import run_ablation
    from .coverage import CoverageExplorer
    from .data import Sample
    from .datasets import load_dataset
    from .erm import Evaluation, evaluate, fit
    from .features import explored_features
    from .finetune import MaskTune, Settings
    from .launcher import Launcher
    from .masking import MaskBatch, MaskedDataset, RandomMask, SwappedDataset, Threshold, fixed, hide, mean_std, otsu, quantile
    from .models import Classifier, build_model, find_target_layer, seed_everything
    from .recipes import Recipe, get_recipe, recipe_from_yaml
    from .report import write_report
    from .selective import SelectiveClassifier
    from .widgets import ClassEvidence, CompareExplorer, ThresholdScrubber
    from .xgradcam import LayerXGradCam, SaliencyMaps, compute_saliency

_HOMES = {
    "Sample": "data",
    "load_dataset": "datasets",
    "Classifier": "models", "build_model": "models", "find_target_layer": "models", "seed_everything": "models",
    "Evaluation": "erm", "evaluate": "erm", "fit": "erm",
    "LayerXGradCam": "xgradcam", "SaliencyMaps": "xgradcam", "compute_saliency": "xgradcam",
    "MaskBatch": "masking", "MaskedDataset": "masking", "RandomMask": "masking", "SwappedDataset": "masking", "Threshold": "masking",
    "fixed": "masking", "hide": "masking", "mean_std": "masking", "otsu": "masking", "quantile": "masking",
    "MaskTune": "finetune", "Settings": "finetune",
    "explored_features": "features",
    "Recipe": "recipes", "get_recipe": "recipes", "recipe_from_yaml": "recipes",
    "run_ablation": "ablations",
    "SelectiveClassifier": "selective",
    "ClassEvidence": "widgets", "CompareExplorer": "widgets", "ThresholdScrubber": "widgets", "Launcher": "launcher", "CoverageExplorer": "coverage",
    "write_report": "report",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version
        return version("masktune")
    if name not in _HOMES:
        raise AttributeError(f"module 'masktune' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
