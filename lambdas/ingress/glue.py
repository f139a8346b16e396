"""Glue's schema registry: which schemas are released, and the form in which it takes ours."""

import json
from typing import Any, ClassVar, NamedTuple

from ingress.aws_json import AwsJson, ServiceError
from ingress.released import released

_ABSENT = "EntityNotFoundException"
AVAILABLE = "AVAILABLE"
# Glue reads JSON Schema up to draft 7. Our schemas use nothing that is younger: references by pointer are of every draft.
_DRAFT = "http://json-schema.org/draft-07/schema#"


class Released(NamedTuple):
    """A version that stands in the registry. `definition` is "" where only the definition was asked for."""

    status: str
    definition: str = ""


class SchemaRegistry(AwsJson):
    """One registry. Methods raise ServiceError."""

    service: ClassVar[str] = "glue"
    target: ClassVar[str] = "AWSGlue"
    content_type: ClassVar[str] = "application/x-amz-json-1.1"

    def __init__(self, url: str, region: str, registry: str, *, connections: int = 8) -> None:
        super().__init__(url, region, connections)
        self.registry = registry

    async def find(self, name: str, definition: str) -> Released | None:
        """The version of a schema that has this definition, None where it has none such or is not there."""
        answer = await self._or_none("GetSchemaByDefinition", {"SchemaId": self._id(name), "SchemaDefinition": definition})
        return None if answer is None else Released(str(answer["Status"]))

    async def latest(self, name: str) -> Released | None:
        """The newest version of a schema, None where there is none."""
        request = {"SchemaId": self._id(name), "SchemaVersionNumber": {"LatestVersion": True}}
        answer = await self._or_none("GetSchemaVersion", request)
        return None if answer is None else Released(str(answer["Status"]), str(answer["SchemaDefinition"]))

    async def ensure(self) -> bool:
        """Makes the registry; False where it stands already."""
        try:
            await self.call("CreateRegistry", {"RegistryName": self.registry})
        except ServiceError as error:
            if error.code != "AlreadyExistsException":
                raise
            return False
        return True

    async def create(self, name: str, definition: str) -> None:
        """The first version of a schema."""
        request = {
            "RegistryId": {"RegistryName": self.registry},
            "SchemaName": name,
            "DataFormat": "JSON",
            "Compatibility": "BACKWARD",
            "SchemaDefinition": definition,
        }
        await self.call("CreateSchema", request)

    async def add(self, name: str, definition: str) -> None:
        """The next version of a schema."""
        await self.call("RegisterSchemaVersion", {"SchemaId": self._id(name), "SchemaDefinition": definition})

    def _id(self, name: str) -> dict[str, str]:
        return {"RegistryName": self.registry, "SchemaName": name}

    async def _or_none(self, operation: str, request: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await self.call(operation, request)
        except ServiceError as error:
            if error.code == _ABSENT:
                return None
            raise


def name_of(event_type: str, version: str) -> str:
    """A schema's name: one for each version of the contract, since an additive change renews it and a breaking one is another."""
    return f"{event_type.replace('.', '-')}-{version}"  # a name in Glue has no dots


def definition_of(event_type: str, version: str) -> str:
    """The released schema of a type and version, as the registry has it. Raises FileNotFoundError where there is none."""
    return as_definition(released(event_type, version))


def as_definition(schema: dict[str, Any]) -> str:
    """One text for one schema: what is compared by its text may not differ by a space."""
    return json.dumps(schema | {"$schema": _DRAFT}, sort_keys=True, separators=(",", ":"))
