"""Counting the operations that make the host wait for the device."""

from __future__ import annotations

from benchmarks.counters import OperationCounter


class HostSyncs(OperationCounter):
    """Context in which the names of such operations are collected in `names`."""

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return self.host_syncs
