"""Packages that only a part needs: imported where they are used; where one is missing the error names its extra.

    with needs("report"):
        from matplotlib.figure import Figure

`EXTRAS` is what settings.ini offers for each word (tests/test_package.py holds the two together).
"""

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS: dict[str, tuple[str, ...]] = {  # the extra: what is imported by it
    "report": ("matplotlib", "jinja2"),
    "experiments": ("sklearn", "scipy", "yaml"),
    "command": ("fastcore", "yaml", "shtab"),
    "loops": ("lightning", "transformers"),
    "lab": ("jupyterlab", "ipywidgets", "anywidget", "IPython"),
}


class MissingExtra(ImportError):
    "A package that is not installed here; the message says in one line which extra brings it"


@contextmanager
def needs(extra: str) -> Iterator[None]:  # extra: one of `EXTRAS`
    "Import what an extra brings; raises `MissingExtra` where it is not installed"
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in EXTRAS[extra]:
            raise
        raise MissingExtra(
            f"this needs {name}, which is not installed: pip install 'masktune[{extra}]'", name=name
        ) from None
