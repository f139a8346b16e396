"""The evaluation that a pack is made ready for answers as the plain one does, on the packs of the benchmark."""

import random

from decision_fabric.rules import Guardrails
from testkit.bench import rules
from testkit.bench.rules import plain


def test_both_evaluations_answer_alike() -> None:
    for size in (1, 16, 100, 130):
        pack = rules._pack(size, random.Random(size))
        guardrails = Guardrails(pack)
        for scale in (30, 300, 6000):
            for facts in rules._facts(scale, random.Random(scale))[:200]:
                assert guardrails.hits(facts) == plain(pack, facts)
