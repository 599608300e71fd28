"""What Schemathesis is told beside the document: an id of an answer goes into the bodies of the methods that take one.

OpenAPI has expressions for parameters and for whole bodies, and none for a member of a body; Schemathesis has.
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
    # Fewer answers than these would be a document that lost some: fewer tests, and nothing said of it.
    assert found >= 3, f"{found} answers lead to a download, where there are three"
