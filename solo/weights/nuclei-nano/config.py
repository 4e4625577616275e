# The model is that of the config it was trained with; snapshots of the configs hold it.
_base_ = "solov2-nano_crops_nuclei"
