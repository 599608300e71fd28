"""Adds links to the document: the id in a response is used in the bodies of the methods that take one.

OpenAPI has expressions for parameters and for whole bodies, but not for a member of a body. Schemathesis has them.
"""

import schemathesis

METHODS = ("artifacts.get", "artifacts.get_ref", "artifacts.delete")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    found = 0
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                links = answer.get("links", {})
                if "bytes.get" in links:
                    found += 1
                    body = {"id": links["bytes.get"]["parameters"]["id"]}
                    links.update({method: {"operationId": method, "requestBody": body} for method in METHODS})
    # If the document lost one of these links, fewer tests would run without a message.
    assert found >= 3, f"{found} responses link to a download, but there should be three"
