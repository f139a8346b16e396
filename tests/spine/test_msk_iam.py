"""MSK IAM tokens: cached, signed once for all who wait and off the event loop, renewed before their end."""

import asyncio
import threading

import pytest

from spine.msk_iam import MskIamTokens, TokenSignError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Signer:
    """Signs tokens of 900 s, as the vendor's does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.threads: list[int] = []
        self.broken = False

    def __call__(self, region: str) -> tuple[str, float]:
        self.threads.append(threading.get_ident())
        if self.broken:
            raise RuntimeError("no credentials")
        return f"{region}-{len(self.threads)}", (self.clock.now + 900) * 1000


async def test_a_token_is_signed_once_for_all_who_wait_and_off_the_event_loop() -> None:
    signer = Signer(Clock())
    tokens = MskIamTokens("eu-west-2", signer, signer.clock)
    assert set(await asyncio.gather(*(tokens.token() for _ in range(20)))) == {"eu-west-2-1"}
    assert len(signer.threads) == 1
    assert signer.threads[0] != threading.get_ident()


async def test_a_token_is_renewed_before_its_end() -> None:
    signer = Signer(Clock())
    tokens = MskIamTokens("eu-west-2", signer, signer.clock)
    assert await tokens.token() == "eu-west-2-1"
    signer.clock.now += 700
    assert await tokens.token() == "eu-west-2-1"
    signer.clock.now += 30
    assert await tokens.token() == "eu-west-2-2"


async def test_a_good_token_outlives_a_signer_that_fails_and_a_spent_one_does_not() -> None:
    signer = Signer(Clock())
    tokens = MskIamTokens("eu-west-2", signer, signer.clock)
    await tokens.token()
    signer.broken = True
    signer.clock.now += 800
    assert await tokens.token() == "eu-west-2-1"
    signer.clock.now += 101
    with pytest.raises(TokenSignError, match="eu-west-2: no credentials"):
        await tokens.token()
    signer.broken = False
    assert (await tokens.token()).startswith("eu-west-2-")
