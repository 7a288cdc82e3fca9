"""What lies in `device/` runs in processes that have the device: `test_accelerator.py` starts them."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("KAIROS_TEST_DEVICE", "cpu") != "cpu" else ["device"]
