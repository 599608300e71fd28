"""The frames of an event stream, for programs whose generated client gives them its lines."""


def event(lines, kind):
    """The `data` of the first event of this type."""
    found = {}
    for line in lines:
        line = (line.decode() if isinstance(line, bytes) else line).rstrip("\r\n")
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
            continue
        if found.get("event") == kind:
            assert found["id"], found
            return found["data"]
        found = {}
    raise AssertionError(f"the stream ended without {kind}")
