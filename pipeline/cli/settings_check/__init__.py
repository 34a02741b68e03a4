"""What `pipeline check` finds out without the network, beyond the validation of the settings.

`doctor` reports the same.

Each module yields remarks on one subject. Loading the settings does not perform these checks, because they read files, execute
users' code, or concern settings that are valid but useless.
"""

from pipeline.cli.settings_check.check import CheckedSettings, check_settings, remarks_on
from pipeline.cli.settings_check.remark import Remark

__all__ = ["CheckedSettings", "Remark", "check_settings", "remarks_on"]
