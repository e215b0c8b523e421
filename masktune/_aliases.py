"""Old addresses: what moved in 0.2 is still found where it was, with a warning that names the new place, until 1.0.

`MOVED` says for each module of 0.1 where its names live now. A module that is still there answers for them by a call
of `answer` in its last cell; one that is no more (`FORMER`) is made up when it is asked for. Nothing here is heavy.
"""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, dict[str, tuple[str, ...]]] = {
    "ablations": {
        "experiments.ablations": (
            "AXES",
            "AblationRow",
            "Axis",
            "Variant",
            "ablate_seed",
            "ablation_table",
            "plot_ablation",
            "run_ablation",
        ),
    },
    "coverage": {
        "lab.coverage": (
            "CoverageExplorer",
            "draw_curves",
        ),
    },
    "data": {
        "errors": (
            "DatasetError",
            "DatasetWarning",
            "Finding",
            "look_up",
            "settle",
        ),
        "images": (
            "AUGMENTATIONS",
            "DECODING",
            "cache_folder",
            "check_background",
            "check_window",
            "file_digests",
            "format_range",
            "image_suffixes",
            "make_augmentation",
            "read_image",
            "to_rgb",
        ),
        "checks": (
            "check_images",
            "class_order",
            "copies_between",
            "show_tree",
            "split_named",
        ),
        "pairs": ("PairsDataset",),
        "folders": (
            "open_csv",
            "open_folder",
            "own_test_splits",
        ),
    },
    "datasets": {
        "experiments.datasets": (
            "DATASETS",
            "DatasetInfo",
            "dataset_facts",
            "dataset_options",
            "dataset_splits",
            "load_dataset",
        ),
        "experiments.digits": (
            "BIASED_SPLITS",
            "SHORTCUTS",
            "assign_shortcut",
            "biased_digits",
            "biased_mnist",
            "digit_scene_parts",
            "digit_scenes",
            "plant_shortcut",
        ),
    },
    "erm": {
        "batchnorm": (
            "recalibrate_batchnorm",
            "still_modules",
        ),
        "divergence": ("TrainingDiverged",),
        "optimizers": (
            "check_number",
            "make_optimizer",
            "make_schedule",
        ),
        "devices": (
            "OneProcess",
            "batches",
            "borrowed",
            "find_device",
            "find_process",
            "is_launched",
            "parse_device",
            "progress_bar",
        ),
        "evaluation": (
            "Evaluation",
            "Share",
            "evaluate",
            "predict",
            "score_predictions",
            "wilson_interval",
        ),
    },
    "files": {
        "devices": ("is_main_process",),
    },
    "finetune": {
        "rounds": (
            "Round",
            "RoundChoice",
            "choose_by_outcomes",
        ),
        "runs": ("versions",),
        "settings": (
            "ERM_SETTINGS",
            "MAP_SETTINGS",
            "NotStored",
            "SHARED_SETTINGS",
            "Settings",
        ),
    },
    "launcher": {
        "lab.jobs": ("available_devices",),
        "lab.launcher": ("Launcher",),
    },
    "masking": {
        "counterfactuals": (
            "MovedMasks",
            "RandomMask",
            "SwappedDataset",
            "random_square_mask",
        ),
    },
    "models": {
        "devices": (
            "default_device",
            "seed_everything",
        ),
        "layers": (
            "TargetLayer",
            "find_target_layer",
            "grid_layers",
            "layer_gradients",
            "named_layer",
        ),
        "tracing": (
            "CutGraph",
            "TokensToGrid",
            "graph_from",
            "only_tensor",
            "with_tensor",
        ),
    },
    "panels": {
        "lab.panels": (
            "Panel",
            "W",
            "check_classifier",
            "check_images",
            "check_whole",
            "decimals_of",
            "place_of",
            "step_through",
            "still_html",
        ),
        "lab.sketch": (
            "encode",
            "encode_small",
        ),
    },
    "processes": {
        "resume": ("finetune_round_in_processes",),
    },
    "published": {
        "experiments.published_datasets": (
            "BACKGROUND_VARIANTS",
            "TREES",
            "background_variants",
            "open_background_challenge",
            "open_celeba",
            "open_waterbirds",
        ),
        "experiments.small_images": (
            "cats_vs_dogs",
            "cifar10",
            "svhn",
        ),
    },
    "recipes": {
        "experiments.recipes": (
            "Choice",
            "RECIPES",
            "Recipe",
            "get_recipe",
            "override",
            "recipe_from_yaml",
            "recipe_to_yaml",
            "recipes_table",
        ),
    },
    "report": {
        "evaluation": ("align_columns",),
        "figures": (
            "CONTROL_COLOR",
            "CURVE_COLORS",
            "ERM_COLOR",
            "MAP_COLORS",
            "MASKTUNE_COLOR",
            "MASK_COLOR",
            "ReportFigure",
            "figure_style",
            "mean_maps",
            "measured_models",
            "overlay",
            "pick_examples",
            "plot_examples",
            "plot_groups",
            "plot_maps",
            "plot_mean_maps",
            "plot_training",
        ),
    },
    "resume": {
        "runs": (
            "PARTS",
            "clear_run",
        ),
    },
    "selective": {
        "abstaining": (
            "Decision",
            "SelectiveClassifier",
        ),
    },
    "widgets": {
        "lab.compare": ("CompareExplorer",),
        "lab.evidence": (
            "ClassEvidence",
            "evidence_patches",
        ),
        "lab.panels": (
            "check_maps",
            "check_run",
        ),
        "lab.scrubber": ("ThresholdScrubber",),
    },
    "xgradcam": {
        "saliency": (
            "SaliencyMaps",
            "compute_saliency",
        ),
    },
}
FORMER = frozenset(
    {"ablations", "coverage", "datasets", "launcher", "panels", "processes", "published", "recipes", "widgets"}
)
RENAMED = {"versions": "package_versions"}  # what also has another name in its new place
# Methods of `MaskTune` in 0.1, and the functions that do their work now.
FORMER_METHODS = {
    "load": ("runs", "load_run"),
    "report": ("report", "write_report"),
    "save": ("runs", "save_run"),
    "save_config": ("runs", "save_config"),
    "save_erm": ("runs", "save_erm"),
    "save_metrics": ("runs", "save_metrics"),
    "save_round": ("runs", "save_round"),
}
_HOMES = {(old, name): room for old, homes in MOVED.items() for room, names in homes.items() for name in names}


class _Answering(ModuleType):
    "A module that still gives what has moved from it, also where it imports that itself"

    def __getattribute__(self, name: str) -> Any:
        old = super().__getattribute__("__name__")
        room = _HOMES.get((old.removeprefix("masktune."), name))
        if room is None:
            return super().__getattribute__(name)
        now = RENAMED.get(name, name)
        what = "it" if now == name else f"{now}, its new name,"
        words = f"{old}.{name} has moved: import {what} from masktune.{room}; the old place goes with 1.0"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return getattr(import_module(f"masktune.{room}"), now)


def answer(module: str) -> None:
    "Let a module answer for what has moved from it"
    sys.modules[module].__class__ = _Answering


def _former_method(owner: str, name: str, room: str, function: str) -> Any:
    "A method that warns, and calls the function that does its work now"

    def method(*args: Any, **options: Any) -> Any:  # what the function gives that does the work now
        words = f"{owner}.{name} goes with 1.0: call masktune.{room}.{function}"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return getattr(import_module(f"masktune.{room}"), function)(*args, **options)

    method.__name__, method.__qualname__ = name, f"{owner}.{name}"
    method.__doc__ = f"Call `masktune.{room}.{function}` instead: this goes with 1.0"
    return method


def lend_former_methods(owner: type) -> None:
    "Give `MaskTune` the methods that it had, of functions in rooms above it"
    for name, (room, function) in FORMER_METHODS.items():
        method = _former_method(owner.__name__, name, room, function)
        setattr(owner, name, staticmethod(method) if name == "load" else method)


class _Former(MetaPathFinder, Loader):
    "Makes up the modules that are no more; asked first, so that no file of an old installation is taken for one"

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "masktune" and name in FORMER else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Answering(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        homes = MOVED[module.__name__.removeprefix("masktune.")]
        module.__doc__ = f"What was here is in {', '.join(f'masktune.{room}' for room in homes)}"
        module.__dict__["__all__"] = sorted(name for names in homes.values() for name in names)


def install() -> None:
    "Let Python find the former modules; once"
    if not any(isinstance(finder, _Former) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Former())
