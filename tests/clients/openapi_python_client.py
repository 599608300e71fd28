"""The client that openapi-python-client makes, with all its defaults, against a running server."""

import io
import json
import os

import httpx
from frames import event
from harbor_protocol_artifacts_client import AuthenticatedClient, models
from harbor_protocol_artifacts_client.api.bytes_ import bytes_get, bytes_head, bytes_put
from harbor_protocol_artifacts_client.api.control import (
    artifacts_delete, artifacts_get, artifacts_get_ref, artifacts_list, artifacts_put, runtime_drivers, runtime_health, runtime_info,
)
from harbor_protocol_artifacts_client.api.events import events_subscribe
from harbor_protocol_artifacts_client.api.probes import alive, ready
from harbor_protocol_artifacts_client.types import File

SESSION = "openapi-python-client"
BYTES = os.urandom(300 * 1024)
NAME = "weights ü.bin"

client = AuthenticatedClient(
    base_url=os.environ["HARBOR_URL"],
    token=os.environ["HARBOR_TOKEN"],
    headers={"X-Harbor-Session": SESSION},
    timeout=httpx.Timeout(30.0),
)


def code(answer):
    """The code of a refusal."""
    assert isinstance(answer, models.Envelope) and answer.message, answer
    return answer.code


# The generated functions read an answer to its end, and a stream has none: their request is sent through the client beneath them.
request = events_subscribe._get_kwargs(x_harbor_event_type="artifacts.uploaded,artifacts.deleted")
with client.get_httpx_client().stream(**request) as stream:
    assert stream.status_code == 200, stream
    lines = stream.iter_lines()

    put = bytes_put.sync(
        client=client,
        body=File(payload=io.BytesIO(BYTES)),
        filename=NAME,
        tag=["a", "b"],
        source=models.BytesPutSource.TOOL,
    )
    assert isinstance(put, models.PutResponse), put
    assert put.ref.size_bytes == len(BYTES) and put.ref.filename == NAME, put
    assert put.ref.mime_type == "application/octet-stream" and put.ref.scope.session == SESSION, put

    told = models.EventData.from_dict(json.loads(event(lines, "artifacts.uploaded")))
    assert told.payload.ref.id == put.ref.id and told.type_ == models.EventKind.ARTIFACTS_UPLOADED, told

    assert bytes_get.sync(put.ref.id, client=client).payload.read() == BYTES
    part = bytes_get.sync_detailed(put.ref.id, client=client, range_="bytes=1000-299999")
    assert part.status_code == 206 and part.parsed.payload.read() == BYTES[1000:300000], part.status_code
    unchanged = bytes_get.sync_detailed(put.ref.id, client=client, if_none_match=f'"other", "{put.ref.sha256}"')
    assert unchanged.status_code == 304, unchanged.status_code
    head = bytes_head.sync_detailed(put.ref.id, client=client)
    assert head.headers["Content-Length"] == str(len(BYTES)), head

    wanted = models.ListRequest(tags=["b"], size_range=models.SizeRange(min_bytes=1, max_bytes=2**40))
    listed = artifacts_list.sync(client=client, body=wanted)
    assert listed.total_matched == 1 and [row.ref.id for row in listed.rows] == [put.ref.id], listed
    assert listed.rows[0].tags == ["a", "b"] and listed.rows[0].source == models.Source.TOOL, listed

    assert code(bytes_get.sync("default_00000000000000000000000000000000", client=client)) == models.Code.NOT_FOUND
    assert code(artifacts_get.sync(client=client, body=models.GetRequest(id="missing"))) == models.Code.NOT_FOUND
    beyond = bytes_get.sync(put.ref.id, client=client, range_=f"bytes={len(BYTES)}-")
    assert code(beyond) == models.Code.INVALID_REQUEST
    presigned = artifacts_get_ref.sync(client=client, body=models.GetRefRequest(id=put.ref.id))
    assert code(presigned) == models.Code.PRESIGN_UNSUPPORTED

    # The generated function always sends the one media type of the document; its request takes another.
    typed = bytes_put._get_kwargs(body=File(payload=io.BytesIO(b"a,b")))
    typed["headers"]["Content-Type"] = "text/csv"
    typed = models.PutResponse.from_dict(client.get_httpx_client().request(**typed).json())
    assert typed.ref.mime_type == "text/csv", typed
    with client.get_httpx_client().stream(**bytes_get._get_kwargs(typed.ref.id)) as download:
        assert b"".join(download.iter_bytes()) == b"a,b" and download.headers["Content-Type"] == "text/csv", download

    small = artifacts_put.sync(client=client, body=models.PutRequest(bytes_="aGk=", opts=models.PutOpts(filename="hi")))
    assert artifacts_get.sync(client=client, body=models.GetRequest(id=small.ref.id)).content == "aGk="
    assert artifacts_delete.sync(client=client, body=models.DeleteRequest(id=put.ref.id)).deleted
    told = models.EventData.from_dict(json.loads(event(lines, "artifacts.deleted")))
    assert told.payload.id == put.ref.id, told

assert runtime_info.sync(client=client, body=models.RuntimeRequest()).artifacts.driver == "inmem"
assert runtime_health.sync(client=client, body=models.RuntimeRequest()).subsystems
assert runtime_drivers.sync(client=client, body=models.RuntimeRequest()).drivers
assert alive.sync(client=client) and ready.sync(client=client).subsystems
print("openapi-python-client: put, get, range, list, refusals and events are as they should be")
