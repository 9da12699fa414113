"""What the document cannot say, taken out of what is sent.

Where a page begins is told by the page before, and nobody can make it up. Some texts have a length in bytes. An integer
in arguments that has more than 64 bits is refused, as it would be rounded.
"""

import re

import schemathesis

CURSOR = re.compile("(r[1-9][0-9]{0,18}|e[0-9]{1,15}[.][1-9][0-9]{0,18})-[0-9a-f]{16}")


def is_long(text, characters):
    """Whether a text that has few enough characters has too many bytes."""
    return (
        isinstance(text, str)
        and len(text) <= characters
        and len(text.encode("utf-8", "surrogatepass")) > characters
    )


def has_large_number(value):
    if isinstance(value, dict):
        return any(map(has_large_number, value.values()))
    if isinstance(value, list):
        return any(map(has_large_number, value))
    return type(value) is int and not -(2**63) <= value < 2**64


@schemathesis.hook
def before_call(context, case, kwargs):
    query, body = case.query or {}, case.body
    if CURSOR.fullmatch(str(query.get("from", ""))):
        del query["from"]
    if isinstance(body, dict):
        if is_long(body.get("owner"), 200):
            del body["owner"]
        if isinstance(body.get("tags"), list):
            body["tags"] = [tag for tag in body["tags"] if not is_long(tag, 64)]
        if isinstance(body.get("arguments"), dict) and has_large_number(body["arguments"]):
            del body["arguments"]
