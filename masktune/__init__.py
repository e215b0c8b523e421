"""Find the shortcuts an image classifier takes, mask them, and finetune it to explore the rest.

The names below are loaded when they are first used, so that `import masktune` costs next to nothing. Everything else
lies in the modules, floor by floor (each imports from those before it alone):

- images and models: `errors`, `images`, `data`, `checks`, `tables`, `folders`, `unwrapping`, `models`, `tracing`,
  `layers`, `devices`, `pixels`, `pairs`, `adapters`, `files`, `weights`
- measure and train: `evaluation`, `optimizers`, `losses`, `loading`, `batchnorm`, `divergence`, `training_state`,
  `selection`, `training_checks`, `erm`, `cache`
- see and hide: `xgradcam`, `sources`, `mask_files`, `label_maps`, `given_masks`, `saliency`, `masking`, `figures`,
  `counterfactuals`, `faithfulness`, `similarity`, `instrument`
- find and mend: `settings`, `rounds`, `refit`, `finetune`, `features`, `loops`, `selective`, `abstaining`, `findings`,
  `diagnosis`, `kinds`, `comparing`, `choice`, `repair`
- experiments: `experiments.published_datasets`, `experiments.small_images`, `experiments.marks`, `experiments.cutouts`,
  `experiments.scenes`, `experiments.waterbirds`, `experiments.digits`, `experiments.datasets`,
  `experiments.published`, `experiments.recipes`, `experiments.ablations`, `experiments.reweighting`,
  `experiments.last_layers`, `experiments.abstention_losses`, `experiments.attempts`, `experiments.methods`,
  `experiments.compare_methods`
- keep and tell: `runs`, `resume`, `report`, `selective_report`, `evidence_steps`, `steps`, `repair_steps`,
  `commands`, `cli`
- in the notebook: `lab.scrubber`, `lab.evidence`, `lab.review`, `lab.compare`, `lab.launcher`, `lab.coverage`, made of
  `lab.sketch`, `lab.background`, `lab.panels`, `lab.view`, `lab.gallery`, `lab.looking`, `lab.pages`, `lab.answers`,
  `lab.ordering`, `lab.explained`, `lab.trials` and `lab.jobs`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _aliases

if TYPE_CHECKING:
    from .data import Sample
    from .models import Classifier, as_classifier, build_model
    from .layers import find_target_layer
    from .devices import seed_everything
    from .adapters import as_dataset
    from .weights import load_checkpoint, load_model
    from .evaluation import Evaluation, evaluate
    from .erm import fit
    from .xgradcam import LayerXGradCam
    from .given_masks import read_masks
    from .saliency import SaliencyMaps, compute_saliency
    from .masking import MaskBatch, MaskedDataset, Threshold, fixed, hide, mean_std, otsu, quantile
    from .counterfactuals import RandomMask, SwappedDataset
    from .settings import Settings
    from .finetune import MaskTune
    from .features import explored_features
    from .loops import MaskCallback, MaskHook, MaskTrainerCallback
    from .abstaining import SelectiveClassifier
    from .diagnosis import Diagnosis, diagnose
    from .kinds import find_kinds, judged_maps
    from .comparing import Comparison, compare
    from .experiments.datasets import load_dataset
    from .experiments.recipes import Recipe, get_recipe, recipe_from_yaml
    from .experiments.ablations import run_ablation
    from .runs import load_run, save_run
    from .report import write_report
    from .lab.scrubber import ThresholdScrubber
    from .lab.evidence import ClassEvidence
    from .lab.review import EvidenceReview
    from .lab.compare import CompareExplorer
    from .lab.launcher import Launcher
    from .lab.coverage import CoverageExplorer

_NAMES = {  # module: what of it is offered here
    "data": ("Sample",),
    "models": ("Classifier", "as_classifier", "build_model"),
    "layers": ("find_target_layer",),
    "devices": ("seed_everything",),
    "adapters": ("as_dataset",),
    "weights": ("load_checkpoint", "load_model"),
    "evaluation": ("Evaluation", "evaluate"),
    "erm": ("fit",),
    "xgradcam": ("LayerXGradCam",),
    "given_masks": ("read_masks",),
    "saliency": ("SaliencyMaps", "compute_saliency"),
    "masking": ("MaskBatch", "MaskedDataset", "Threshold", "fixed", "hide", "mean_std", "otsu", "quantile"),
    "counterfactuals": ("RandomMask", "SwappedDataset"),
    "settings": ("Settings",),
    "finetune": ("MaskTune",),
    "features": ("explored_features",),
    "loops": ("MaskCallback", "MaskHook", "MaskTrainerCallback"),
    "abstaining": ("SelectiveClassifier",),
    "diagnosis": ("Diagnosis", "diagnose"),
    "kinds": ("find_kinds", "judged_maps"),
    "comparing": ("Comparison", "compare"),
    "experiments.datasets": ("load_dataset",),
    "experiments.recipes": ("Recipe", "get_recipe", "recipe_from_yaml"),
    "experiments.ablations": ("run_ablation",),
    "runs": ("load_run", "save_run"),
    "report": ("write_report",),
    "lab.scrubber": ("ThresholdScrubber",),
    "lab.evidence": ("ClassEvidence",),
    "lab.review": ("EvidenceReview",),
    "lab.compare": ("CompareExplorer",),
    "lab.launcher": ("Launcher",),
    "lab.coverage": ("CoverageExplorer",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOMES)
_aliases.install()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("masktune")
        except PackageNotFoundError:  # run from a clone, without being installed
            return "0+not.installed"
    if name not in _HOMES:
        raise AttributeError(f"module 'masktune' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
