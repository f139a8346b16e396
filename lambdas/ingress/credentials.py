"""Where the credentials come from: an SSM parameter on the managed rungs, the environment locally."""

from typing import ClassVar

from ingress.authn import Load
from ingress.aws_json import AwsJson, ServiceError
from ingress.producers import Credentials, Producer, read_credentials
from ingress.settings import EdgeSettings

_SHARED = "SYSTEM::shared-key"


class Parameters(AwsJson):
    """SSM's parameter store."""

    service: ClassVar[str] = "ssm"
    target: ClassVar[str] = "AmazonSSM"
    content_type: ClassVar[str] = "application/x-amz-json-1.1"

    async def read(self, name: str) -> str:
        """The value of a parameter. Raises ServiceError."""
        answer = await self.call("GetParameter", {"Name": name, "WithDecryption": True})
        return str(answer["Parameter"]["Value"])


def source_of(settings: EdgeSettings, parameters: Parameters | None) -> Load:
    """How this edge reads its credentials."""

    async def load() -> Credentials:
        if parameters is not None:
            return read_credentials(await parameters.read(settings.credentials_parameter), settings.rate_profile.per_second)
        if settings.credentials:
            return read_credentials(settings.credentials, settings.rate_profile.per_second)
        return _one_for_all(settings)

    return load


def _one_for_all(settings: EdgeSettings) -> Credentials:
    """Keys alone: whoever holds one is the same producer, which may send everything at the rate of the whole edge. Local rungs only."""
    rate = settings.rate_profile
    if not settings.api_key_hashes:
        raise ServiceError("no credentials: give FP_IG_CREDENTIALS_PARAMETER, FP_IG_CREDENTIALS or FP_IG_API_KEY_HASHES")
    return Credentials((Producer(_SHARED, rate.per_second, rate.burst, settings.api_key_hashes),))
