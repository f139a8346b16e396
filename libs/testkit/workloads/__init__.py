"""The workloads of every service, of the spine's own test service and of the documentation's example, by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from testkit.workloads.facts import Ask, Fact, Record, key_of, record_of
from testkit.workloads.workload import Workload

__all__ = ["NAMES", "Ask", "Fact", "Record", "Workload", "key_of", "named", "record_of"]

_ROOT = Path(__file__).resolve().parents[3]
# Where the two services live that are no members of the workspace.
_PATHS = {"ledger": _ROOT / "tests" / "spine", "refund_watch": _ROOT / "docs" / "examples"}

_CLASSES = {
    "ledger": "LedgerWorkload",
    "decision_fabric": "DecisionFabricWorkload",
    "action_layer": "ActionLayerWorkload",
    "decision_log_audit": "DecisionLogAuditWorkload",
    "case_trigger": "CaseTriggerWorkload",
    "case_management": "CaseManagementWorkload",
    "label_store": "LabelStoreWorkload",
    "refund_watch": "RefundWatchWorkload",
}
NAMES = tuple(_CLASSES)


def named(service: str) -> Workload:
    """The workload of a service. Raises KeyError for a name that is not in NAMES."""
    name = _CLASSES[service]
    if service in _PATHS and str(_PATHS[service]) not in sys.path:
        sys.path.insert(0, str(_PATHS[service]))
    module = importlib.import_module(f"testkit.workloads.{service}")
    found: type[Workload] = getattr(module, name)
    return found()
