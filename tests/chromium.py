"What tests in a browser need. Without it they are skipped, and where CI runs that is a failure."

import os

import pytest
from screenshots import CHROMIUM

if CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("Chromium is missing: .ci/run is to install it", pytrace=False)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium")
