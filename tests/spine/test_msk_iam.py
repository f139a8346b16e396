"""MSK IAM tokens with a signer and a clock of the test's own."""

import asyncio
import threading

import pytest

from spine.msk_iam import MskIamTokens, TokenSignError

LIFE = 900.0


class Bench:
    """A signer that numbers its tokens, and the clock that it and the provider read."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.regions: list[str] = []
        self.threads: list[int] = []
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()
        self.provider = MskIamTokens("eu-west-2", self.sign, lambda: self.now)

    def sign(self, region: str) -> tuple[str, float]:
        self.regions.append(region)
        self.threads.append(threading.get_ident())
        assert self.gate.wait(1)
        if self.broken:
            raise OSError("no credentials")
        return f"t{len(self.regions)}", (self.now + LIFE) * 1000


@pytest.fixture
def bench() -> Bench:
    """A bench whose signer works."""
    return Bench()


async def test_a_token_is_reused_and_renewed_before_its_end(bench: Bench) -> None:
    assert await bench.provider.token() == "t1"
    bench.now += 700
    assert await bench.provider.token() == "t1"
    bench.now += 30
    assert await bench.provider.token() == "t2"
    assert bench.regions == ["eu-west-2", "eu-west-2"]


async def test_all_who_wait_share_one_signing(bench: Bench) -> None:
    bench.gate.clear()
    waiters = [asyncio.create_task(bench.provider.token()) for _ in range(20)]
    await asyncio.sleep(0.05)
    bench.gate.set()
    assert await asyncio.gather(*waiters) == ["t1"] * 20
    assert len(bench.regions) == 1


async def test_signing_does_not_hold_up_the_event_loop(bench: Bench) -> None:
    await bench.provider.token()
    assert bench.threads != [threading.get_ident()]


async def test_a_good_token_outlives_a_failing_signer(bench: Bench) -> None:
    await bench.provider.token()
    bench.broken = True
    bench.now += LIFE - 1
    assert await bench.provider.token() == "t1"
    assert len(bench.regions) == 2
    bench.broken = False
    assert await bench.provider.token() == "t3"


async def test_a_token_that_is_over_is_never_handed_out(bench: Bench) -> None:
    await bench.provider.token()
    bench.broken = True
    bench.now += LIFE
    with pytest.raises(TokenSignError, match=r"eu-west-2.*no credentials"):
        await bench.provider.token()
    bench.broken = False
    assert await bench.provider.token() == "t3"


async def test_without_any_token_a_failing_signer_is_an_error(bench: Bench) -> None:
    bench.broken = True
    with pytest.raises(TokenSignError):
        await bench.provider.token()
