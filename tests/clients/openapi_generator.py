"""The client that openapi-generator makes for Python, with all its defaults, against a running server."""

import os

import openapi_client as api
from frames import event

SESSION = "openapi-generator-python"
BYTES = os.urandom(300 * 1024)
NAME = "weights ü.bin"

configuration = api.Configuration(host=os.environ["HARBOR_URL"], access_token=os.environ["HARBOR_TOKEN"])
client = api.ApiClient(configuration)
# Headers of each request; the operations take the session as a parameter, too.
client.set_default_header("X-Harbor-Session", SESSION)
plane, control, events, probes = (
    api.BytesApi(client), api.ControlApi(client), api.EventsApi(client), api.ProbesApi(client),
)


def code(call, *args, **kwargs):
    """The code of a refusal."""
    try:
        call(*args, **kwargs)
    except api.ApiException as refused:
        assert refused.data.message, refused
        return refused.data.code
    raise AssertionError(f"{call.__name__} was not refused")


# The call that does not read the answer first: a stream has no end. A wait for its next bytes has one.
stream = events.events_subscribe_without_preload_content(
    x_harbor_event_type="artifacts.uploaded, artifacts.deleted", _request_timeout=(10.0, 30.0)
)
assert stream.status == 200, stream.status
lines = iter(stream)

put = plane.bytes_put(filename=NAME, tag=["a", "b"], source="tool", body=BYTES, _content_type="application/x-weights")
assert put.ref.size_bytes == len(BYTES) and put.ref.filename == NAME, put
assert put.ref.mime_type == "application/x-weights", put
assert put.ref.scope.session == SESSION, put

told = api.EventData.from_json(event(lines, "artifacts.uploaded"))
assert told.payload.actual_instance.ref.id == put.ref.id and told.type == api.EventKind.ARTIFACTS_DOT_UPLOADED, told

assert plane.bytes_get(put.ref.id) == BYTES
assert b"".join(plane.bytes_get_without_preload_content(put.ref.id).stream()) == BYTES
part = plane.bytes_get_with_http_info(put.ref.id, range="bytes=1000-299999")
assert part.status_code == 206 and part.data == BYTES[1000:300000], part.status_code
unchanged = plane.bytes_get_without_preload_content(put.ref.id, if_none_match=f'"other", "{put.ref.sha256}"')
assert unchanged.status == 304, unchanged.status
assert plane.bytes_head_with_http_info(put.ref.id).headers["content-length"] == str(len(BYTES))

listed = control.artifacts_list(api.ListRequest(tags=["b"], size_range=api.SizeRange(min_bytes=1, max_bytes=2**40)))
assert listed.total_matched == 1 and [row.ref.id for row in listed.rows] == [put.ref.id], listed
assert listed.rows[0].tags == ["a", "b"] and listed.rows[0].source == api.Source.TOOL, listed

assert code(plane.bytes_get, "default_00000000000000000000000000000000") == "not_found"
assert code(control.artifacts_get, api.GetRequest(id="missing")) == "not_found"
assert code(plane.bytes_get, put.ref.id, range=f"bytes={len(BYTES)}-") == "invalid_request"
assert code(control.artifacts_get_ref, api.GetRefRequest(id=put.ref.id)) == "presign_unsupported"

small = control.artifacts_put(api.PutRequest(bytes="aGk=", opts=api.PutOpts(filename="hi", metadata={"step": 3})))
assert control.artifacts_get(api.GetRequest(id=small.ref.id)).content == "aGk="
assert control.artifacts_delete(api.DeleteRequest(id=put.ref.id)).deleted
assert api.EventData.from_json(event(lines, "artifacts.deleted")).payload.actual_instance.id == put.ref.id
stream.close()

assert control.runtime_info(api.RuntimeRequest()).artifacts.driver == "inmem"
assert control.runtime_health(api.RuntimeRequest()).subsystems
assert control.runtime_drivers(api.RuntimeRequest()).drivers
assert probes.alive() and probes.ready().subsystems
print("openapi-generator, python: put, get, range, list, refusals and events are as they should be")
