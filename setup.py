"Package metadata, all of it read from settings.ini."

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]


def lines(key):
    return [line.strip() for line in settings[key].splitlines() if line.strip()]


PARTS = ("report", "experiments", "command", "lab")
extras = {name: lines(f"{name}_requirements") for name in (*PARTS, "loops", "docs")}
extras["all"] = sorted({line for name in PARTS for line in extras[name]})
extras["dev"] = [*extras["all"], *extras["loops"], *extras["docs"], *lines("dev_requirements")]
setup(
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license=settings["license"],
    keywords=[word.strip() for word in settings["keywords"].split(",")],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=["masktune", "masktune.experiments", "masktune.lab", "masktune.tutorials"],
    package_dir={
        "masktune.tutorials": "nbs/tutorials"
    },  # `masktune lab` gives an installed package's reader copies of them
    package_data={"masktune": ["py.typed", "templates/*.html", "lab/static/*"], "masktune.tutorials": ["*.ipynb"]},
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["masktune=masktune._modidx:d"]},
)
