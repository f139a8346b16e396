"""DynamoDB Local, the vendor's own."""

from __future__ import annotations

import http.client

from testkit.engines._deadline import Deadline
from testkit.engines._engine import HOST, Kind
from testkit.engines._java import JavaEngine
from testkit.engines._scratch import make

HEAP_MB = 384
PROBE_SECONDS = 5.0
MAIN_CLASS = "software.amazon.dynamodb.services.local.main.ServerRunner"

_LIST_TABLES = {
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Content-Type": "application/x-amz-json-1.0",
    # The engine wants a signature to be there and does not check it.
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20000101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    "X-Amz-Date": "20000101T000000Z",
}


class DynamoDB(JavaEngine):
    kind = Kind.DYNAMODB

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self, deadline: Deadline) -> None:
        """The data folder is all it needs; SQLite makes the file in it."""
        deadline.check("dynamodb: prepare")
        data = self.home / "data"
        if data.exists():
            return
        # SQLite waits for the disk at every put: 600 puts/s, against 1400 in memory. The engine's own -inMemory is as fast and
        # forgets everything when it is killed, which the service never does.
        if self.temporary:
            make(data)
        else:
            data.mkdir()

    def argv(self) -> list[str]:
        # The SQLite binding looks for its native library in this folder only, and is useless without it.
        # No class archive: the manifest of its jar names a folder, for which the JVM refuses to make one.
        java = self.java(MAIN_CLASS, heap_mb=HEAP_MB, options=(f"-Djava.library.path={self.jars}",))
        return [*java, "-dbPath", str(self.home / "data"), "-sharedDb", "-disableTelemetry", "-port", str(self.port)]

    def answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PROBE_SECONDS)
        try:
            connection.request("POST", "/", b"{}", _LIST_TABLES)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
