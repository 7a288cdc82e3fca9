"""What lies in `device/` runs in processes that have the device: `test_accelerator.py` starts them."""

from __future__ import annotations

import os

DEVICE = os.environ.get("KAIROS_TEST_DEVICE", "cpu")
ONLY_PHANTOM = ["test_phantom_device.py", "test_step_traffic.py", "test_recipes_on_device.py"]

collect_ignore = ["device"] if DEVICE == "cpu" else []
if DEVICE != "phantom":
    collect_ignore += [f"device/{file}" for file in ONLY_PHANTOM]
